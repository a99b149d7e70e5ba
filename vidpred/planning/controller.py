"""Receding-horizon control: plan from the observed frames, execute the plan's first actions, plan again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vidpred.planning.inputs import Cost, observed_frame, split_observation
from vidpred.planning.planning_model import Bounds, PlanningModel
from vidpred.planning.solvers.base import Evaluate, Plan, Problem, Solver


@dataclass
class MPCController:
    """A controller for one environment, which receives every observed frame and returns the next action.

    Attributes:
        model: Predicts the frames of plans.
        solver: Searches for the best plan.
        bounds: Bounds of the actions.
        horizon: Number of steps in a plan.
        receding_horizon: Number of steps to execute before planning again; the rest of a plan starts the next search.
        seed: Seed of the search.
        reach: For actions that are positions, the maximum difference of consecutive actions in each dimension (None:
            unlimited). Plans are clipped to it, so that the model is used within its training data.
        image_keys: Keys of the cameras in observations that are dictionaries; empty: the only image.
        state_key: Key of the state in them; None: the only vector.
    """

    model: PlanningModel
    solver: Solver
    bounds: Bounds
    horizon: int = 10
    receding_horizon: int = 1
    seed: int = 0
    reach: float | None = None
    image_keys: Sequence[str] = ()
    state_key: str | None = None
    context: list[Tensor] = field(init=False)  # frames (C, H, W), the newest last
    done: list[Tensor] = field(init=False)  # actions (A,) between them and after the newest
    states: list[Tensor] = field(init=False)  # (S,) of the frames, if the model takes states
    first: Tensor | None = field(init=False)  # (A,)
    plan: Plan | None = field(init=False)
    ahead: int = field(init=False)  # number of executed actions of the plan
    planned_from: tuple[Tensor, Tensor, Tensor | None] = field(init=False)  # context, past actions, states of the plan
    noise_seed: int | None = field(init=False)  # of the plan, for models that take noise

    def __post_init__(self) -> None:
        if not 1 <= self.receding_horizon <= self.horizon:
            raise ValueError(f"receding_horizon must be 1 to horizon={self.horizon}, not {self.receding_horizon}")
        if self.model.bounds is not self.bounds:  # those were checked
            self.bounds.check(self.model.action_size, self.model.trained_bounds)
        self.reset(self.seed)

    def reset(self, seed: int, first: Tensor | None = None) -> None:
        """Start an episode: discard the frames and the plan; the next decisions are a function of seed and frames.

        Args:
            seed: Seed of the search.
            first: Action `(A,)` that starts the first search; None: the middle of the bounds.
        """
        self.random, self.first = torch.Generator().manual_seed(seed), first
        self.context, self.done, self.states, self.plan, self.ahead = [], [], [], None, 0

    @property
    def is_due(self) -> bool:
        """Whether the next `act` makes a new plan."""
        return self.plan is None or self.ahead == self.receding_horizon

    def act(self, frame: Tensor | Mapping[str, Any] | None, cost: Cost, state: Tensor | None = None) -> Tensor:
        """Return the next action `(A,)`.

        Args:
            frame: The frame after the last action, `(C, H, W)` uint8 or in [0, 1]. If the model needs more context
                frames, the first frame is repeated, with actions of 0. Or an observation with images and a state by
                key, as in `split_observation`.
            cost: The cost of predicted frames.
            state: State `(S,)` of the frame, for a model that takes states.

        Raises:
            ValueError: The frame is missing, not finite, out of range or of another size; the state is missing,
                unexpected or of another size; or the cost is not finite.
        """
        if isinstance(frame, Mapping):
            frame, found_state = split_observation(frame, self.image_keys, self.state_key)
            state = found_state if self.model.state_size else None
        previous = self.context[-1] if self.context else None
        frame = observed_frame(frame, self.model.frame_size, previous, self.model.channels)
        needed, size = self.model.history_len, self.model.action_size
        shape, expected = None if state is None else tuple(state.shape), self.model.state_size
        if shape != ((expected,) if expected else None):
            raise ValueError(f"the model takes {f'a state ({expected},)' if expected else 'no state'}, not {shape}")
        if not self.context:
            self.context, self.done = [frame] * (needed - 1), [torch.zeros(size)] * (needed - 1)
        self.context = [*self.context, frame][-needed:]
        if state is not None:
            self.states = [*(self.states or [state] * (needed - 1)), state][-needed:]
        if self.is_due:
            found = self.solver.solve(self._problem(cost), self.random)
            self.plan, self.ahead = Plan(self._shortened(found.actions), found.cost), 0
        assert self.plan is not None
        action = self.plan.actions[0, self.ahead]
        self.ahead += 1
        self.done = [*self.done, action][-needed:]
        return action

    def predicted_frames(self) -> Tensor:
        """Return the model's frames `(K, C, H, W)` for the plan that was just made, on the CPU."""
        assert self.plan is not None
        assert self.ahead == 1, "actions have been executed since the plan was made"
        with torch.inference_mode():
            context, past, states = self.planned_from
            plans = self.plan.actions[:, None]
            return self.model.rollout(context, plans, past, states=states, noise_seed=self.noise_seed)[0, 0].cpu()

    def _problem(self, cost: Cost) -> Problem:
        context = torch.stack(self.context)[None]
        moves = self.done[-(len(self.context) - 1) :] if len(self.context) > 1 else []
        past = torch.stack(moves)[None] if moves else torch.zeros(1, 0, self.model.action_size)
        states = torch.stack(self.states)[None] if self.states else None
        self.planned_from = context, past, states
        start = None
        if self.plan is None and self.first is not None:
            start = self.first.expand(1, self.horizon, -1)
        if self.plan is not None and self.receding_horizon < self.horizon:
            rest = self.plan.actions[:, self.receding_horizon :]
            start = torch.cat([rest, rest[:, -1:].expand(-1, self.receding_horizon, -1)], 1)
        differentiable, noise_seed = self.solver.needs_gradient, None
        if self.model.noise_channels:
            noise_seed = int(torch.randint(2**31, (1,), generator=self.random))
        self.noise_seed = noise_seed
        evaluate: Evaluate = lambda plans: self.model.costs(
            context, self._shortened(plans), past, cost, differentiable, states=states, noise_seed=noise_seed
        )
        return Problem(evaluate, self.bounds, 1, self.horizon, start)

    def _shortened(self, plans: Tensor) -> Tensor:
        """Clip plans `(..., K, A)` to the reach."""
        last = self.done[-1] if self.plan is not None else self.first
        if self.reach is None or last is None:
            return plans
        found = [last.expand_as(plans[..., 0, :])]
        for action in plans.unbind(-2):
            found.append(found[-1] + (action - found[-1]).clamp(-self.reach, self.reach))
        return torch.stack(found[1:], -2)
