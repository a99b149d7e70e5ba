"""The batch of windows that training receives, and the notation for shapes used throughout the package.

B batch, T context frames, K future frames, C channels, H height, W width, A action size, S state size.
Frames are `B T C H W`, images `B C H W`. Values are uint8 in [0, 255] on disk and between processes, and float32 in
[0, 1] from `to_float` on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A batch of windows.

    Attributes:
        context: `(B, T, C, H, W)`, the context frames.
        future: `(B, K, C, H, W)`, the frames to predict.
        positions: `(B,)` int64, each sample's position in the run's stateless order, as recorded in the sample log.
        actions: `(B, N-1, A)` float32 if the set has actions: row i leads from frame i of the window to frame i+1. N
            counts all frames from the first context frame to the last future frame, including those that `data.lead`
            skips; with `data.frame_skip` n, a row concatenates the n actions between two kept frames.
        states: `(B, N, S)` float32 if the set has states: row i is the state at frame i.
        labels: `(B,)` int64 if the set has classes; -1 means hidden.
    """

    context: Tensor
    future: Tensor
    positions: Tensor
    actions: Tensor | None = None
    states: Tensor | None = None
    labels: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`, with frames as float32 in [0, 1]."""
        return Batch(
            to_float(self.context.to(device, non_blocking=True)),
            to_float(self.future.to(device, non_blocking=True)),
            self.positions,
            None if self.actions is None else self.actions.to(device, non_blocking=True),
            None if self.states is None else self.states.to(device, non_blocking=True),
            None if self.labels is None else self.labels.to(device, non_blocking=True),
        )

    @property
    def context_states(self) -> Tensor | None:
        """`(B, T, S)`, the states at the context frames."""
        return None if self.states is None else self.states[:, : self.context.shape[1]]


def side_by_side(frames: Tensor) -> Tensor:
    """Return frames `(..., 3n, H, W)` of n cameras as images `(..., 3, H, nW)`; others are returned unchanged."""
    if frames.dim() < 3 or frames.shape[-3] <= 3 or frames.shape[-3] % 3:
        return frames
    return torch.cat(frames.split(3, -3), -1)


def to_float(frames: Tensor) -> Tensor:
    """Convert uint8 in [0, 255] to float32 in [0, 1]; floating-point frames are assumed to be in [0, 1] already.

    Raises:
        TypeError: The frames have another dtype.
    """
    if frames.dtype == torch.uint8:
        return frames.float().div_(255)
    if not frames.is_floating_point():
        raise TypeError(f"frames must be uint8 in [0, 255] or float in [0, 1], not {frames.dtype}")
    return frames.float()
