"""Small models of a stranger's plugin; converters and engines meet them in processes of their
own.
"""

from ppclas_core.contracts.variants import register_variants
from ppclas_core.hookspecs import hookimpl


@hookimpl
def register_models(registry):
    register_variants(registry, "deploy_test_layers:models", "Tiny", "TinyResize", "TwoHeads")
