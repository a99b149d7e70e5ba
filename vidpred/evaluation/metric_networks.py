"""Networks of image metrics, from files that the user provides: LPIPS, and the features of FID and FVD.

None is shipped, downloaded or replaced by another, because numbers of different weights are not comparable. A file is a
TorchScript module, which contains its architecture. Load only files that you trust.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.models.network_files import checked_maps, load_module, run_network


@dataclass(frozen=True)
class Kind:
    """A metric that needs a network.

    Attributes:
        title: Its name in tables.
        expected: The file to provide, and its usual source.
        arguments: Keyword arguments to pass if the network takes them.
        definition: What the number is.
    """

    title: str
    expected: str
    arguments: dict[str, bool]
    definition: str


KINDS: dict[str, Kind] = {
    "lpips": Kind(
        "LPIPS",
        'a network (predicted, true) -> distance of images (N, 3, H, W) in [-1, 1]; usually lpips.LPIPS(net="alex") '
        "of the Python package lpips, saved with torch.jit.trace(...).save(FILE)",
        {},
        "learned perceptual distance between a predicted and the true frame (Zhang et al. 2018) by the network in the "
        "named file; lower is better",
    ),
    "feature_distance": Kind(
        "features",
        "a network of images (N, 3, H, W) in [0, 1] -> a list of feature maps (N, C, h, w); python -m benchmarks.lite0 "
        "FILE writes EfficientNet-Lite0",
        {},
        "see the metric of that name",
    ),
    "fid": Kind(
        "FID",
        "a network (N, 3, H, W) uint8 -> features (N, F); usually inception-2015-12-05.pt, which NVIDIA's "
        "stylegan2-ada-pytorch and stylegan3 download for their metrics",
        {"return_features": True},
        "Frechet distance between the features of all predicted and of all true frames (Heusel et al. 2017) by the "
        "network in the named file; lower is better; it falls with the number of frames, so compare only at equal n",
    ),
    "fvd": Kind(
        "FVD",
        "a network of videos (N, 3, T, H, W), values 0 to 255 -> features (N, F); usually i3d_torchscript.pt, which "
        "StyleGAN-V downloads for its metrics",
        {"rescale": True, "resize": True, "return_features": True},
        "Frechet distance between the features of predicted and true videos, future frames without the context "
        "(Unterthiner et al. 2018), by the network in the named file; lower is better; it falls with the number of "
        "videos, so compare only at equal n",
    ),
}


class MetricNetwork:
    """A loaded network of one kind."""

    def __init__(self, kind: str, file: Path, device: torch.device) -> None:
        """Load the network.

        Args:
            kind: Key of `KINDS`.
            file: TorchScript file or exported program.
            device: Where to run it.

        Raises:
            ConfigError: The file is absent or holds no network.
        """
        self.kind, self.file, self.device = KINDS[kind], file, device
        self.option = f"--{kind.replace('_', '-')} {file}"
        self.module = load_module(file, self.option, self.kind.expected, device)
        schema = getattr(self.module.forward, "schema", None)  # only TorchScript has one
        names = {argument.name for argument in schema.arguments} if schema else set()
        self.arguments = {name: value for name, value in self.kind.arguments.items() if name in names}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the network's output for a batch of N, flattened to `(N, F)`. Raises ConfigError for other shapes."""
        output = self._run(inputs)
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != len(inputs[0]):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ConfigError(
                f"the network returns {shape} for a batch of {len(inputs[0])} [{self.option}]; "
                f"it must be {self.kind.expected}"
            )
        return output.float().flatten(1) if output.ndim > 1 else output.float()[:, None]

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of images `(N, 3, H, W)`. Raises ConfigError where the network returns none."""
        return checked_maps(self._run((images,)), self.option, self.kind.expected)

    def _run(self, inputs: Sequence[Tensor]) -> Any:
        longer = "; try --frames 16" if inputs[0].ndim == 5 else ""
        with torch.inference_mode():
            moved = [value.to(self.device) for value in inputs]
            advice = f"it must be {self.kind.expected}{longer}"
            return run_network(self.module, moved, self.option, advice, **self.arguments)


def feature_network(file: Path | None, device: torch.device) -> Callable[[Tensor], list[Tensor]] | None:
    """Return the function of the network in a file, images `(N, 3, H, W)` -> feature maps; None without a file.

    Raises:
        ConfigError: The file cannot be used.
    """
    return None if file is None else MetricNetwork("feature_distance", file, device).maps


def to_three_channels(frames: Tensor) -> Tensor:
    """Expand `(N, C, ...)` with C = 1 or 3 to `(N, 3, ...)`; gray is repeated."""
    return frames.expand(-1, 3, *frames.shape[2:]) if frames.shape[1] == 1 else frames


def to_bytes(frames: Tensor) -> Tensor:
    """Convert values in [0, 1] to uint8 in [0, 255], rounded."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)
