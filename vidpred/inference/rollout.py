"""The only autoregressive loop: predictions become the newest known frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vidpred.models.build import history_frames
from vidpred.models.noise import draw_noise, noise_channels
from vidpred.models.pyramid import as_pyramid


def stream_rollout(generator: nn.Module, context: Tensor, steps: int, noise: Tensor | None = None) -> Iterator[Tensor]:
    """Yield the frames t+1, t+2, ..., t+steps, each `(B, C, H, W)` float32 in [0, 1]; memory does not grow with steps.

    generator: `(B, T, C, H, W)` -> pyramid of `(B, K, C, h, w)`, with the attributes context_frames (T), pred_frames
    (K frames at once) and step (its lead: the first of them comes `step` frames after its context).
    context: `(B, T', C, H, W)` in [0, 1] with T' >= T + step - 1: with a lead of k, frame t+1 is predicted from the
    frames up to t+1-k, and frame t+k from those up to t.
    noise: a draw for each sample, `(B, noise_channels)`, for a generator that takes any; None: drawn from torch's
    random stream. It is kept through the whole rollout: a draw stands for one outcome, and a coin that was tossed anew
    in every frame would change the story half-way.
    Raises ValueError where the context is too short, the generator's frames have another shape, or there is noise for
    one that takes none.
    """
    needed = history_frames(generator)
    if context.shape[1] < needed:
        raise ValueError(f"{context.shape[1]} context frames given, {needed} needed")
    history = context[:, context.shape[1] - needed :]
    if noise is None and noise_channels(generator):
        noise = draw_noise(generator, len(context))
    drawn = () if noise is None else (noise.to(context.device),)
    if drawn and not noise_channels(generator):
        raise ValueError("the generator takes no noise (it has no noise_channels)")
    done = 0
    while done < steps:
        frames = _finest(generator(history[:, : generator.context_frames], *drawn), history)
        for index in range(min(frames.shape[1], steps - done)):
            yield frames[:, index]
        done += frames.shape[1]
        history = torch.cat([history, frames], 1)[:, -needed:]


def _finest(pictures: list[Tensor] | Tensor, history: Tensor) -> Tensor:
    """A generator's frames at full resolution. Raises ValueError where their shape is not that of the history's."""
    frames = as_pyramid(pictures)[-1]
    batch, _, channels, height, width = history.shape
    if frames.dim() != 5 or (len(frames), *frames.shape[2:]) != (batch, channels, height, width):
        wanted = f"({batch}, K, {channels}, {height}, {width})"
        raise ValueError(f"the generator must return frames (B, K, C, H, W) = {wanted}, not {tuple(frames.shape)}")
    return frames.float()


@torch.inference_mode()
def rollout(generator: nn.Module, context: Tensor, steps: int, noise: Tensor | None = None) -> Tensor:
    """All frames of `stream_rollout` at once: `(B, steps, C, H, W)` float32 in [0, 1]."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    return torch.stack(list(stream_rollout(generator, context, steps, noise)), 1)
