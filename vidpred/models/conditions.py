"""What a generator may be given beside the known frames, and a discriminator beside the pictures that it judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from vidpred.data.batch import Batch
from vidpred.models.noise import noise_channels


def action_size(generator: nn.Module) -> int:
    """How many values an action has that this generator takes; 0: it takes none."""
    return int(getattr(generator, "action_size", 0))


def num_labels(network: nn.Module) -> int:
    """How many classes this generator or discriminator is told of; 0: none."""
    return int(getattr(network, "num_labels", 0))


def takes_truth(network: nn.Module) -> bool:
    """Whether it is shown the true pictures in training: an encoder's input, or the coarser truth to build on."""
    return bool(getattr(network, "takes_truth", False))


@dataclass(frozen=True)
class Conditions:
    """noise: `(B, noise_channels)`, a draw for each sample. actions: `(B, N-1, A)`: row i moves frame i to frame i+1,
    counted from the first of N frames, known and coming. labels: `(B,)` int64, the class of each sample.
    truth: `(B, K, C, H, W)`, the true pictures, only while training."""

    noise: Tensor | None = None
    actions: Tensor | None = None
    labels: Tensor | None = None
    truth: Tensor | None = None

    @classmethod
    def of(cls, batch: Batch, count: int | None = None) -> Self:
        """What a batch says beside its frames, of its first `count` samples (None: all)."""
        actions, labels = (None if rows is None else rows[:count] for rows in (batch.actions, batch.labels))
        return cls(actions=actions, labels=labels)

    def repeat(self, times: int) -> Conditions:
        """The same for `times` copies of the batch, one after the other; the noise is of all copies already."""
        return Conditions(
            self.noise,
            None if self.actions is None else self.actions.repeat(times, 1, 1),
            None if self.labels is None else self.labels.repeat(times),
            None if self.truth is None else self.truth.repeat(times, 1, 1, 1, 1),
        )

    def check(self, generator: nn.Module) -> None:
        """Raises ValueError where there is noise for a generator that takes none, or actions are missing, not finite
        or of another size than it takes, or labels are missing or not among its classes."""
        if self.noise is not None and not noise_channels(generator):
            raise ValueError("the generator takes no noise (it has no noise_channels)")
        size = action_size(generator)
        if size and self.actions is None:
            raise ValueError(f"the generator is conditioned on actions; pass actions (B, N-1, {size})")
        if self.actions is not None and size:
            if self.actions.dim() != 3 or self.actions.shape[-1] != size:
                raise ValueError(f"actions must be (B, N-1, {size}), not {tuple(self.actions.shape)}")
            if not bool(self.actions.isfinite().all()):
                raise ValueError("actions must be finite; there is NaN or infinity among them")
        check_labels(self.labels, num_labels(generator))

    def arguments(self, generator: nn.Module, first: int, count: int) -> dict[str, Tensor]:
        """Keyword arguments of the generator's forward, those that it takes: noise, labels, the true pictures, and the
        `count` actions from frame `first` on (the last one again where they end: of frames that nobody asked for)."""
        found = self.judged(generator)
        if self.noise is not None and noise_channels(generator):
            found["noise"] = self.noise
        if self.actions is not None and action_size(generator):
            rows = self.actions[:, first : first + count]
            if rows.shape[1] < count:
                rows = torch.cat([rows, self.actions[:, -1:].expand(-1, count - rows.shape[1], -1)], 1)
            found["actions"] = rows
        return found

    def judged(self, network: nn.Module) -> dict[str, Tensor]:
        """Keyword arguments of a discriminator's forward, those that it takes: labels and the true pictures."""
        found = {}
        if self.labels is not None and num_labels(network):
            found["labels"] = self.labels
        if self.truth is not None and takes_truth(network):
            found["truth"] = self.truth
        return found


def check_labels(labels: Tensor | None, classes: int) -> None:
    """Raises ValueError where a network of so many classes is given no labels, or others than it knows."""
    if not classes:
        return
    if labels is None:
        raise ValueError(f"the model is told the class of each picture; pass labels (B,) from 0 to {classes - 1}")
    if labels.numel() and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise ValueError(f"labels must lie between 0 and {classes - 1}, not {int(labels.min())} to {int(labels.max())}")
