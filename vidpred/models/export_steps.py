"""What is exported: one step of a rollout, or images from noise, as a module with named tensors in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vidpred.models.base import Generator
from vidpred.models.exported_step import ExportedStep, Port, Sizes
from vidpred.models.pyramid import as_pyramid


class GeneratorStep(ExportedStep):
    """Base class of the steps of a generator; `state` is that of its checkpoint."""

    def __init__(self, generator: Generator, state: Mapping[str, Any]) -> None:
        super().__init__()
        self.generator = generator
        bounds = state.get("action_bounds")
        history, moves = generator.history_len, generator.history_len + generator.pred_frames - 1
        frame = (generator.channels, "height", "width")
        rows: list[Port] = [
            Port("noise", ("batch", generator.noise_channels), "float32", None, generator.noise),
            Port("labels", ("batch",), "int64", [0, generator.num_labels - 1], "class of each sample"),
            Port("actions", ("batch", moves, generator.action_size), "float32", bounds,
                 "row i leads from frame i to frame i+1 of context and future"),
            Port("states", ("batch", generator.context_frames, generator.state_size), "float32", None,
                 "states of the first context frames"),
        ]  # fmt: skip
        noise = 0 if generator.noise_optional else generator.noise_channels
        sizes = (noise, generator.num_labels, generator.action_size, generator.state_size)
        self.context = Port("context", ("batch", history, *frame), "float32", [0, 1], "newest frames, RGB or gray")
        self.conditions = [row for row, size in zip(rows, sizes, strict=True) if size]
        self.names = [row.name for row in self.conditions]

    def example(self, sizes: Sizes, seed: int = 0) -> tuple[Tensor, ...]:
        """Return random inputs in the order of `inputs`, a function of the seed.

        The context is a smooth moving pattern in [0, 1]; noise, actions and states are standard normal, labels uniform.
        """
        random = torch.Generator().manual_seed(seed)
        found = []
        for port in self.inputs:
            shape = [getattr(sizes, side) if isinstance(side, str) else side for side in port.shape]
            if port.name == "context":
                found.append(moving_waves(shape, random))
            elif port.dtype == "int64":
                found.append(torch.randint(self.generator.num_labels, shape, generator=random))
            else:
                found.append(torch.randn(shape, generator=random))
        return tuple(found)


class ImageStep(GeneratorStep):
    """Images `(B, C, H, W)` from noise."""

    def __init__(self, generator: Generator, state: Mapping[str, Any]) -> None:
        super().__init__(generator, state)
        self.inputs = self.conditions
        self.outputs = [Port("images", ("batch", *generator.shape), "float32", [0, 1], "generated images")]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Generate images from noise and labels.

        Args:
            inputs: Tensors in the order of `self.inputs`: noise `(B, noise_channels)`, then labels `(B,)` for a model
                with classes.

        Returns:
            A tuple of one, as `self.outputs`: images `(B, C, H, W)` float32 in [0, 1].
        """
        empty = inputs[0].new_empty(inputs[0].shape[0], 0, *self.generator.shape)
        images = as_pyramid(self.generator(empty, **dict(zip(self.names, inputs, strict=True))))[-1]
        return (images[:, 0].float().clamp(0, 1),)


class FrameStep(GeneratorStep):
    """One step of a rollout: the next frames, and the context and states of the next step."""

    def __init__(self, generator: Generator, state: Mapping[str, Any]) -> None:
        super().__init__(generator, state)
        self.inputs = [self.context, *self.conditions]
        batch, history, *frame = self.context.shape
        self.outputs = [
            Port("frames", (batch, generator.pred_frames, *frame), "float32", [0, 1], "future frames"),
            Port("next_context", (batch, history, *frame), "float32", [0, 1], "context of the next step"),
        ]
        if generator.state_size:
            shape = (batch, generator.context_frames, generator.state_size)
            self.outputs.append(Port("next_states", shape, "float32", None, "states of the next step"))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Predict the next K frames, one step of a rollout.

        Args:
            inputs: Tensors in the order of `self.inputs`: the context `(B, history_len, C, H, W)` in [0, 1], then those
                of noise, labels, actions and states that the model takes.

        Returns:
            A tuple in the order of `self.outputs`: frames `(B, K, C, H, W)` and the context of the next step, both
                float32 in [0, 1]; for a model with states, those of the next step.
        """
        history, conditions = inputs[0], dict(zip(self.names, inputs[len(inputs) - len(self.names) :], strict=True))
        frames = self.predict(history, inputs[1], conditions) if len(inputs) > 1 else self.predict(history, None, {})
        following = torch.cat([history, frames], 1)[:, -self.generator.history_len :]
        if "states" not in conditions:
            return frames, following
        return frames, following, self.next_states(conditions["states"], conditions.get("actions"))

    def predict(self, history: Tensor, first: Tensor | None, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return the next frames `(B, K, C, H, W)` float32.

        Args:
            history: `(B, history_len, C, H, W)` in [0, 1], of which the model takes the first `context_frames`.
            first: The input after the history, for subclasses; None: there is none.
            conditions: The other inputs by name, the keyword arguments of the generator's forward.
        """
        context = history[:, : self.generator.context_frames]
        return as_pyramid(self.generator(context, **conditions))[-1].float()

    def next_states(self, states: Tensor, actions: Tensor | None) -> Tensor:
        """Predict the states `(B, T, S)` of the next step's context frames.

        Args:
            states: Those of this step's, `(B, T, S)`, in the data's units.
            actions: `(B, moves, A)` from the first context frame on; None for a model without actions.
        """
        dynamics, rows = self.generator.state_dynamics, list(states.unbind(1))
        assert dynamics is not None
        for _ in range(self.generator.pred_frames):
            rows.append(dynamics(rows[-1], None if actions is None else actions[:, len(rows) - 1]))
        return torch.stack(rows[-states.shape[1] :], 1)


def exported_step(generator: Generator, state: Mapping[str, Any]) -> ExportedStep:
    """Return the step of a generator; `state` is that of its checkpoint."""
    own = generator.exported_step(state)
    if own is not None:
        return own
    return FrameStep(generator, state) if generator.history_len else ImageStep(generator, state)


def moving_waves(shape: list[int], random: torch.Generator) -> Tensor:
    """Return clips `(B, T, C, H, W)` in [0, 1] of waves that move by half a pixel or a pixel per frame."""
    batch, count, channels, height, width = shape
    phase = torch.rand(batch, 1, channels, 1, 1, generator=random) * 2 * math.pi
    time = torch.arange(count).view(1, -1, 1, 1, 1)
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    waves = torch.sin((columns + time) / 5 + phase) + torch.sin((rows - time / 2) / 3 + 2 * phase)
    return (waves + 2) / 4
