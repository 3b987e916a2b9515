"""A Triton model repository, run as its config.pbtxt says: each model in ONNX Runtime, ensembles
step by step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.export import Engine, export_facts
from ppclas_core.errors import BundleError
from pydantic import PrivateAttr

from ppclas_deploy.dependencies import load
from ppclas_deploy.engines.onnxruntime import make_session
from ppclas_deploy.marks import check_marks
from ppclas_deploy.prototext import Message, parse_text
from ppclas_deploy.triton import CONFIG, MODEL, ModelConfig, require_ends

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class TritonEngine(Engine):
    """Run a ``triton`` export without Triton: the entry's config.pbtxt says which models run, in
    which order, and what goes from one to the next.
    """

    _configs: dict[str, Message] = PrivateAttr(default_factory=dict)
    _sessions: dict[str, Any] = PrivateAttr(default_factory=dict)
    _entry: str = PrivateAttr("")
    _version: str = PrivateAttr("")

    def open(self, bundle: Bundle) -> None:
        """Read the configurations, and load every model that the entry needs.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            BundleError: a configuration is not what Triton takes, or does not fit its model.
        """
        self._version = load("onnxruntime", "the engine triton", "onnx").__version__
        facts = export_facts(bundle)
        self._entry = str(facts.get("entry"))
        self._open(bundle, str(facts.get("repository")), self._entry)

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers of one batch.

        Args:
            images: contiguous, as ``prepare`` gives them: float32 [N, 3, H, W], normalised, or
                uint8 [N, H, W, 3] where normalisation is in the export.

        Returns:
            float32 [N, C]: logits, or probabilities where the activation is in the export.
        """
        config = self._configs[self._entry]
        answers = self._run(self._entry, {config.input[0].name: images})
        return np.asarray(answers[config.output[0].name], dtype=np.float32)

    def versions(self) -> dict[str, str]:
        """ONNX Runtime; Triton itself does not run."""
        return {"onnxruntime": self._version, "models": ", ".join(self._configs)}

    def _open(self, bundle: Bundle, repository: str, name: str) -> None:
        path = f"{repository}/{name}/{CONFIG}"
        config = parse_text(_file(bundle, path).decode("utf-8"), ModelConfig, path)
        if config.name != name:
            raise BundleError(
                f"{path} is called {config.name!r}; Triton wants the name of its folder."
            )
        self._configs[name] = config
        if config.platform == "ensemble":
            for step in config.ensemble_scheduling.step:
                self._open(bundle, repository, step.model_name)
            return
        model = f"{repository}/{name}/1/{MODEL}"
        session = make_session(_file(bundle, model), self.threads)
        check_marks(bundle, bundle.folder / model)
        require_ends(config, session)
        self._sessions[name] = session

    def _run(self, name: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        config = self._configs[name]
        names = [end.name for end in config.output]
        if name in self._sessions:
            return dict(zip(names, self._sessions[name].run(names, tensors), strict=True))
        for step in config.ensemble_scheduling.step:
            taken = {pair.key: tensors[pair.value] for pair in step.input_map}
            given = self._run(step.model_name, taken)
            tensors = {**tensors, **{pair.value: given[pair.key] for pair in step.output_map}}
        return {name: tensors[name] for name in names}


def _file(bundle: Bundle, name: str) -> bytes:
    if name not in bundle.manifest.files:
        raise BundleError(f"{bundle.folder} holds no {name}. Export the model again.")
    return (bundle.folder / name).read_bytes()
