"""The contract between a predictor and a planner: from what was seen and what might be done, what would be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from vidpred.data.batch import to_float
from vidpred.errors import ConfigError
from vidpred.inference.predictor import Predictor
from vidpred.models.base import as_generator
from vidpred.models.noise import draw_noise
from vidpred.models.rollout import stream_rollout

Cost = Callable[[Tensor], Tensor]  # predicted frames (N, K, C, H, W) in [0, 1] -> (N,) costs, or (N, K), summed over K
CHUNK_FRAMES = 2048  # frames of 64x64 pixels that one chunk of candidates predicts in all: about 100 MB


@dataclass(frozen=True)
class Bounds:
    """The least and the largest value of each action, `(A,)` float32."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, low: object, high: object) -> Self:
        return cls(torch.as_tensor(low, dtype=torch.float32), torch.as_tensor(high, dtype=torch.float32))

    def clip(self, actions: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(actions, self.low.to(actions)), self.high.to(actions))

    def contain(self, actions: Tensor) -> bool:
        """Whether all are inside, but for roundings."""
        slack = 1e-5 * (self.high - self.low).to(actions)
        inside = (actions >= self.low.to(actions) - slack) & (actions <= self.high.to(actions) + slack)
        return bool(inside.all())


class PlanningModel(Protocol):
    """What planning asks of a model of the world, learned or true."""

    action_size: int
    state_size: int  # 0: it is not told the states of known frames
    history_len: int

    def costs(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None,
        cost: Cost,
        differentiable: bool = False,
        *,
        states: Tensor | None = None,
    ) -> Tensor:
        """`(B, S)`: the cost of what every plan `(B, S, K, A)` leads to; differentiable: with its graph, if it can."""

    def rollout(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None, *, states: Tensor | None = None
    ) -> Tensor:
        """`(B, S, K, C, H, W)`: what every plan leads to."""


class WorldModel:
    """A trained predictor that takes actions, as planners want it.

    Frames are uint8 or float in [0, 1] going in and float32 in [0, 1] coming out, actions and states in the units of
    the training data. bounds: where given, actions outside are refused. chunk: candidates that are predicted at once
    (None: as many as `CHUNK_FRAMES` allows for the image's size); memory is bounded by it, but for what is returned.
    precision: bfloat16 is faster where the hardware computes it natively.
    """

    def __init__(
        self,
        generator: nn.Module,
        bounds: Bounds | None = None,
        chunk: int | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        """Raises ConfigError for a generator that takes no actions."""
        self.generator = as_generator(generator).eval()
        self.bounds, self.chunk, self.precision = bounds, chunk, precision
        self.action_size, self.state_size = self.generator.action_size, self.generator.state_size
        self.history_len = self.generator.history_len
        if not self.action_size:
            raise ConfigError(
                "the model takes no actions [model.action_size=0], so it cannot plan; train one on data with actions"
            )

    @classmethod
    def load(
        cls,
        run: str | Path,
        checkpoint: str = "best",
        device: str = "auto",
        bounds: Bounds | None = None,
        chunk: int | None = None,
        precision: torch.dtype = torch.float32,
    ) -> Self:
        """From a run folder, as `Predictor.load`. Raises what that raises, ConfigError for a model without actions."""
        return cls(Predictor.load(run, checkpoint, device).generator, bounds, chunk, precision)

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None = None,
        differentiable: bool = False,
        *,
        states: Tensor | None = None,
    ) -> Tensor:
        """What every plan leads to: `(B, S, K, C, H, W)`.

        context: `(B, T, C, H, W)`, the known frames, the newest last; T >= history_len. actions: `(B, S, K, A)`, S
        plans of K steps for each: step 0 moves the last known frame to the first coming one. past_actions:
        `(B, T-1, A)`, between the known frames; not needed for T = 1. differentiable: keep the graph from the frames
        back to the actions. states: `(B, T, state_size)`, in which the known frames were taken, for a model that takes
        any. Raises ValueError naming the shapes, or values that are not finite or out of bounds.
        """
        context, past_actions, states = self.check(context, actions, past_actions, states)
        chunks = self._chunks(context, actions, past_actions, states, differentiable)
        return torch.unflatten(torch.cat(list(chunks)), 0, actions.shape[:2])

    def costs(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None,
        cost: Cost,
        differentiable: bool = False,
        *,
        states: Tensor | None = None,
    ) -> Tensor:
        """The cost of what every plan leads to, `(B, S)`. Only one chunk's frames are in memory. Shapes: see `rollout`.

        cost: frames `(N, K, C, H, W)` -> `(N,)`, or `(N, K)`, which are summed over the steps; N plans, whatever B is.
        """
        context, past_actions, states = self.check(context, actions, past_actions, states)
        chunks = self._chunks(context, actions, past_actions, states, differentiable)
        return torch.unflatten(torch.cat([summed(cost(frames)) for frames in chunks]), 0, actions.shape[:2])

    def spread(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None = None,
        samples: int = 8,
        *,
        states: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """How uncertain plans are: mean `(B, S, K, C, H, W)` and standard deviation `(B, S, K)` (root of the pixels'
        mean variance) over `samples` sampled futures. Raises ConfigError for a model that takes no noise."""
        if not self.generator.noise_channels:
            raise ConfigError("the model takes no noise [model.noise_channels=0], so all its futures are the same")
        drawn = torch.stack([self.rollout(context, actions, past_actions, states=states) for _ in range(samples)])
        return drawn.mean(0), drawn.var(0, correction=0).mean((-3, -2, -1)).sqrt()

    def check(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments of `rollout` on the model's device: frames in [0, 1], past actions `(B, T-1, A)`, and states
        where it takes any."""
        size, needed = self.action_size, self.history_len
        if context.dim() != 5 or context.shape[1] < needed:
            raise ValueError(f"context must be (B, T, C, H, W) with T >= {needed}, not {tuple(context.shape)}")
        batch, known = context.shape[:2]
        if actions.dim() != 4 or actions.shape[0] != batch or actions.shape[-1] != size or 0 in actions.shape:
            raise ValueError(f"actions must be (B, S, K, A) = ({batch}, S, K, {size}), not {tuple(actions.shape)}")
        if past_actions is None and known == 1:
            past_actions = actions.new_zeros(batch, 0, size)
        wanted = (batch, known - 1, size)
        if past_actions is None or past_actions.shape != wanted:
            found = None if past_actions is None else tuple(past_actions.shape)
            raise ValueError(f"past_actions must be (B, T-1, A) = {wanted}, not {found}")
        if states is not None and not self.state_size:
            raise ValueError(
                f"the model takes no states [model.state_size=0], not {tuple(states.shape)}; leave them out"
            )
        wanted = (batch, known, self.state_size)
        if self.state_size and (states is None or states.shape != wanted):
            found = None if states is None else tuple(states.shape)
            raise ValueError(f"states must be (B, T, state_size) = {wanted}, not {found}; pass states=")
        for name, given in (("actions", actions), ("past_actions", past_actions), ("states", states)):
            if given is not None and not bool(given.isfinite().all()):
                raise ValueError(f"{name} {tuple(given.shape)} must be finite; there is NaN or infinity among them")
        if self.bounds is not None and not self.bounds.contain(actions):
            low, high = self.bounds.low.tolist(), self.bounds.high.tolist()
            raise ValueError(
                f"actions {tuple(actions.shape)} lie in [{float(actions.min()):g}, {float(actions.max()):g}], outside "
                f"the bounds {low} to {high}; clip them"
            )
        known_states = None if states is None else states.to(self.device, torch.float32)
        return to_float(context.to(self.device)), past_actions.to(self.device, torch.float32), known_states

    def _chunks(
        self, context: Tensor, actions: Tensor, past_actions: Tensor, states: Tensor | None, differentiable: bool
    ) -> Iterator[Tensor]:
        """Frames `(n, K, C, H, W)` of a few plans after the other; the context is expanded for those only."""
        batch, plans, steps = actions.shape[:3]
        owner = torch.arange(batch, device=self.device).repeat_interleave(plans)
        coming = actions.to(self.device, torch.float32).flatten(0, 1)
        # Plans are compared under the same luck, whatever the chunks.
        noise = draw_noise(self.generator, 1) if self.generator.noise_channels else None
        for rows in torch.arange(batch * plans, device=self.device).split(self._chunk_size(context, steps)):
            own = owner[rows]
            moves = torch.cat([past_actions[own], coming[rows]], 1)
            draw = None if noise is None else noise.expand(len(own), -1)
            known = None if states is None else states[own]
            with torch.set_grad_enabled(differentiable), self._autocast():
                stream = stream_rollout(self.generator, context[own], steps, draw, moves, known)
                frames = torch.stack(list(stream), 1)
            yield frames

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def _chunk_size(self, context: Tensor, steps: int) -> int:
        if self.chunk is not None:
            return self.chunk
        height, width = context.shape[-2:]
        return max(1, CHUNK_FRAMES * 64 * 64 // (steps * height * width))


def summed(values: Tensor) -> Tensor:
    """A cost for every plan, `(N,)`, from that or from one for every step, `(N, K)`."""
    return values if values.dim() == 1 else values.sum(1)
