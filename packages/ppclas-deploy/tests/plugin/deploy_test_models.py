"""A stranger's plugin: small models, and a target of its own with engines of different manners.

Converters and engines meet them in processes of their own.
"""

from ppclas_core.contracts.variants import register_variants
from ppclas_core.hookspecs import hookimpl

MODELS = ("Tiny", "TinyResize", "TwoHeads", "SinglePrecision")
ENGINES = ("linear", "linear_slow", "linear_wrong", "linear_abort", "linear_hang")


@hookimpl
def register_models(registry):
    register_variants(registry, "deploy_test_layers:models", *MODELS)


@hookimpl
def register_transforms(registry):
    registry.register("SwapChannels", "deploy_test_targets:SwapChannels", summary="blue for red")


@hookimpl
def register_exporters(registry):
    registry.register("stored", "deploy_test_targets:StoredExporter", summary="an older export")
    registry.register("silent", "deploy_test_targets:SilentExporter", summary="writes nothing")


@hookimpl
def register_engines(registry):
    for name in ENGINES:
        kind = "".join(word.title() for word in name.split("_"))
        registry.register(
            name,
            f"deploy_test_targets:{kind}",
            summary="logits = flattened images @ weights",
            metadata={"runs": ["linear"] if name != "linear_hang" else []},
        )
    registry.register(
        "nobody", "deploy_test_targets:Linear", summary="", metadata={"runs": ["punch cards"]}
    )
