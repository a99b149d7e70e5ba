"""A trained predictor as a Gymnasium environment: every step is predicted. Needs gymnasium (the extra `sim`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.media.render import to_uint8
from vidpred.models.conditions import Conditions
from vidpred.planning.inputs import Cost, evaluate_cost
from vidpred.planning.planning_model import Bounds
from vidpred.planning.world_model import WorldModel

STEPS = 50
METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}


@dataclass(frozen=True)
class Context:
    """The newest frames `(B, T, C, H, W)`, actions between them `(B, T-1, A)`, and states `(B, T, S)` if there are.

    For a model that takes noise, `noise_seeds` `(B,)` are the seeds of the episodes' outcomes.
    """

    frames: Tensor
    actions: Tensor
    states: Tensor | None
    noise_seeds: Tensor | None = None

    def rows(self, rows: Any) -> Context:
        """Return the environments of the batch that an index (a slice, a mask or integers) selects."""
        states, seeds = (None if part is None else part[rows] for part in (self.states, self.noise_seeds))
        return Context(self.frames[rows], self.actions[rows], states, seeds)

    def replaced(self, rows: Tensor, fresh: Context) -> Context:
        """Return a copy with the environments at integer indices `rows` replaced by those of `fresh`, in order."""
        pairs = ((self.states, fresh.states), (self.noise_seeds, fresh.noise_seeds))
        states, seeds = (None if old is None or new is None else old.index_put((rows,), new) for old, new in pairs)
        frames, actions = (
            old.index_put((rows,), new) for old, new in ((self.frames, fresh.frames), (self.actions, fresh.actions))
        )
        return Context(frames, actions, states, seeds)


class ModelDynamics:
    """The dynamics of a batch of predicted environments, each with a different start."""

    def __init__(
        self, model: WorldModel, starts: Tensor, bounds: Bounds, cost: Cost, past_actions: Tensor | None, steps: int,
        states: Tensor | None,
    ) -> None:  # fmt: skip
        """Check and store the starts.

        Args:
            model: The predictor.
            starts: Context frames to start from, `(N, T, C, H, W)` uint8 or float in [0, 1], T >= model.history_len.
            bounds: Bounds of the actions.
            cost: Cost of frames, as in `vidpred.planning.costs`.
            past_actions: `(N, T-1, A)` between the context frames; not needed for T = 1.
            steps: Length of an episode.
            states: States of the starts, `(N, T, S)`, for a model that takes states.

        Raises:
            ValueError: A shape does not match, or values are not finite or out of range.
        """
        size = model.action_size
        if past_actions is None and starts.dim() == 5 and starts.shape[1] == 1:
            past_actions = torch.zeros(len(starts), 0, size)
        model.check(starts, torch.zeros(len(starts), 1, 1, size), past_actions, states)
        assert past_actions is not None
        self.model, self.cost, self.bounds, self.steps = model, cost, bounds, steps
        self.starts = Context(to_float(starts), past_actions.float(), None if states is None else states.float())
        channels, height, width = starts.shape[2:]
        shape = (height, width * max(1, channels // 3), 3)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        if model.state_size:
            box = gymnasium.spaces.Box(-np.inf, np.inf, (model.state_size,), np.float32)
            self.observation_space = gymnasium.spaces.Dict({"image": self.observation_space, "state": box})
        self.action_space = gymnasium.spaces.Box(bounds.low.numpy(), bounds.high.numpy(), dtype=np.float32)

    def __len__(self) -> int:
        """Return the number of starts."""
        return len(self.starts.frames)

    def begin(self, chosen: np.ndarray, random: np.random.Generator) -> Context:
        """Return the context of the starts with these indices, `(B,)` integers, with outcomes drawn from `random`."""
        context = self.starts.rows(torch.from_numpy(chosen))
        if not self.model.noise_channels:
            return context
        return replace(context, noise_seeds=torch.from_numpy(random.integers(2**31, size=len(chosen))))

    def observation(self, context: Context) -> Any:
        """Return the newest frames `(B, H, W, 3)` uint8, cameras side by side.

        For a model with states, a dictionary with "image" and "state" `(B, S)`.
        """
        images = to_uint8(context.frames[:, -1])
        return images if context.states is None else {"image": images, "state": context.states[:, -1].numpy()}

    @torch.no_grad()
    def step(self, context: Context, actions: np.ndarray) -> tuple[Context, np.ndarray]:
        """Predict one frame for every environment, and its state for a model that takes states.

        Args:
            context: The newest frames, actions and states.
            actions: `(B, A)`.

        Returns:
            The new context, and the rewards `(B,)`: minus the cost of the new frames.

        Raises:
            ValueError: The actions have another shape, are not finite or out of bounds.
        """
        moves = torch.as_tensor(np.asarray(actions, np.float32))
        if not bool(moves.isfinite().all()) or not self.bounds.contain(moves):
            raise ValueError(f"actions {moves.tolist()} are not in [{self.bounds.low}, {self.bounds.high}]; clip them")
        seeds = None if context.noise_seeds is None else context.noise_seeds.tolist()
        frames = self.model.rollout(
            context.frames, moves[:, None, None], context.actions, states=context.states, noise_seed=seeds
        )
        frames, states = frames[:, 0].cpu(), context.states  # (B, 1, C, H, W)
        rewards = -evaluate_cost(self.cost, frames).numpy()
        if states is not None:
            known = Conditions(
                actions=moves[:, None].to(self.model.device), states=states[:, -1:].to(self.model.device)
            )
            predicted = known.with_predicted_states(self.model.generator, 2).states
            assert predicted is not None
            states = torch.cat([states, predicted[:, 1:].cpu()], 1)[:, 1:]
        actions_now = torch.cat([context.actions, moves[:, None]], 1)[:, 1:]
        frames = torch.cat([context.frames, frames], 1)[:, 1:]
        return Context(frames, actions_now, states, context.noise_seeds), rewards


class WorldModelEnv(gymnasium.Env[Any, np.ndarray]):
    """One predicted environment, with `steps` steps per episode.

    `reset` chooses one of the starts, or start i with options={"start": i}. Observations are frames `(H, W, 3)` uint8,
    or {"image": frame, "state": `(S,)`} for a model that takes states; rewards are minus the cost.
    """

    metadata = METADATA

    def __init__(
        self,
        model: WorldModel,
        starts: Tensor,
        bounds: Bounds,
        cost: Cost,
        past_actions: Tensor | None = None,
        steps: int = STEPS,
        render_mode: str | None = "rgb_array",
        states: Tensor | None = None,
    ) -> None:
        self.dynamics = ModelDynamics(model, starts, bounds, cost, past_actions, steps, states)
        self.observation_space, self.action_space = self.dynamics.observation_space, self.dynamics.action_space
        self.render_mode = render_mode
        self.context_state: Context | None = None
        self.done = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        count = len(self.dynamics)
        start = (options or {}).get("start")
        chosen = int(self.np_random.integers(count) if start is None else _checked_starts(start, (), count))
        self.context_state, self.done = self.dynamics.begin(np.array([chosen]), self.np_random), 0
        return self._observation(), {"start": chosen}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.context_state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        self.context_state, rewards = self.dynamics.step(self.context_state, np.asarray(action)[None])
        self.done += 1
        return self._observation(), float(rewards[0]), False, self.done >= self.dynamics.steps, {}

    def render(self) -> np.ndarray | None:
        if self.context_state is None or self.render_mode != "rgb_array":
            return None
        return to_uint8(self.context_state.frames[0, -1])

    def _observation(self) -> Any:
        assert self.context_state is not None
        found = self.dynamics.observation(self.context_state)
        return {key: values[0] for key, values in found.items()} if isinstance(found, dict) else found[0]


def _checked_starts(given: Any, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Return numbers of starts in a shape, from one for all or that many. Raises ValueError."""
    found = np.asarray(given)
    if not np.issubdtype(found.dtype, np.integer) or found.shape not in ((), shape):
        raise ValueError(f"start must be an integer{f' or integers {shape}' if shape else ''}, not {given!r}")
    if found.size and not 0 <= found.min() <= found.max() < count:
        raise ValueError(f"there are {count} starts, numbered from 0, not {found.tolist()}")
    return np.broadcast_to(found, shape).copy()


class WorldModelVectorEnv(gymnasium.vector.VectorEnv[Any, np.ndarray, np.ndarray]):
    """`num_envs` predicted environments in one batch, with one prediction per step of all of them.

    Episodes restart at the step after their end (gymnasium's AutoresetMode.NEXT_STEP).
    """

    metadata = METADATA | {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int,
        model: WorldModel,
        starts: Tensor,
        bounds: Bounds,
        cost: Cost,
        past_actions: Tensor | None = None,
        steps: int = STEPS,
        states: Tensor | None = None,
    ) -> None:
        self.dynamics, self.num_envs, self.render_mode = (
            ModelDynamics(model, starts, bounds, cost, past_actions, steps, states), num_envs, "rgb_array",
        )  # fmt: skip
        self.context_state: Context | None = None
        self.single_observation_space, self.single_action_space = (
            self.dynamics.observation_space, self.dynamics.action_space,
        )  # fmt: skip
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of options["reset_mask"], to random starts or those of options["start"].

        Args:
            seed: Seed of the random starts; of a list, the first counts.
            options: "start": a number for all environments or one for each; "reset_mask": booleans `(num_envs,)`.

        Raises:
            ValueError: A start does not exist, or an option has another shape.
            ResetNeeded: Only some environments are to be reset before the first reset.
        """
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        options, shape, count = options or {}, (self.num_envs,), len(self.dynamics)
        given, mask = options.get("start"), np.asarray(options.get("reset_mask", np.ones(shape, bool)))
        if mask.shape != shape or mask.dtype != bool:
            raise ValueError(f"reset_mask must be booleans {shape}, not {mask.dtype} {mask.shape}")
        chosen = self.np_random.integers(count, size=shape) if given is None else _checked_starts(given, shape, count)
        fresh = self.dynamics.begin(chosen, self.np_random)
        if mask.all():
            self.context_state, self.done, self.chosen = fresh, np.zeros(self.num_envs, np.int64), chosen
        else:
            rows = torch.from_numpy(mask)
            self.context_state = self._state().replaced(rows, fresh.rows(rows))
            self.done, self.chosen = np.where(mask, 0, self.done), np.where(mask, chosen, self.chosen)
        return self._observation(), {"start": self.chosen.copy()}

    def _state(self) -> Context:
        if self.context_state is None:
            raise gymnasium.error.ResetNeeded("call reset for all environments first")
        return self.context_state

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        state = self._state()
        expected = self.action_space.shape
        if np.shape(actions) != expected:
            raise ValueError(f"actions must be {expected}, not {np.shape(actions)}")
        ended = self.done >= self.dynamics.steps
        context, rewards = self.dynamics.step(state, actions)
        if ended.any():
            places = torch.from_numpy(np.flatnonzero(ended))
            self.chosen[ended] = self.np_random.integers(len(self.dynamics), size=len(places))
            context = context.replaced(places, self.dynamics.begin(self.chosen[ended], self.np_random))
            rewards[ended] = 0
        self.context_state, self.done = context, np.where(ended, 0, self.done + 1)
        return (
            self._observation(),
            rewards.astype(np.float64),
            np.zeros(self.num_envs, bool),
            self.done >= self.dynamics.steps,
            {},
        )

    def render(self) -> tuple[np.ndarray, ...]:
        return tuple(to_uint8(self._state().frames[:, -1]))

    def _observation(self) -> Any:
        return self.dynamics.observation(self._state())
