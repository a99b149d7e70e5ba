"""Networks that judge images, from files that the user provides: LPIPS, and the features of FID and FVD.

None is shipped, none is downloaded, none is ever made up: numbers of other weights are not comparable. A file is a
TorchScript module, which carries its architecture. Load only files that you trust.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidpred.errors import ConfigError, one_line


@dataclass(frozen=True)
class Kind:
    """One number that needs a network: which file, and what is passed to it beside the frames."""

    title: str
    wanted: str  # the file, and where it usually comes from
    arguments: dict[str, bool]  # those of them are passed that the network takes
    definition: str


KINDS: dict[str, Kind] = {
    "lpips": Kind(
        "LPIPS",
        'a network (predicted, true) -> distance of images (N, 3, H, W) in [-1, 1]; usually lpips.LPIPS(net="alex") '
        "of the Python package lpips, saved with torch.jit.trace(...).save(FILE)",
        {},
        "learned perceptual distance of a predicted frame from the true one (Zhang et al. 2018) by the network in the "
        "file named; lower is better",
    ),
    "feature_distance": Kind(
        "features",
        "a network of images (N, 3, H, W) in [0, 1] -> a list of feature maps (N, C, h, w); EfficientNet-Lite0's are "
        "written by python -m benchmarks.lite0 FILE",
        {},
        "see the measure of that name",
    ),
    "fid": Kind(
        "FID",
        "a network (N, 3, H, W) uint8 -> features (N, F); usually inception-2015-12-05.pt, which NVIDIA's "
        "stylegan2-ada-pytorch and stylegan3 download for their metrics",
        {"return_features": True},
        "Frechet distance between the features of all predicted and of all true frames (Heusel et al. 2017) by the "
        "network in the file named; lower is better; it falls with the number of frames, so only equal n compare",
    ),
    "fvd": Kind(
        "FVD",
        "a network of videos (N, 3, T, H, W), values 0 to 255 -> features (N, F); usually i3d_torchscript.pt, which "
        "StyleGAN-V downloads for its metrics",
        {"rescale": True, "resize": True, "return_features": True},
        "Frechet distance between the features of predicted and true videos, of the coming frames without the known "
        "ones (Unterthiner et al. 2018), by the network in the file named; lower is better; it falls with the number "
        "of videos, so only equal n compare",
    ),
}


class MetricNetwork:
    """A network of one kind, ready to be asked."""

    def __init__(self, kind: str, file: Path, device: torch.device) -> None:
        """Raises ConfigError where the file is absent or no TorchScript module."""
        self.kind, self.file, self.device = KINDS[kind], file, device
        self.option = f"--{kind.replace('_', '-')} {file}"
        if not file.is_file():
            raise ConfigError(f"no such file [{self.option}]; it is {self.kind.wanted}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch's own, on the format of these files
                warnings.simplefilter("ignore", DeprecationWarning)
                self.module: Any = torch.jit.load(str(file), map_location=device).eval()
        except (RuntimeError, ValueError, OSError):
            raise ConfigError(f"not a TorchScript file [{self.option}]; it is {self.kind.wanted}") from None
        names = {argument.name for argument in self.module.forward.schema.arguments}
        self.arguments = {name: value for name, value in self.kind.arguments.items() if name in names}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What it says of a batch of N, `(N, ...)` flattened to `(N, F)`. Raises ConfigError where it cannot."""
        said = self._run(inputs)
        if not isinstance(said, Tensor) or said.ndim == 0 or len(said) != len(inputs[0]):
            shape = tuple(said.shape) if isinstance(said, Tensor) else type(said).__name__
            raise ConfigError(
                f"the network says {shape} of {len(inputs[0])} [{self.option}]; wanted {self.kind.wanted}"
            )
        return said.float().flatten(1) if said.ndim > 1 else said.float()[:, None]

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of images `(N, 3, H, W)`. Raises ConfigError where the network returns none."""
        found = self._run((images,))
        if not isinstance(found, list | tuple) or not all(
            isinstance(part, Tensor) and part.ndim == 4 for part in found
        ):
            raise ConfigError(f"the network returns no list of feature maps [{self.option}]; wanted {self.kind.wanted}")
        return list(found)

    def _run(self, inputs: Sequence[Tensor]) -> Any:
        try:
            with torch.inference_mode():
                return self.module(*(value.to(self.device) for value in inputs), **self.arguments)
        except (RuntimeError, torch.jit.Error) as error:
            longer = "; try --frames 16" if inputs[0].ndim == 5 else ""
            raise ConfigError(
                f"the network cannot judge frames {tuple(inputs[0].shape)} [{self.option}]: {one_line(error)}; "
                f"it must be {self.kind.wanted}{longer}"
            ) from None


def feature_network(file: Path | None, device: torch.device) -> Callable[[Tensor], list[Tensor]] | None:
    """Return what makes feature maps of images by the network in a file; None without one. Raises ConfigError."""
    return None if file is None else MetricNetwork("feature_distance", file, device).maps


def in_color(frames: Tensor) -> Tensor:
    """`(N, C, ...)` with C = 1 or 3 -> three channels."""
    return frames.expand(-1, 3, *frames.shape[2:]) if frames.shape[1] == 1 else frames


def to_bytes(frames: Tensor) -> Tensor:
    """[0, 1] -> uint8, rounded."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)
