"""Models that learnt nothing, to compare a learned one with: the true simulator, and a world that never moves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vidpred.data.block_push import BlockPush, BlockPushState, advance, paint
from vidpred.planning.world_model import Cost, summed


class TrueWorld:
    """`block_push` itself as its model: it looks at the world's state, not at the context, and paints what comes."""

    action_size, history_frames = BlockPush.action_size, 1

    def __init__(self, world: BlockPush) -> None:
        self.world = world

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
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

    def costs(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None, cost: Cost, differentiable: bool = False
    ) -> Tensor:
        frames = self.rollout(context, actions)
        return summed(cost(frames.flatten(0, 1))).unflatten(0, actions.shape[:2])


class StillWorld:
    """Copy-last as a model: whatever is done, the last frame stays. Who trusts it cannot tell plans apart."""

    def __init__(self, size: int, history_frames: int = 1) -> None:
        self.action_size, self.history_frames = size, history_frames

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return context[:, None, -1:].expand(-1, *actions.shape[1:3], -1, -1, -1)

    def costs(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None, cost: Cost, differentiable: bool = False
    ) -> Tensor:
        frames = self.rollout(context, actions)
        return summed(cost(frames.flatten(0, 1))).unflatten(0, actions.shape[:2])
