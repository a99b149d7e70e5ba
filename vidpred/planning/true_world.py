"""Models that learnt nothing, to compare a learned one with: true simulators, and a world that never moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from vidpred.data.block_push import BlockPush, BlockPushState, advance, paint
from vidpred.planning.pusht import PushT
from vidpred.planning.world_model import Cost, summed


class Untaught:
    """Base of these models: neither past actions nor states change what they imagine, and nothing is differentiable.

    Implements vidpred.planning.world_model.Imagines.
    """

    state_size = 0

    def imagined(self, context: Tensor, actions: Tensor) -> Tensor:
        """`(B, S, K, C, H, W)`: what every plan `(B, S, K, A)` leads to."""
        raise NotImplementedError

    def judged(self, context: Tensor, actions: Tensor, cost: Cost) -> Tensor:
        """`(B * S,)`: the cost of every plan."""
        return summed(cost(self.imagined(context, actions).flatten(0, 1)))

    def rollout(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None, *, states: Tensor | None = None
    ) -> Tensor:
        return self.imagined(context, actions)

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
        return self.judged(context, actions, cost).unflatten(0, actions.shape[:2])


class TrueWorld(Untaught):
    """`block_push` itself as its model: it looks at the world's state, not at the context, and paints what comes."""

    action_size, history_frames = BlockPush.action_size, 1

    def __init__(self, world: BlockPush) -> None:
        self.world = world

    def imagined(self, context: Tensor, actions: Tensor) -> Tensor:
        state = self.world.state
        moves = actions.double().numpy()
        plans = moves.shape[:2]
        now = BlockPushState(np.broadcast_to(state.disc, (*plans, 2)), np.broadcast_to(state.block, (*plans, 2)))
        discs, blocks = [], []
        for step in range(moves.shape[2]):
            now = advance(now, moves[:, :, step])
            discs.append(now.disc)
            blocks.append(now.block)
        frames = paint(BlockPushState(np.stack(discs, 2), np.stack(blocks, 2)), self.world.size)
        return torch.from_numpy(frames).movedim(-1, -3).float() / 255


class TruePushT(Untaught):
    """PushT as its own model: a second one, set to the state of the world, plays every plan.

    judge: states `(N, K, 7)` -> costs `(N,)`, to judge plans by these instead of by pictures.
    """

    action_size, history_frames = 2, 1

    def __init__(self, world: PushT, judge: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.world, self.judge, self.played = world, judge, PushT(world.size)

    def imagined(self, context: Tensor, actions: Tensor) -> Tensor:
        frames = [[self.played.render() for _ in self._play(plan)] for plan in actions.flatten(0, 1)]
        pictures = torch.from_numpy(np.array(frames)).movedim(-1, -3).float() / 255
        return pictures.unflatten(0, actions.shape[:2])

    def judged(self, context: Tensor, actions: Tensor, cost: Cost) -> Tensor:
        if self.judge is None:
            return super().judged(context, actions, cost)
        played = [[self.played.state for _ in self._play(plan)] for plan in actions.flatten(0, 1)]
        return torch.from_numpy(self.judge(np.array(played))).float()

    def _play(self, plan: Tensor) -> Iterator[None]:
        """The steps of a plan `(K, A)`, in turn."""
        self.played.state = self.world.state
        for action in plan.double().numpy():
            self.played.advance(action)
            yield


class StillWorld(Untaught):
    """Copy-last as a model: whatever is done, the last frame stays. Who trusts it cannot tell plans apart."""

    def __init__(self, size: int, history_frames: int = 1) -> None:
        self.action_size, self.history_frames = size, history_frames

    def imagined(self, context: Tensor, actions: Tensor) -> Tensor:
        return context[:, None, -1:].expand(-1, *actions.shape[1:3], -1, -1, -1)
