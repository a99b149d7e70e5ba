"""Base class of the frame predictors that take noise, actions and states."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.models.base import Generator
from vidpred.models.dynamics import StateDynamics
from vidpred.models.noise import draw_noise
from vidpred.models.normalizer import Normalizer
from vidpred.models.settings import ModelSettings


class ConditionedPredictor(Generator):
    """Base class of frame predictors with noise, actions and states.

    Maps `(B, T, C, H, W)` to pred_frames (K) frames at once, the first of them `lead` frames after the last context
    frame. `condition_size` is the total number of condition values, `moves` the number of actions between the first
    context frame and the last future frame. `state_dynamics` predicts the states of predicted frames and normalizes all
    states.
    """

    def __init__(
        self, settings: ModelSettings, context_frames: int, pred_frames: int = 1, lead: int = 1, channels: int = 3
    ) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, pred_frames, lead, channels
        self.noise_channels = settings.noise_channels
        if self.noise_channels:
            self.noise = settings.noise
        self.action_size, self.moves = settings.action_size, context_frames + pred_frames + lead - 2
        if settings.action_size:
            self.action_scale = Normalizer(settings.action_size)
        self.state_size = settings.state_size
        if settings.state_size:
            self.state_dynamics = StateDynamics(settings.state_size, settings.action_size)
        self.condition_size = (
            self.noise_channels + self.moves * self.action_size + self.context_frames * self.state_size
        )

    def conditions(
        self, context: Tensor, noise: Tensor | None, actions: Tensor | None, states: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the network's condition inputs, `(B, n)` by name, normalized; those it does not take are absent.

        Args:
            context: `(B, T, C, H, W)`.
            noise: `(B, noise_channels)`; None: drawn from torch's random stream, or no noise where it is optional.
            actions: `(B, moves, action_size)` in the data's units.
            states: `(B, context_frames, state_size)` in the data's units, those of the context frames.

        Raises:
            ValueError: A condition has another shape, or the model does not take it.
        """
        if noise is None and self.noise_channels and not self.noise_optional:
            noise = draw_noise(self, context.shape[0])
        given: dict[str, tuple[Tensor | None, str, tuple[int, ...]]] = {
            "noise": (noise, "noise_channels", (self.noise_channels,)),
            "actions": (actions, "action_size", (self.moves, self.action_size)),
            "states": (states, "state_size", (self.context_frames, self.state_size)),
        }
        found = {}
        for name, (values, setting, wanted) in given.items():
            if values is None and name == "noise" and self.noise_optional:
                continue
            shape = None if values is None else tuple(values.shape)
            if shape != ((context.shape[0], *wanted) if wanted[-1] else None):
                what = f"{name} {(context.shape[0], *wanted)}" if wanted[-1] else f"no {name} (model.{setting}=0)"
                raise ValueError(f"the generator takes {what}, not {shape}")
            if values is not None:
                found[name] = self._scaled(name, values.to(context)).flatten(1)
        return found

    def _scaled(self, name: str, values: Tensor) -> Tensor:
        if name == "noise":
            return values
        if name == "actions":
            scaled: Tensor = self.action_scale(values)
        else:
            assert self.state_dynamics is not None
            scaled = self.state_dynamics.states(values)
        return scaled

    def planes(
        self, context: Tensor, noise: Tensor | None, actions: Tensor | None, states: Tensor | None
    ) -> Tensor | None:
        """Return the normalized conditions as constant planes, `(B, condition_size, 1, 1)`; None without any.

        For arguments and errors see `conditions`.
        """
        found = list(self.conditions(context, noise, actions, states).values())
        return torch.cat(found, 1)[:, :, None, None] if found else None
