"""A stranger's plugin with a small model; converters meet it in processes of their own."""

from ppclas_core.contracts.variants import register_variants
from ppclas_core.hookspecs import hookimpl


@hookimpl
def register_models(registry):
    register_variants(registry, "ppclas_core.testing.tiny_net:models", "FakeNet")
