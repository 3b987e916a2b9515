"""The layers behind ``deploy_test_models``."""

from paddle import nn
from paddle.nn import functional
from ppclas_core.contracts.image_model import ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

models = Variants()


@models.register(Tiny=ModelConfig())
class Tiny(ImageModel):
    def __init__(self, config):
        super().__init__(config)
        self.stem = nn.Conv2D(config.in_channels, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2D(8)
        self.conv = nn.Conv2D(8, 16, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(16, config.num_classes)

    def forward_features(self, x):
        return functional.relu6(self.conv(functional.hardswish(self.norm(self.stem(x)))))

    def forward_head(self, features, pre_logits=False):
        return self.fc(self.dropout(features.mean(axis=[2, 3])))

    # Not "images": what an export calls its input must not depend on it.
    def forward(self, x):
        return self.forward_head(self.forward_features(x))


@models.register(TinyResize=ModelConfig())
class TinyResize(Tiny):
    def forward_features(self, x):
        coarse = super().forward_features(x)
        return coarse + functional.interpolate(
            functional.avg_pool2d(coarse, 2), scale_factor=2, mode="bilinear"
        )


@models.register(TwoHeads=ModelConfig())
class TwoHeads(Tiny):
    def forward(self, x):
        logits = super().forward(x)
        return logits, logits * 2


@models.register(SinglePrecision=ModelConfig())
class SinglePrecision(Tiny):
    """As a layer with a kernel of its own may be."""

    def forward(self, x):
        if str(x.dtype) != "paddle.float32":
            raise TypeError("no float64 kernel")
        return super().forward(x)
