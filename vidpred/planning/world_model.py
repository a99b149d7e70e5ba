"""The interface between a predictor and a planner: predict frames from context frames and plans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from vidpred.errors import ConfigError
from vidpred.inference.predictor import Predictor
from vidpred.models.base import Forward, as_generator
from vidpred.models.noise import draw_noise, seeded_noise
from vidpred.models.rollout import stream_rollout
from vidpred.planning.inputs import FrameSize, checked_frames, trained_size
from vidpred.planning.planning_model import Bounds, NoiseSeed, PlanningModel, Plans, trained_bounds

CHUNK_FRAMES = 2048  # frames of 64x64 pixels to predict in one chunk of plans: about 100 MB


class WorldModel(PlanningModel):
    """A trained predictor that takes actions, in the interface for planners.

    Input frames are uint8 or float in [0, 1], predicted frames are float32 in [0, 1]. Actions and states are in the
    units of the training data.
    """

    def __init__(
        self,
        generator: nn.Module,
        bounds: Bounds | None = None,
        chunk: int | None = None,
        precision: torch.dtype = torch.float32,
        frame_size: FrameSize = None,
        trained_bounds: Bounds | None = None,
    ) -> None:
        """Wrap a generator.

        Args:
            generator: A generator that takes actions.
            bounds: Bounds of the actions; actions outside raise ValueError.
            chunk: Number of plans to predict at once, which limits memory (except that of the result); None: as many as
                `CHUNK_FRAMES` allows for the image's size.
            precision: Precision of the computation; bfloat16 is faster on hardware that supports it natively.
            frame_size: Height and width of the frames that the generator was trained on, or only their short side, in
                pixels; others raise ValueError. None: any.
            trained_bounds: Range and names of the actions that it was trained on; `bounds` beyond the range are warned
                about, other names raise ValueError. None: unknown.

        Raises:
            ConfigError: The generator takes no actions.
            ValueError: The bounds do not suit the model.
        """
        self.generator = as_generator(generator).eval()
        self.chunk, self.precision = chunk, precision
        self.action_size, self.state_size = self.generator.action_size, self.generator.state_size
        self.history_len = self.generator.history_len
        self.noise_channels = 0 if self.generator.noise_optional else self.generator.noise_channels
        self.channels = self.generator.channels
        self.frame_size, self.trained_bounds = frame_size, trained_bounds
        self._fast: tuple[list[int], Forward | None] | None = None  # versions of the parameters, forward pass
        if not self.action_size:
            raise ConfigError(
                "the model takes no actions [model.action_size=0], so it cannot plan; train one on data with actions"
            )
        self.bounds = bounds

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
        """Load a run; see `Predictor.load` and `__init__`, which also raise the errors."""
        predictor = Predictor.load(run, checkpoint, device)
        size, trained = trained_size(predictor), trained_bounds(predictor)
        return cls(predictor.generator, bounds, chunk, precision, size, trained)

    @property
    def bounds(self) -> Bounds | None:
        """Bounds of the actions; None: any."""
        return self._bounds

    @bounds.setter
    def bounds(self, bounds: Bounds | None) -> None:
        if bounds is not None:
            bounds.check(self.action_size, self.trained_bounds)
        self._bounds = bounds

    @property
    def device(self) -> torch.device:
        """The generator's device."""
        return next(self.generator.parameters()).device

    def spread(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None = None,
        samples: int = 8,
        *,
        states: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the uncertainty of plans over `samples` sampled futures.

        Returns:
            The mean `(B, S, K, C, H, W)`, and the standard deviation `(B, S, K)`, the root of the pixels' mean
            variance.

        Raises:
            ConfigError: The model takes no noise.
        """
        if not self.noise_channels:
            raise ConfigError("the model takes no noise [model.noise_channels=0], so all its futures are the same")
        drawn = torch.stack([self.rollout(context, actions, past_actions, states=states) for _ in range(samples)])
        return drawn.mean(0), drawn.var(0, correction=0).mean((-3, -2, -1)).sqrt()

    def check(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Check the arguments of `rollout` and move them to the model's device.

        Returns:
            Context frames in [0, 1], past actions `(B, T-1, A)`, and states for a model that takes states.

        Raises:
            ValueError: See `rollout`.
        """
        size, needed = self.action_size, self.history_len
        if context.dim() != 5 or context.shape[1] < needed:
            raise ValueError(f"context must be (B, T, C, H, W) with T >= {needed}, not {tuple(context.shape)}")
        batch, context_len = context.shape[:2]
        if actions.dim() != 4 or actions.shape[0] != batch or actions.shape[-1] != size or 0 in actions.shape:
            raise ValueError(f"actions must be (B, S, K, A) = ({batch}, S, K, {size}), not {tuple(actions.shape)}")
        if past_actions is None and context_len == 1:
            past_actions = actions.new_zeros(batch, 0, size)
        expected = (batch, context_len - 1, size)
        if past_actions is None or past_actions.shape != expected:
            found = None if past_actions is None else tuple(past_actions.shape)
            raise ValueError(f"past_actions must be (B, T-1, A) = {expected}, not {found}")
        if states is not None and not self.state_size:
            raise ValueError(
                f"the model takes no states [model.state_size=0], not {tuple(states.shape)}; leave them out"
            )
        expected = (batch, context_len, self.state_size)
        if self.state_size and (states is None or states.shape != expected):
            found = None if states is None else tuple(states.shape)
            raise ValueError(f"states must be (B, T, state_size) = {expected}, not {found}; pass states=")
        for name, given in (("actions", actions), ("past_actions", past_actions), ("states", states)):
            if given is not None and not bool(given.isfinite().all()):
                raise ValueError(f"{name} {tuple(given.shape)} must be finite; they contain NaN or infinity")
        if self.bounds is not None and not self.bounds.contain(actions):
            low, high = self.bounds.low.tolist(), self.bounds.high.tolist()
            raise ValueError(
                f"actions {tuple(actions.shape)} lie in [{float(actions.min()):g}, {float(actions.max()):g}], outside "
                f"the bounds {low} to {high}; clip them"
            )
        states = None if states is None else states.to(self.device, torch.float32)
        context = checked_frames(context.to(self.device), "context", self.frame_size, self.channels)
        return context, past_actions.to(self.device, torch.float32), states

    def predict(self, plans: Plans) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the frames `(n, K, C, H, W)` of one chunk of plans after the other, and their situations `(n,)`.

        The context is expanded only for the chunk.
        """
        actions, noise_seed, differentiable = plans.actions, plans.noise_seed, plans.differentiable
        context, past_actions, states = self.check(plans.context, actions, plans.past_actions, plans.states)
        batch, count, steps = actions.shape[:3]
        owner = torch.arange(batch, device=self.device).repeat_interleave(count)
        future_actions = actions.to(self.device, torch.float32).flatten(0, 1)
        # All plans share one noise sample, so that their comparison does not depend on chance or on the chunks.
        forward = None if differentiable else self._fast_forward()
        noise = self._noise(noise_seed, batch) if self.noise_channels else None
        for rows in torch.arange(batch * count, device=self.device).split(self._chunk_size(context, steps)):
            own = owner[rows]
            moves = torch.cat([past_actions[own], future_actions[rows]], 1)
            draw = None if noise is None else noise[own]
            own_states = None if states is None else states[own]
            with torch.set_grad_enabled(differentiable), self._autocast(forward is None):
                stream = stream_rollout(self.generator, context[own], steps, draw, moves, own_states, forward)
                frames = torch.stack(list(stream), 1)
            yield frames, own

    def _noise(self, seed: NoiseSeed, batch: int) -> Tensor:
        """Return the noise of each situation, `(batch, noise_channels)`, see `rollout`."""
        if seed is None:
            drawn = draw_noise(self.generator, 1)
        else:
            seeds = [seed] if isinstance(seed, int) else seed
            drawn = torch.cat([seeded_noise(self.generator, 1, one) for one in seeds])
        return drawn.to(self.device).expand(batch, -1)

    def _autocast(self, enabled: bool) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=enabled and self.precision != torch.float32)

    def _fast_forward(self) -> Forward | None:
        """Return the faster forward pass, rebuilt after a change of the weights; None if there is none."""
        versions = [parameter._version for parameter in self.generator.parameters()]
        if self._fast is None or self._fast[0] != versions:
            self._fast = versions, self.generator.fast_forward(self.precision)
        return self._fast[1]

    def _chunk_size(self, context: Tensor, steps: int) -> int:
        if self.chunk is not None:
            return self.chunk
        height, width = context.shape[-2:]
        return max(1, CHUNK_FRAMES * 64 * 64 // (steps * height * width))
