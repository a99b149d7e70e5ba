"""Measure how much of a small, predictable detail a prediction contains: the ears and rod of a rotating solid."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.data.sources import to_frames
from vidpred.data.worlds.solids import make_solid, render_frames


def detail_clips(
    count: int, context_frames: int, seed: int, side: int, channels: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Render clips of rotating solids whose ears and rod are faint details.

    Returns:
        The context `(N, context_frames, C, H, W)`, and the next frame `(N, C, H, W)` with and without the details, in
        [0, 1].
    """
    solids = [make_solid(seed, index) for index in range(count)]
    context = torch.stack([to_frames(render_frames(solid, range(context_frames), side)) for solid in solids])
    pairs = [
        [to_frames(render_frames(solid, [context_frames], side, details))[0] for solid in solids]
        for details in (True, False)
    ]
    true, bare = (torch.stack(frames) for frames in pairs)
    return context.repeat(1, 1, channels, 1, 1), true.repeat(1, channels, 1, 1), bare.repeat(1, channels, 1, 1)


def painted_share(prediction: Tensor, true: Tensor, bare: Tensor) -> Tensor:
    """Compute the share s of the detail d = true - bare in a prediction, for which bare + s d is nearest to it.

    It is <prediction - bare, d> / <d, d>.

    Args:
        prediction: Predicted frames `(N, C, H, W)`.
        true: True frames of the same shape.
        bare: The same frames without the detail.

    Returns:
        `(N,)` float64: 1 for the whole detail, 0 for nothing, NaN where the detail is not visible.
    """
    detail = (true - bare).flatten(1).double()
    predicted = (prediction - bare).flatten(1).double()
    return (predicted * detail).sum(1) / detail.square().sum(1)
