"""How much of a small, certain detail a prediction paints: ears and rod of a rotating solid."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.data.sources import to_frames
from vidpred.data.worlds.solids import clip, make_solid


def detail_clips(count: int, known: int, seed: int, side: int, channels: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Known frames `(N, known, C, H, W)`, the next frame with its details and without, `(N, C, H, W)`, in [0, 1]."""
    solids = [make_solid(seed, index) for index in range(count)]
    context = torch.stack([to_frames(clip(solid, range(known), side)) for solid in solids])
    pairs = [[to_frames(clip(solid, [known], side, details))[0] for solid in solids] for details in (True, False)]
    true, bare = (torch.stack(frames) for frames in pairs)
    return context.repeat(1, 1, channels, 1, 1), true.repeat(1, channels, 1, 1), bare.repeat(1, channels, 1, 1)


def painted_share(prediction: Tensor, true: Tensor, bare: Tensor) -> Tensor:
    """The share s of the detail d = true - bare that is in a prediction: the s for which bare + s d is nearest to it,
    <prediction - bare, d> / <d, d>. `(N, C, H, W)` each -> `(N,)`: 1 all of it, 0 nothing, NaN where none is seen."""
    detail = (true - bare).flatten(1).double()
    painted = (prediction - bare).flatten(1).double()
    return (painted * detail).sum(1) / detail.square().sum(1)
