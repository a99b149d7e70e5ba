"""Inputs of a generator in addition to context frames, and of a discriminator in addition to images."""

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
    """Conditions of a batch; None: absent.

    Attributes:
        noise: `(B, noise_channels)`, one draw per sample.
        actions: `(B, N-1, A)`: row i leads from frame i to frame i+1, counted from the first of N frames, context and
            future.
        labels: `(B,)` int64, the class of each sample.
        target: `(B, K, C, H, W)`, the true images, in training only.
        states: `(B, T, S)` of the context frames; `with_predicted_states` predicts those of future frames.
    """

    noise: Tensor | None = None
    actions: Tensor | None = None
    labels: Tensor | None = None
    target: Tensor | None = None
    states: Tensor | None = None

    @classmethod
    def from_batch(cls, batch: Batch, count: int | None = None) -> Self:
        """Return actions, labels and context states of a batch's first `count` samples (None: all)."""
        actions, labels, states = (
            None if rows is None else rows[:count] for rows in (batch.actions, batch.labels, batch.context_states)
        )
        return cls(actions=actions, labels=labels, states=states)

    def repeat(self, times: int) -> Conditions:
        """Return the conditions for `times` consecutive copies of the batch; the noise already covers all."""
        return Conditions(
            self.noise,
            None if self.actions is None else self.actions.repeat(times, 1, 1),
            None if self.labels is None else self.labels.repeat(times),
            None if self.target is None else self.target.repeat(times, 1, 1, 1, 1),
            None if self.states is None else self.states.repeat(times, 1, 1),
        )

    def check(self, generator: Generator) -> None:
        """Check that the conditions fit a generator.

        Raises:
            ValueError: There is noise for a generator that takes none; actions or states are missing, not finite or of
                the wrong size; or labels are missing or not among the generator's classes.
        """
        if self.noise is not None and not generator.noise_channels:
            raise ValueError("the generator takes no noise (it has no noise_channels)")
        check_rows("actions", self.actions, "N-1", generator.action_size)
        check_rows("states", self.states, "T", generator.state_size)
        check_labels(self.labels, generator.num_labels)

    def with_predicted_states(self, generator: Generator, count: int) -> Self:
        """Return a copy with the states `(B, count, S)` of the first `count` frames, context and future.

        Missing states follow from the previous ones through the generator's `state_dynamics`, with the actions in
        between. Without states, nothing changes.
        """
        if self.states is None or not generator.state_size:
            return self
        states = list(self.states.unbind(1))
        while len(states) < count:
            actions = self.actions[:, len(states) - 1] if self.actions is not None else None
            assert generator.state_dynamics is not None
            states.append(generator.state_dynamics(states[-1], actions))
        return replace(self, states=torch.stack(states, 1))

    def generator_kwargs(self, generator: Generator, first: int, count: int) -> dict[str, Tensor]:
        """Return the conditions that a generator takes, as keyword arguments of its forward.

        Args:
            generator: The generator.
            first: Index of the first input frame: states start there, and so do actions.
            count: Number of actions; where fewer are left, the last is repeated, which affects surplus frames only.
        """
        found = self.discriminator_kwargs(generator)
        if self.noise is not None and generator.noise_channels:
            found["noise"] = self.noise
        if self.actions is not None and generator.action_size:
            rows = self.actions[:, first : first + count]
            if rows.shape[1] < count:
                rows = torch.cat([rows, self.actions[:, -1:].expand(-1, count - rows.shape[1], -1)], 1)
            found["actions"] = rows
        if "target" in found:  # a consecutive prediction has the next K true frames as its target
            found["target"] = found["target"][:, first : first + generator.pred_frames]
        if self.states is not None and generator.state_size:
            found["states"] = self.states[:, first : first + generator.context_frames]
        return found

    def discriminator_kwargs(self, network: Generator | Discriminator) -> dict[str, Tensor]:
        """Return {"labels": `(B,)`, "target": `(B, K, C, H, W)`}, of which only those that the network takes."""
        found = {}
        if self.labels is not None and network.num_labels:
            found["labels"] = self.labels
        if self.target is not None and network.takes_target:
            found["target"] = self.target
        return found


def check_rows(name: str, rows: Tensor | None, count: str, size: int) -> None:
    """Check that rows are `(B, n, size)` and finite; n is not checked, and with size 0 nothing is.

    Args:
        name: What the rows are, such as "actions", for errors.
        rows: The rows; None: missing.
        count: The expected n as text, such as "T", for errors.
        size: Number of values in a row.

    Raises:
        ValueError: The rows are missing, of another shape or not finite.
    """
    if not size:
        return
    if rows is None:
        raise ValueError(f"the generator is conditioned on {name}; pass {name} (B, {count}, {size})")
    if rows.dim() != 3 or rows.shape[-1] != size:
        raise ValueError(f"{name} must be (B, {count}, {size}), not {tuple(rows.shape)}")
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{name} must be finite; there is NaN or infinity among them")


def check_labels(labels: Tensor | None, classes: int) -> None:
    """Check that a network of `classes` classes receives labels in range; with 0 classes, nothing is checked.

    Raises:
        ValueError: The labels are missing or out of range.
    """
    if not classes or torch.compiler.is_exporting():
        return
    if labels is None:
        raise ValueError(
            f"the model is conditioned on the class of each image; pass labels (B,) from 0 to {classes - 1}"
        )
    if labels.numel() and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise ValueError(f"labels must lie between 0 and {classes - 1}, not {int(labels.min())} to {int(labels.max())}")


def check_conditions(generator: Generator, source: Source) -> None:
    """Check that a source has the actions and states that a generator takes.

    Raises:
        ConfigError: The source lacks them, or they have another size.
    """
    for wanted, found, setting, name, what in (
        (generator.action_size, source.action_size, "model.action_size", "actions", "from one frame to the next"),
        (generator.state_size, source.state_size, "model.state_size", "states", "a frame"),
    ):
        if wanted and not found:
            raise ConfigError(
                f"[{setting}={wanted}] the data has no {name} [{source.name}]; set {setting}=0, or use a prepared data "
                "set that has them (vidpred record, vidpred prepare numpy)"
            )
        if wanted and found != wanted:
            raise ConfigError(
                f"[{setting}={wanted}] the data's {name} have {found} values {what} [{source.name}]; "
                f"set {setting}={found}"
            )
