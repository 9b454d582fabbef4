"""The networks of the zoo benchmark, as torch modules.

Weights are those of the initialisation, from a fixed seed. Left `untrained`, equal vectors abound (γ = 1, β = 0), and
the TorchScript exporter shares them through Identity. In the state `random`, whatever the initialisation left constant
(γ, β, layer scales, a zero head) is drawn at random, and the running statistics are those of random images, as various
as training would leave them; so the signal reaches the last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import detection, segmentation


@dataclass(frozen=True)
class Network:
    """A row of the zoo.

    build      the module
    size       of the square image
    bar        times fewer MACs that Torch-Pruning 1.6.1 reaches on it, at least to be reached
    cut_norms  whether statistics across channels may change
    batched    whether it takes a batch [N,3,H,W]; otherwise a list of one image [3,H,W]
    """

    build: Callable[[], nn.Module]
    size: int = 224
    bar: float | None = None
    cut_norms: bool = False
    batched: bool = True

    def example(self) -> tuple[object, ...]:
        """Arguments to export with."""
        image = torch.rand(3, self.size, self.size, generator=torch.Generator().manual_seed(0))
        return (image[None],) if self.batched else ([image],)

    def module(self, state: str) -> nn.Module:
        """The module in a state, `random` or `untrained`."""
        torch.manual_seed(0)
        module = self.build().eval()
        if state == "random":
            _randomize(module)
            images = torch.randn(4, 3, self.size, self.size)
            _normalize(module, images if self.batched else list(images))
        return module


@torch.no_grad()
def _randomize(module: nn.Module) -> None:
    """Give every constant parameter random values."""
    for tensor in module.parameters():
        if tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            if tensor.flatten()[0] == 0:
                tensor.normal_(0, 0.1)
            else:
                tensor.uniform_(0.5, 1.5)


@torch.no_grad()
def _normalize(module: nn.Module, images: object) -> None:
    """Set every running statistic to that of the images."""
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for each in norms:
        each.train()
        each.momentum = 1.0
    if norms:
        module(images)
    for each in norms:
        each.eval()


class Outputs(nn.Module):
    """A module whose outputs are the values of a dict: a segmentation network."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.inner(x).values())


class Heads(nn.Module):
    """Backbone and heads of a detector, without anchors, without postprocessing."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone(x)
        return tuple(self.head(list(features.values())).values())


class Detections(nn.Module):
    """A whole detector, on a list of images: boxes, labels and scores of the first."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector

    def forward(self, images: list[Tensor]) -> tuple[Tensor, ...]:
        found = self.detector(images)[0]
        return found["boxes"], found["labels"], found["scores"]


def _classifier(name: str, **options: object) -> Callable[[], nn.Module]:
    return partial(models.get_model, name, weights=None, **options)


def _segmenter(name: str) -> Callable[[], nn.Module]:
    return lambda: Outputs(getattr(segmentation, name)(weights=None, weights_backbone=None))


def _detector(name: str, wrapper: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: wrapper(getattr(detection, name)(weights=None, weights_backbone=None))


ZOO: Mapping[str, Network] = {
    "alexnet": Network(_classifier("alexnet"), bar=3.62),
    "vgg16_bn": Network(_classifier("vgg16_bn"), bar=3.96),
    "resnet18": Network(_classifier("resnet18"), bar=3.74),
    "resnet50": Network(_classifier("resnet50"), bar=3.86),
    "resnext50_32x4d": Network(_classifier("resnext50_32x4d"), bar=3.85),
    "regnet_y_400mf": Network(_classifier("regnet_y_400mf"), bar=3.79),
    "regnet_x_800mf": Network(_classifier("regnet_x_800mf"), bar=3.87),
    "densenet121": Network(_classifier("densenet121"), bar=3.78),
    "googlenet": Network(_classifier("googlenet", aux_logits=False, init_weights=False), bar=3.69),
    "inception_v3": Network(_classifier("inception_v3", init_weights=False), size=299, bar=3.97),
    "squeezenet1_1": Network(_classifier("squeezenet1_1"), bar=3.02),
    "mobilenet_v2": Network(_classifier("mobilenet_v2"), bar=3.44),
    "mobilenet_v3_small": Network(_classifier("mobilenet_v3_small"), bar=3.10),
    "mobilenet_v3_large": Network(_classifier("mobilenet_v3_large"), bar=3.44),
    "mnasnet1_0": Network(_classifier("mnasnet1_0"), bar=3.42),
    "efficientnet_b0": Network(_classifier("efficientnet_b0"), bar=3.46),
    "convnext_tiny": Network(_classifier("convnext_tiny"), bar=3.88, cut_norms=True),
    "shufflenet_v2_x1_0": Network(_classifier("shufflenet_v2_x1_0")),
    "wide_resnet50_2": Network(_classifier("wide_resnet50_2")),
    "efficientnet_v2_s": Network(_classifier("efficientnet_v2_s")),
    "swin_t": Network(_classifier("swin_t"), cut_norms=True),
    "swin_v2_t": Network(_classifier("swin_v2_t"), cut_norms=True),
    "vit_b_16": Network(_classifier("vit_b_16"), cut_norms=True),
    "maxvit_t": Network(_classifier("maxvit_t"), cut_norms=True),
    "deeplabv3_resnet50": Network(_segmenter("deeplabv3_resnet50")),
    "lraspp_mobilenet_v3_large": Network(_segmenter("lraspp_mobilenet_v3_large")),
    "fcn_resnet50": Network(_segmenter("fcn_resnet50")),
    "ssd300_vgg16_heads": Network(_detector("ssd300_vgg16", Heads), size=300),
    "ssdlite320_heads": Network(_detector("ssdlite320_mobilenet_v3_large", Heads), size=320),
    "retinanet_resnet50_fpn_heads": Network(_detector("retinanet_resnet50_fpn", Heads), size=256),
    "fcos_resnet50_fpn_heads": Network(_detector("fcos_resnet50_fpn", Heads), size=256),
    "ssd300_vgg16": Network(_detector("ssd300_vgg16", Detections), size=300, batched=False),
}

DYNAMO = ("resnet50", "mobilenet_v3_small", "shufflenet_v2_x1_0", "swin_t", "vit_b_16")
"""Networks that are exported by torch's default exporter too."""
