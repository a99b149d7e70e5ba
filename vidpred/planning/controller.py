"""Receding horizon: plan from what is seen, do the first actions of the plan, plan again from the rest of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vidpred.planning.solvers.base import Evaluate, Plan, Problem, Solver
from vidpred.planning.world_model import Bounds, Cost, PlanningModel


@dataclass
class MPCController:
    """A controller for one world. Give it every frame that is seen; it says what to do.

    horizon: steps that plans look ahead; execute: how many of them are done before the next plan. The rest of a plan is
    where the next search begins. reach: where actions are places, how far each may be from the one before in any
    direction (None: any); plans that go further are shortened, so that the model is asked what it has learnt.
    """

    model: PlanningModel
    solver: Solver
    bounds: Bounds
    horizon: int = 10
    receding_horizon: int = 1
    seed: int = 0
    reach: float | None = None
    context: list[Tensor] = field(init=False)  # frames (C, H, W), the newest last
    done: list[Tensor] = field(init=False)  # actions (A,) between them and after the newest
    states: list[Tensor] = field(init=False)  # (S,), of the frames, where the model takes any
    first: Tensor | None = field(init=False)  # (A,)
    plan: Plan | None = field(init=False)
    ahead: int = field(init=False)  # actions of the plan that are done
    known: tuple[Tensor, Tensor, Tensor | None] = field(init=False)  # context, past actions and states of the plan

    def __post_init__(self) -> None:
        if not 1 <= self.receding_horizon <= self.horizon:
            raise ValueError(f"receding_horizon must be 1 to horizon={self.horizon}, not {self.receding_horizon}")
        self.reset(self.seed)

    def reset(self, seed: int, first: Tensor | None = None) -> None:
        """Forget what was seen and planned; the next decisions are a function of the seed. first: the action `(A,)`
        around which the first search begins (None: the middle of the bounds)."""
        self.random, self.first = torch.Generator().manual_seed(seed), first
        self.context, self.done, self.states, self.plan, self.ahead = [], [], [], None, 0

    @property
    def is_due(self) -> bool:
        """Whether the next `act` makes a new plan."""
        return self.plan is None or self.ahead == self.receding_horizon

    def act(self, frame: Tensor, cost: Cost, state: Tensor | None = None) -> Tensor:
        """The action `(A,)` to do now. frame: `(C, H, W)` in [0, 1], seen after the last action; at the start, where
        the model wants more than one known frame, the first is taken to have stood still under actions of 0. state:
        `(S,)`, in which the frame was taken. Raises ValueError unless the model takes such states, or none."""
        needed, size = self.model.history_len, self.model.action_size
        shape, wanted = None if state is None else tuple(state.shape), self.model.state_size
        if shape != ((wanted,) if wanted else None):
            raise ValueError(f"the model takes {f'a state ({wanted},)' if wanted else 'no state'}, not {shape}")
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

    def imagined(self) -> Tensor:
        """`(K, C, H, W)`: what the plan just made leads to, as the model sees it."""
        assert self.plan is not None
        assert self.ahead == 1, "the world has moved on since the plan was made"
        with torch.inference_mode():
            context, past, states = self.known
            return self.model.rollout(context, self.plan.actions[:, None], past, states=states)[0, 0]

    def _problem(self, cost: Cost) -> Problem:
        context = torch.stack(self.context)[None]
        moves = self.done[-(len(self.context) - 1) :] if len(self.context) > 1 else []
        past = torch.stack(moves)[None] if moves else torch.zeros(1, 0, self.model.action_size)
        states = torch.stack(self.states)[None] if self.states else None
        self.known = context, past, states
        start = None
        if self.plan is None and self.first is not None:
            start = self.first.expand(1, self.horizon, -1)
        if self.plan is not None and self.receding_horizon < self.horizon:
            rest = self.plan.actions[:, self.receding_horizon :]
            start = torch.cat([rest, rest[:, -1:].expand(-1, self.receding_horizon, -1)], 1)
        wanted = self.solver.needs_gradient
        evaluate: Evaluate = lambda plans: self.model.costs(
            context, self._shortened(plans), past, cost, wanted, states=states
        )
        return Problem(evaluate, self.bounds, 1, self.horizon, start)

    def _shortened(self, plans: Tensor) -> Tensor:
        """Plans `(..., K, A)` within reach."""
        last = self.done[-1] if self.plan is not None else self.first
        if self.reach is None or last is None:
            return plans
        found = [last.expand_as(plans[..., 0, :])]
        for action in plans.unbind(-2):
            found.append(found[-1] + (action - found[-1]).clamp(-self.reach, self.reach))
        return torch.stack(found[1:], -2)
