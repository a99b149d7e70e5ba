"""The record that data hands to training, and the legend of shapes used everywhere.

B batch, T context frames, K future frames, C channels, H height, W width. Frames are `B T C H W`, pictures `B C H W`.
Values are uint8 in [0, 255] on disk and between processes, and float32 in [0, 1] from `to_float` on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Windows cut from videos.

    context: `(B, T, C, H, W)`, the frames that are known.
    future: `(B, K, C, H, W)`, the frames to predict.
    positions: `(B,)` int64, each sample's place in the run's stateless order (what the sample log records).
    """

    context: Tensor
    future: Tensor
    positions: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same windows on `device`, as float32 in [0, 1]."""
        return Batch(
            to_float(self.context.to(device, non_blocking=True)),
            to_float(self.future.to(device, non_blocking=True)),
            self.positions,
        )


def to_float(frames: Tensor) -> Tensor:
    """uint8 in [0, 255] -> float32 in [0, 1]; floating point frames are taken to be in [0, 1] already.

    Raises TypeError for any other dtype.
    """
    if frames.dtype == torch.uint8:
        return frames.float() / 255
    if not frames.is_floating_point():
        raise TypeError(f"frames must be uint8 in [0, 255] or float in [0, 1], not {frames.dtype}")
    return frames.float()
