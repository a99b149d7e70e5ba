"""What is exported: one step of a rollout, or images from noise, as a module with named tensors in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vidpred.models.base import Generator
from vidpred.models.motion import MotionGenerator
from vidpred.models.motion_estimation import PADDING, flow_origins, flows_at, motion_of
from vidpred.models.pyramid import as_pyramid, pad_to_multiple

Size = int | str  # a number, or the name of a dimension of any size
FINE = "OpenCV's DIS, medium preset with finest scale 0 and patch stride 4"
SMOOTH = "OpenCV's DIS, medium preset with variational refinement alpha 80"


class Port(NamedTuple):
    """An input or output: name, shape, element type, lowest and highest value (None: any), and meaning."""

    name: str
    shape: tuple[Size, ...]
    dtype: str
    range: list[Any] | None
    meaning: str


@dataclass(frozen=True)
class Sizes:
    """Sizes of an example's tensors."""

    batch: int
    height: int
    width: int


class ExportedStep(nn.Module):
    """Base class of what is exported; tensors go in and out in the order of `inputs` and `outputs`.

    `as_onnx` is whether ONNX is possible.
    """

    inputs: list[Port]
    outputs: list[Port]
    as_onnx = True

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
        """Return inputs of a size: smooth moving patterns, and noise, actions, states and labels at random."""
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


class ImageStep(ExportedStep):
    """Images `(B, C, H, W)` from noise."""

    def __init__(self, generator: Generator, state: Mapping[str, Any]) -> None:
        super().__init__(generator, state)
        self.inputs = self.conditions
        self.outputs = [Port("images", ("batch", *generator.shape), "float32", [0, 1], "generated images")]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the images."""
        empty = inputs[0].new_empty(inputs[0].shape[0], 0, *self.generator.shape)
        images = as_pyramid(self.generator(empty, **dict(zip(self.names, inputs, strict=True))))[-1]
        return (images[:, 0].float().clamp(0, 1),)


class FrameStep(ExportedStep):
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
        """Return the outputs."""
        history, conditions = inputs[0], dict(zip(self.names, inputs[len(inputs) - len(self.names) :], strict=True))
        frames = self.predict(history, inputs[1], conditions) if len(inputs) > 1 else self.predict(history, None, {})
        following = torch.cat([history, frames], 1)[:, -self.generator.history_len :]
        if "states" not in conditions:
            return frames, following
        return frames, following, self.next_states(conditions["states"], conditions.get("actions"))

    def predict(self, history: Tensor, first: Tensor | None, conditions: Mapping[str, Tensor]) -> Tensor:
        """Return the next frames `(B, K, C, H, W)`; `first` is the input after the context."""
        context = history[:, : self.generator.context_frames]
        return as_pyramid(self.generator(context, **conditions))[-1].float()

    def next_states(self, states: Tensor, actions: Tensor | None) -> Tensor:
        """Return the states of the next step's context frames."""
        dynamics, rows = self.generator.state_dynamics, list(states.unbind(1))
        assert dynamics is not None
        for _ in range(self.generator.pred_frames):
            rows.append(dynamics(rows[-1], None if actions is None else actions[:, len(rows) - 1]))
        return torch.stack(rows[-states.shape[1] :], 1)


class MotionStep(FrameStep):
    """The networks and warps of `motion`; optical flow is an input, `(B, pairs, 2, H, W)`."""

    generator: MotionGenerator
    as_onnx = False  # the conversion of its warps takes over four minutes

    def __init__(self, generator: MotionGenerator, state: Mapping[str, Any]) -> None:
        super().__init__(generator, state)
        # The newest ten frames are used; two are taken as three by the model, whose flows a caller would not expect.
        self.origins = flow_origins(generator.context_frames, generator.backtests)
        pairs = [(0, FINE), (1, FINE), *((origin, SMOOTH) for origin in self.origins)]
        listed = "; ".join(
            f"{index}: t-{origin} to t-{origin + 1}, {care}" for index, (origin, care) in enumerate(pairs)
        )
        meaning = f"displacement (x, y) in pixels of every pixel from one frame to the one before it: {listed}"
        flows = Port("flows", ("batch", len(pairs), 2, "height", "width"), "float32", None, meaning)
        self.inputs = [self.context, flows, *self.conditions]

    def predict(self, history: Tensor, first: Tensor | None, conditions: Mapping[str, Tensor]) -> Tensor:
        assert first is not None
        context = history[:, : self.generator.context_frames]
        flows = pad_to_multiple(first, PADDING).unbind(1)
        motion = motion_of(context[:, -10:], self.origins, flows[:2], flows[2:])
        given = (conditions.get(name) for name in ("noise", "actions", "states"))
        planes = self.generator.planes(context, *given)
        (frames,) = self.generator.from_motion(motion, planes, context.shape[-2], context.shape[-1])
        return frames.float()

    def example(self, sizes: Sizes, seed: int = 0) -> tuple[Tensor, ...]:
        context, _, *rest = super().example(sizes, seed)
        frames = context[:, : self.generator.context_frames][:, -10:]
        flows = [*flows_at(frames, [0, 1], "fine"), *flows_at(frames, self.origins, "smooth")]
        stacked = torch.stack(flows, 1)[..., : sizes.height, : sizes.width]
        return (context, stacked, *rest)


def exported_step(generator: Generator, state: Mapping[str, Any]) -> ExportedStep:
    """Return the step of a generator; `state` is that of its checkpoint."""
    if not generator.history_len:
        return ImageStep(generator, state)
    if isinstance(generator, MotionGenerator):
        return MotionStep(generator, state)
    return FrameStep(generator, state)


def moving_waves(shape: list[int], random: torch.Generator) -> Tensor:
    """Return clips `(B, T, C, H, W)` in [0, 1] of waves that move by half a pixel or a pixel per frame."""
    batch, count, channels, height, width = shape
    phase = torch.rand(batch, 1, channels, 1, 1, generator=random) * 2 * math.pi
    time = torch.arange(count).view(1, -1, 1, 1, 1)
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    waves = torch.sin((columns + time) / 5 + phase) + torch.sin((rows - time / 2) / 3 + 2 * phase)
    return (waves + 2) / 4
