"""Paddle as it trains: the model itself, with its weights, on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.export import Engine
from ppclas_core.errors import BundleError
from ppclas_core.paddle_runtime import require_paddle
from ppclas_data.loading.loader import available_cpus
from pydantic import PrivateAttr

from ppclas_deploy.sizes import channels_of

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class DygraphEngine(Engine):
    """Run a bundle's own model. Not an export: that has no weights that Paddle's layers could
    take.

    ``ppclas_deploy.load("runs/pears").predict("photo.jpg")`` runs a bundle in it.
    """

    _model: Any = PrivateAttr(None)
    _version: str = PrivateAttr("")

    def load(self, bundle: Bundle) -> None:
        """Build the model with its weights.

        Raises:
            MissingDependencyError: Paddle is not installed.
            BundleError: it is an export.
        """
        if bundle.manifest.kind == "export":
            raise BundleError(
                f"{bundle.folder} is an export; the engine dygraph runs runs and bundles only."
            )
        self._input = (channels_of(bundle), *bundle.image_size)
        self._normalize = bundle.manifest.preprocessing.normalize
        self.open(bundle)

    def open(self, bundle: Bundle) -> None:
        """Build the model with its weights, on the CPU.

        Raises:
            MissingDependencyError: Paddle is not installed.
        """
        paddle = require_paddle("the engine dygraph")
        self._version = paddle.__version__
        paddle.set_device("cpu")
        paddle.base.core.set_num_threads(self.threads or available_cpus())
        self._model = bundle.build_model()

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits, float32 [N, C], of normalised images, float32 [N, 3, H, W]."""
        import paddle

        with paddle.no_grad():
            return np.asarray(self._model(paddle.to_tensor(images)).numpy(), dtype=np.float32)

    def versions(self) -> dict[str, str]:
        """Paddle's version."""
        return {"paddle": self._version}
