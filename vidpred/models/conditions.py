"""What a generator may be given beside the known frames, and a discriminator beside the images that it judges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from vidpred.data.batch import Batch
from vidpred.data.sources import Source
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator, Generator


@dataclass(frozen=True)
class Conditions:
    """noise: `(B, noise_channels)`, a draw for each sample. actions: `(B, N-1, A)`: row i moves frame i to frame i+1,
    counted from the first of N frames, known and coming. labels: `(B,)` int64, the class of each sample.
    truth: `(B, K, C, H, W)`, the true images, only while training. states: `(B, T, S)`, those in which the
    known frames were taken; of coming frames none are given, `with_predicted_states` predicts them."""

    noise: Tensor | None = None
    actions: Tensor | None = None
    labels: Tensor | None = None
    truth: Tensor | None = None
    states: Tensor | None = None

    @classmethod
    def of(cls, batch: Batch, count: int | None = None) -> Self:
        """What a batch says beside its frames, of its first `count` samples (None: all)."""
        actions, labels, states = (
            None if rows is None else rows[:count] for rows in (batch.actions, batch.labels, batch.context_states)
        )
        return cls(actions=actions, labels=labels, states=states)

    def repeat(self, times: int) -> Conditions:
        """The same for `times` copies of the batch, one after the other; the noise is of all copies already."""
        return Conditions(
            self.noise,
            None if self.actions is None else self.actions.repeat(times, 1, 1),
            None if self.labels is None else self.labels.repeat(times),
            None if self.truth is None else self.truth.repeat(times, 1, 1, 1, 1),
            None if self.states is None else self.states.repeat(times, 1, 1),
        )

    def check(self, generator: Generator) -> None:
        """Raises ValueError where there is noise for a generator that takes none, or actions or states are missing, not
        finite or of another size than it takes, or labels are missing or not among its classes."""
        if self.noise is not None and not generator.noise_channels:
            raise ValueError("the generator takes no noise (it has no noise_channels)")
        check_rows("actions", self.actions, "N-1", generator.action_size)
        check_rows("states", self.states, "T", generator.state_size)
        check_labels(self.labels, generator.num_labels)

    def with_predicted_states(self, generator: Generator, count: int) -> Self:
        """The same with the states of the first `count` frames, known and coming: those that are not given follow from
        the ones before by the generator's `state_dynamics`, with the actions in between."""
        if self.states is None or not generator.state_size:
            return self
        states = list(self.states.unbind(1))
        while len(states) < count:
            actions = self.actions[:, len(states) - 1] if self.actions is not None else None
            assert generator.state_dynamics is not None
            states.append(generator.state_dynamics(states[-1], actions))
        return replace(self, states=torch.stack(states, 1))

    def generator_kwargs(self, generator: Generator, first: int, count: int) -> dict[str, Tensor]:
        """Keyword arguments of the generator's forward, those that it takes: noise, labels, the true images, the
        states of the frames that it sees from frame `first` on, and the `count` actions from there on (the last one
        again where they end: of frames that nobody asked for)."""
        found = self.discriminator_kwargs(generator)
        if self.noise is not None and generator.noise_channels:
            found["noise"] = self.noise
        if self.actions is not None and generator.action_size:
            rows = self.actions[:, first : first + count]
            if rows.shape[1] < count:
                rows = torch.cat([rows, self.actions[:, -1:].expand(-1, count - rows.shape[1], -1)], 1)
            found["actions"] = rows
        if self.states is not None and generator.state_size:
            found["states"] = self.states[:, first : first + generator.context_frames]
        return found

    def discriminator_kwargs(self, network: Generator | Discriminator) -> dict[str, Tensor]:
        """Keyword arguments of a discriminator's forward, those that it takes: labels and the true images."""
        found = {}
        if self.labels is not None and network.num_labels:
            found["labels"] = self.labels
        if self.truth is not None and network.takes_truth:
            found["truth"] = self.truth
        return found


def check_rows(name: str, rows: Tensor | None, count: str, size: int) -> None:
    """Raises ValueError unless rows are `(B, count, size)` and finite; where size is 0, they are not looked at."""
    if not size:
        return
    if rows is None:
        raise ValueError(f"the generator is conditioned on {name}; pass {name} (B, {count}, {size})")
    if rows.dim() != 3 or rows.shape[-1] != size:
        raise ValueError(f"{name} must be (B, {count}, {size}), not {tuple(rows.shape)}")
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{name} must be finite; there is NaN or infinity among them")


def check_labels(labels: Tensor | None, classes: int) -> None:
    """Raises ValueError where a network of so many classes is given no labels, or others than it knows."""
    if not classes:
        return
    if labels is None:
        raise ValueError(f"the model is told the class of each image; pass labels (B,) from 0 to {classes - 1}")
    if labels.numel() and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise ValueError(f"labels must lie between 0 and {classes - 1}, not {int(labels.min())} to {int(labels.max())}")


def check_conditions(generator: Generator, source: Source) -> None:
    """Raises ConfigError where the generator takes actions or states and the source has none, or of another size."""
    for wanted, found, setting, name, what in (
        (generator.action_size, source.action_size, "model.action_size", "actions", "from one frame to the next"),
        (generator.state_size, source.state_size, "model.state_size", "states", "a frame"),
    ):
        if wanted and not found:
            raise ConfigError(
                f"[{setting}={wanted}] the data has no {name} [{source.name}]; set {setting}=0, or use a prepared set "
                "that has them (vidpred record, vidpred prepare numpy)"
            )
        if wanted and found != wanted:
            raise ConfigError(
                f"[{setting}={wanted}] the data's {name} have {found} values {what} [{source.name}]; "
                f"set {setting}={found}"
            )
