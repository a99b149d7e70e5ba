"""A learned cost: a small network reads states from images, and plans are compared by the states that they reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.data.batch import to_float
from vidpred.data.prepared.format import Manifest, PreparedFrames
from vidpred.errors import ConfigError
from vidpred.planning.costs import distance
from vidpred.planning.inputs import Cost


class StateReader(nn.Module):
    """A network that maps images `(..., C, H, W)` in [0, 1] to states `(..., S)`, in standard deviations.

    It takes images on any device; the states are on its own.
    """

    def __init__(self, channels: int, size: tuple[int, int], state_size: int, width: int = 32) -> None:
        super().__init__()
        cells = -(-size[0] // 8) * -(-size[1] // 8)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(width * cells, 128), nn.ReLU(),
            nn.Linear(128, state_size),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        own = to_float(images.to(next(self.parameters()).device))
        return torch.unflatten(self.layers(own.flatten(0, -4)), 0, images.shape[:-3])

    def cost(self, goal: Tensor) -> Cost:
        """Return the distance of each frame's state from that in an image of the goal, `(C, H, W)`."""
        with torch.no_grad():
            target = self(goal[None])[0]
        return lambda frames: distance(found := self(frames), target.to(found))


def fit_state_reader(
    folder: str | Path, values: Sequence[int] | None = None, steps: int = 1000, batch_size: int = 64, seed: int = 0
) -> StateReader:
    """Fit a reader to the frames and states of the training split of a prepared data set, by squared error.

    Args:
        folder: The set, whose frames have one size.
        values: Which values of the states to read, those that the goal is about; None: all.
        steps: Number of training steps.
        batch_size: Frames in a step.
        seed: Seed of weights and batches.

    Raises:
        ConfigError: The folder is no prepared data set with states.
    """
    manifest = Manifest.load(Path(folder))
    if manifest is None or not manifest.state_size:
        raise ConfigError(f"no prepared data set with states [{folder}]; record or prepare one")
    source = PreparedFrames(Path(folder), manifest, "train")
    frames = np.concatenate([source.frames(clip) for clip in source.clips])
    chosen = list(range(manifest.state_size) if values is None else values)
    states = torch.from_numpy(np.concatenate([source.states(clip) for clip in source.clips]))[:, chosen]
    targets = (states - states.mean(0)) / states.std(0).clamp_min(1e-6)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = StateReader(frames.shape[1], (frames.shape[2], frames.shape[3]), len(chosen))
    optimizer = torch.optim.Adam(reader.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = np.random.default_rng(seed)
    for _ in range(steps):
        rows = random.integers(len(frames), size=batch_size)
        loss = nn.functional.mse_loss(reader(torch.from_numpy(frames[rows])), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return reader.eval().requires_grad_(False)
