"""The record that data hands to training, and the legend of shapes used everywhere.

B batch, T context frames, K future frames, C channels, H height, W width, A values of an action, S values of a state.
Frames are `B T C H W`, images `B C H W`. Values are uint8 in [0, 255] on disk and between processes, and float32 in
[0, 1] from `to_float` on.
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
    actions: `(B, N-1, A)` float32 where the set has them: row i moves frame i of the window to frame i+1. N counts the
    frames from the first known to the last future one, those that a lead (`data.lead`) jumps over included; with
    `data.frame_skip` n, a row holds the n actions between two kept frames one after the other.
    states: `(B, N, S)` float32 where the set has them: the state in which frame i was taken.
    labels: `(B,)` int64 where the set has classes: the number of each sample's, or -1 where it is not told.
    """

    context: Tensor
    future: Tensor
    positions: Tensor
    actions: Tensor | None = None
    states: Tensor | None = None
    labels: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same windows on `device`, frames as float32 in [0, 1]."""
        return Batch(
            to_float(self.context.to(device, non_blocking=True)),
            to_float(self.future.to(device, non_blocking=True)),
            self.positions,
            None if self.actions is None else self.actions.to(device, non_blocking=True),
            None if self.states is None else self.states.to(device, non_blocking=True),
            None if self.labels is None else self.labels.to(device, non_blocking=True),
        )

    @property
    def known_states(self) -> Tensor | None:
        """`(B, T, S)`: the states in which the known frames were taken."""
        return None if self.states is None else self.states[:, : self.context.shape[1]]


def to_float(frames: Tensor) -> Tensor:
    """uint8 in [0, 255] -> float32 in [0, 1]; floating point frames are taken to be in [0, 1] already.

    Raises TypeError for any other dtype.
    """
    if frames.dtype == torch.uint8:
        return frames.float().div_(255)
    if not frames.is_floating_point():
        raise TypeError(f"frames must be uint8 in [0, 255] or float in [0, 1], not {frames.dtype}")
    return frames.float()
