"""A trained predictor as a Gymnasium environment: every step is predicted. Needs gymnasium (the extra `sim`)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.errors import ConfigError
from vidpred.media.render import to_uint8
from vidpred.planning.inputs import Cost, evaluate_cost
from vidpred.planning.planning_model import Bounds
from vidpred.planning.world_model import WorldModel

STEPS = 50


class ModelDynamics:
    """The dynamics of a batch of predicted environments, each with a different start."""

    def __init__(
        self, model: WorldModel, starts: Tensor, bounds: Bounds, cost: Cost, past_actions: Tensor | None, steps: int
    ) -> None:
        """Check and store the starts.

        Args:
            model: The predictor.
            starts: Context frames to start from, `(N, T, C, H, W)` uint8 or float in [0, 1], T >= model.history_len.
            bounds: Bounds of the actions.
            cost: Cost of frames, as in `vidpred.planning.costs`.
            past_actions: `(N, T-1, A)` between the context frames; not needed for T = 1.
            steps: Length of an episode.

        Raises:
            ConfigError: The model takes states.
        """
        size = model.action_size
        if model.state_size:
            raise ConfigError(
                f"the model takes states, which a predicted environment lacks [model.state_size={model.state_size}]; "
                "train one without, or plan with WorldModel.rollout(..., states=)"
            )
        if past_actions is None and starts.dim() == 5 and starts.shape[1] == 1:
            past_actions = torch.zeros(len(starts), 0, size)
        model.check(starts, torch.zeros(len(starts), 1, 1, size), past_actions)
        assert past_actions is not None
        self.model, self.cost, self.bounds, self.steps = model, cost, bounds, steps
        self.starts, self.start_moves = to_float(starts), past_actions.float()
        channels, height, width = self.starts.shape[2:]
        shape = (height, width, 3 if channels == 1 else channels)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gymnasium.spaces.Box(bounds.low.numpy(), bounds.high.numpy(), dtype=np.float32)

    def begin(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the context frames and past actions of the chosen starts."""
        return self.starts[torch.from_numpy(chosen)], self.start_moves[torch.from_numpy(chosen)]

    @torch.no_grad()
    def step(
        self, context_state: tuple[Tensor, Tensor], actions: np.ndarray
    ) -> tuple[tuple[Tensor, Tensor], np.ndarray]:
        """Predict one frame for every environment.

        Args:
            context_state: Context frames and past actions.
            actions: `(B, A)`.

        Returns:
            The new context frames and past actions, and the rewards `(B,)`: minus the cost of the new frames.

        Raises:
            ValueError: The actions have another shape, are not finite or out of bounds.
        """
        moves = torch.as_tensor(np.asarray(actions, np.float32))
        if not bool(moves.isfinite().all()) or not self.bounds.contain(moves):
            raise ValueError(f"actions {moves.tolist()} are not in [{self.bounds.low}, {self.bounds.high}]; clip them")
        context, past = context_state
        frames = self.model.rollout(context, moves[:, None, None], past)[:, 0].cpu()  # (B, 1, C, H, W)
        rewards = -evaluate_cost(self.cost, frames).numpy()
        return (torch.cat([context, frames], 1)[:, 1:], torch.cat([past, moves[:, None]], 1)[:, 1:]), rewards


class WorldModelEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One predicted environment, with `steps` steps per episode.

    `reset` chooses one of the starts, or start i with options={"start": i}. Observations are frames `(H, W, 3)` uint8,
    rewards are minus the cost.
    """

    metadata = {  # noqa: RUF012 (gymnasium declares it so)
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }

    def __init__(
        self,
        model: WorldModel,
        starts: Tensor,
        bounds: Bounds,
        cost: Cost,
        past_actions: Tensor | None = None,
        steps: int = STEPS,
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.dynamics = ModelDynamics(model, starts, bounds, cost, past_actions, steps)
        self.observation_space, self.action_space = self.dynamics.observation_space, self.dynamics.action_space
        self.render_mode = render_mode
        self.context_state: tuple[Tensor, Tensor] | None = None
        self.done = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        count = len(self.dynamics.starts)
        start = (options or {}).get("start")
        chosen = int(self.np_random.integers(count) if start is None else _checked_starts(start, (), count))
        self.context_state, self.done = self.dynamics.begin(np.array([chosen])), 0
        return self._observation(), {"start": chosen}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.context_state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        self.context_state, rewards = self.dynamics.step(self.context_state, np.asarray(action)[None])
        self.done += 1
        return self._observation(), float(rewards[0]), False, self.done >= self.dynamics.steps, {}

    def render(self) -> np.ndarray | None:
        return self._observation() if self.context_state is not None and self.render_mode == "rgb_array" else None

    def _observation(self) -> np.ndarray:
        assert self.context_state is not None
        return to_uint8(self.context_state[0][0, -1])


def _checked_starts(given: Any, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Return numbers of starts in a shape, from one for all or that many. Raises ValueError."""
    found = np.asarray(given)
    if not np.issubdtype(found.dtype, np.integer) or found.shape not in ((), shape):
        raise ValueError(f"start must be an integer{f' or integers {shape}' if shape else ''}, not {given!r}")
    if found.size and not 0 <= found.min() <= found.max() < count:
        raise ValueError(f"there are {count} starts, numbered from 0, not {found.tolist()}")
    return np.broadcast_to(found, shape).copy()


class WorldModelVectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` predicted environments in one batch, with one prediction per step of all of them.

    Episodes restart at the step after their end (gymnasium's AutoresetMode.NEXT_STEP).
    """

    metadata = {  # noqa: RUF012 (gymnasium declares it so)
        
        "render_modes": ["rgb_array"], "render_fps": 10, "autoreset_mode": AutoresetMode.NEXT_STEP,
    }  # fmt: skip

    def __init__(
        self,
        num_envs: int,
        model: WorldModel,
        starts: Tensor,
        bounds: Bounds,
        cost: Cost,
        past_actions: Tensor | None = None,
        steps: int = STEPS,
    ) -> None:
        self.dynamics, self.num_envs, self.render_mode = (
            ModelDynamics(model, starts, bounds, cost, past_actions, steps), num_envs, "rgb_array",
        )  # fmt: skip
        self.context_state: tuple[Tensor, Tensor] | None = None
        self.single_observation_space, self.single_action_space = (
            self.dynamics.observation_space, self.dynamics.action_space,
        )  # fmt: skip
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset all environments, or those of options["reset_mask"], to random starts or those of options["start"].

        Args:
            seed: Seed of the random starts; of a list, the first counts.
            options: "start": a number for all environments or one for each; "reset_mask": booleans `(num_envs,)`.

        Raises:
            ValueError: A start does not exist, or an option has another shape.
            ResetNeeded: Only some environments are to be reset before the first reset.
        """
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        options, shape, count = options or {}, (self.num_envs,), len(self.dynamics.starts)
        given, mask = options.get("start"), np.asarray(options.get("reset_mask", np.ones(shape, bool)))
        if mask.shape != shape or mask.dtype != bool:
            raise ValueError(f"reset_mask must be booleans {shape}, not {mask.dtype} {mask.shape}")
        chosen = self.np_random.integers(count, size=shape) if given is None else _checked_starts(given, shape, count)
        fresh = self.dynamics.begin(chosen)
        if mask.all():
            self.context_state, self.done, self.chosen = fresh, np.zeros(self.num_envs, np.int64), chosen
        else:
            rows, (context, past) = torch.from_numpy(mask), self._state()
            context[rows], past[rows] = fresh[0][rows], fresh[1][rows]
            self.done, self.chosen = np.where(mask, 0, self.done), np.where(mask, chosen, self.chosen)
        return self._observation(), {"start": self.chosen}

    def _state(self) -> tuple[Tensor, Tensor]:
        if self.context_state is None:
            raise gymnasium.error.ResetNeeded("call reset for all environments first")
        return self.context_state

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        state = self._state()
        expected = self.action_space.shape
        if np.shape(actions) != expected:
            raise ValueError(f"actions must be {expected}, not {np.shape(actions)}")
        ended = self.done >= self.dynamics.steps
        (context, past), rewards = self.dynamics.step(state, actions)
        if ended.any():
            places = torch.from_numpy(np.flatnonzero(ended))
            fresh = self.dynamics.begin(self.np_random.integers(len(self.dynamics.starts), size=len(places)))
            context[places], past[places] = fresh[0], fresh[1]
            rewards[ended] = 0
        self.context_state, self.done = (context, past), np.where(ended, 0, self.done + 1)
        return (
            self._observation(),
            rewards.astype(np.float64),
            np.zeros(self.num_envs, bool),
            self.done >= self.dynamics.steps,
            {},
        )

    def render(self) -> tuple[np.ndarray, ...]:
        return tuple(self._observation())

    def _observation(self) -> np.ndarray:
        return to_uint8(self._state()[0][:, -1])
