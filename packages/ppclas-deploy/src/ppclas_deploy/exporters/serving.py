"""Target ``serving``: the folders that Paddle Serving's server and client read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.errors import ExportError
from ppclas_core.files import write_text
from ppclas_core.paddle_runtime import require_paddle

from ppclas_deploy.engines.paddle_inference import PADDLE_ERRORS
from ppclas_deploy.exporters.base import Interface, NetworkExporter
from ppclas_deploy.isolate import LOG, bundle_of, last_words, run_isolated
from ppclas_deploy.marks import mark_program
from ppclas_deploy.prototext import Field, declare, format_text, parse_text
from ppclas_deploy.sizes import channels_of

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

SERVER, CLIENT = "ppcls_model", "ppcls_client_conf"
MODEL, PARAMS = "model.pdmodel", "params.pdiparams"
FEED_ALIAS, FETCH_ALIAS = "image", "prediction"

TYPES = {"int64": 0, "float32": 1, "int32": 2, "uint8": 7}
"""Paddle's type → Paddle Serving's number for it."""


def _variable(type_field: str) -> dict[str, Field]:
    return {
        "name": (1, "string"),
        "alias_name": (2, "string"),
        "is_lod_tensor": (3, "bool"),
        type_field: (4, "int32"),
        "shape": (5, "int32", "repeated"),
    }


GeneralModelConfig = declare(
    "baidu.paddle_serving.configure",
    {
        "FeedVar": _variable("feed_type"),
        "FetchVar": _variable("fetch_type"),
        "GeneralModelConfig": {
            "feed_var": (1, "FeedVar", "repeated"),
            "fetch_var": (2, "FetchVar", "repeated"),
        },
    },
)["GeneralModelConfig"]
"""What Paddle Serving's server and client read, as text and on the wire."""


class ServingExporter(NetworkExporter):
    """``ppcls_model`` for the server, ``ppcls_client_conf`` for the client: feed ``image``, fetch
    ``prediction``.

    The activation is always inside, as clients of Paddle Serving expect probabilities.
    """

    def interface(self, bundle: Bundle) -> Interface:
        """As elsewhere, but always with the activation."""
        interface = super().interface(bundle)
        interface["output"] = "logits" if bundle.manifest.activation == "none" else "probabilities"
        return interface

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Trace in a process of its own, and describe what came out for both sides.

        Raises:
            ExportError: the model cannot be traced or described, or does not run as described.
        """
        interface = self.interface(bundle)
        run_isolated("serving", self.job(bundle, folder, interface), folder / LOG, self.timeout)
        write_text(folder / "README.md", _readme(bundle, interface))
        verified = (
            f"the program in {SERVER}, in Paddle Inference, run as the configurations say (read "
            "back); Paddle Serving itself was not run"
        )
        files = {"model": f"{SERVER}/{MODEL}", "params": f"{SERVER}/{PARAMS}"}
        return {"engine": "paddle_inference", "verified": verified, **interface, **files}


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``serving``, in its own process."""
    require_paddle("the export")
    from ppclas_deploy.program import program_ends, save_program

    folder = Path(job["folder"])
    server, client = folder / SERVER, folder / CLIENT
    server.mkdir()
    client.mkdir()
    program = save_program(
        bundle_of(job["bundle"]), Path.cwd() / "inference", job["interface"], "old"
    )
    mark_program(program, job["mark"])
    ends = program_ends(program)
    config = GeneralModelConfig(
        feed_var=[variable(*end, FEED_ALIAS, "feed_type") for end in ends.inputs],
        fetch_var=[variable(*end, FETCH_ALIAS, "fetch_type") for end in ends.outputs],
    )
    (server / MODEL).write_bytes(program.read_bytes())
    (server / PARAMS).write_bytes(program.with_suffix(".pdiparams").read_bytes())
    for side, stem in ((server, "serving_server_conf"), (client, "serving_client_conf")):
        (side / f"{stem}.prototxt").write_text(format_text(config), encoding="utf-8")
        (side / f"{stem}.stream.prototxt").write_bytes(config.SerializeToString())
        require_ends(
            side / f"{stem}.prototxt",
            server / MODEL,
            server / PARAMS,
            job["interface"]["batch"] or 2,
        )
    return {}


def variable(
    name: str, dtype: str, shape: tuple[int, ...], alias: str, type_field: str
) -> dict[str, Any]:
    """How Paddle Serving describes a tensor: its batch axis is not mentioned.

    ``variable("x", "float32", (-1, 3, 224, 224), "image", "feed_type")`` has ``feed_type`` 1 and
    ``shape`` [3, 224, 224].

    Args:
        name: of the tensor in the program.
        dtype: Paddle's name of its type.
        shape: its sides, the batch axis first; -1: any.
        alias: what clients call it.
        type_field: ``feed_type`` or ``fetch_type``.

    Raises:
        ExportError: Paddle Serving has no such type, or another axis than the batch's is free.
    """
    if dtype not in TYPES or any(size < 1 for size in shape[1:]):
        raise ExportError(
            f"Paddle Serving cannot describe the tensor {name} ({dtype} {list(shape)})."
        )
    kind = {type_field: TYPES[dtype]}
    return {
        "name": name,
        "alias_name": alias,
        "is_lod_tensor": False,
        **kind,
        "shape": list(shape[1:]),
    }


def require_ends(config: Path, model: Path, params: Path, batch: int) -> None:
    """Run the model in Paddle Inference as a configuration says, on zeros.

    Args:
        config: the configuration, a text file.
        model: the old-IR program.
        params: its parameters.
        batch: images to run it with.

    Raises:
        ExportError: it has other inputs or outputs than that.
    """
    import numpy as np
    from paddle import inference

    said = parse_text(config.read_text(encoding="utf-8"), GeneralModelConfig, str(config))
    settings = inference.Config(str(model), str(params))
    settings.disable_gpu()
    settings.disable_glog_info()
    predictor = inference.create_predictor(settings)
    names = {number: name for name, number in TYPES.items()}
    try:
        for feed in said.feed_var:
            zeros = np.zeros((batch, *feed.shape), names[feed.feed_type])
            predictor.get_input_handle(feed.name).copy_from_cpu(zeros)
        predictor.run()
        given = {
            name: predictor.get_output_handle(name).copy_to_cpu()
            for name in predictor.get_output_names()
        }
    except PADDLE_ERRORS as error:
        raise ExportError(
            f"the model does not run as {config.name} says: {last_words(str(error))}"
        ) from error
    real = {name: (str(values.dtype), list(values.shape)) for name, values in given.items()}
    asked = {end.name: (names[end.fetch_type], [batch, *end.shape]) for end in said.fetch_var}
    if real != asked:
        raise ExportError(f"{config.name} says that the model gives {asked}; it gives {real}.")


def _readme(bundle: Bundle, interface: Interface) -> str:
    channels, (height, width) = channels_of(bundle), bundle.image_size
    if interface["input"] == "pixels":
        takes = f"uint8 [{height}, {width}, {channels}], {'RGB' if channels == 3 else 'grey'}"
    else:
        takes = (
            f"float32 [{channels}, {height}, {width}], normalised as `bundle.json` says under "
            "`preprocessing`"
        )
    return f"""\
# {bundle.manifest.architecture.name} for Paddle Serving

```shell
python -m paddle_serving_server.serve --model {SERVER} --port 9292
```

```python
from paddle_serving_client import Client

client = Client()
client.load_client_config("{CLIENT}/serving_client_conf.prototxt")
client.connect(["127.0.0.1:9292"])
answer = client.predict(feed={{"{FEED_ALIAS}": image}}, fetch=["{FETCH_ALIAS}"], batch=False)
```

`image` is {takes}; `{FETCH_ALIAS}` has {len(bundle.labels)} numbers in the order of `labels.txt`.
`parity.json` says what was verified.
"""
