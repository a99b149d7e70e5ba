"""The only autoregressive loop: predictions become the newest context frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from vidpred.errors import GeneratorError
from vidpred.models.base import Generator, as_generator
from vidpred.models.conditions import Conditions
from vidpred.models.noise import draw_noise
from vidpred.models.pyramid import as_pyramid


def applications(
    forward: Callable[..., list[Tensor] | Tensor], generator: Generator, context: Tensor, conditions: Conditions
) -> Iterator[list[Tensor]]:
    """Apply the generator repeatedly, without end, to the newest frames, including its own.

    Args:
        forward: The callable to apply: the generator, or its wrapper in training.
        generator: The generator, for its attributes.
        context: `(B, N, C, H, W)` in [0, 1]; the newest `history_len` frames are used, or all if there are fewer.
        conditions: Conditions of the whole rollout.

    Yields:
        Predictions of K consecutive frames, `(B, K, C, h, w)` at every scale, coarse to fine.
    """
    needed = generator.history_len
    history = context[:, -needed:]
    if (
        conditions.noise is None and generator.noise_channels and not generator.noise_optional
    ):  # one draw for all frames: see `stream_rollout`
        conditions = replace(conditions, noise=draw_noise(generator, len(context)).to(context.device))
    rows, lead = needed + generator.pred_frames - 1, generator.lead
    first = context.shape[1] - history.shape[1]
    while True:
        inputs = history[:, : history.shape[1] - lead + 1]
        conditions = conditions.with_predicted_states(generator, first + inputs.shape[1])
        images = as_pyramid(forward(inputs, **conditions.generator_kwargs(generator, first, rows)))
        yield images
        frames = _finest(images, history)
        # Copy older frames only where needed.
        history = (frames if frames.shape[1] >= needed else torch.cat([history, frames], 1))[:, -needed:]
        first += images[-1].shape[1]


def unroll(
    forward: Callable[..., list[Tensor] | Tensor], generator: Generator, context: Tensor, conditions: Conditions,
    times: int,
) -> list[Tensor]:  # fmt: skip
    """Return `times` consecutive predictions with their graph, `(B, times * K, C, h, w)` at every scale.

    Args:
        forward: The callable to apply: the generator, or its wrapper in training.
        generator: The generator, for its attributes.
        context: `(B, T, C, H, W)`, the first input. With a lead above 1, `times` must be 1: training samples lack the
            frames in between.
        conditions: Conditions of all predictions.
        times: Number of predictions.
    """
    if times == 1:
        moves = generator.history_len + generator.pred_frames - 1
        return as_pyramid(forward(context, **conditions.generator_kwargs(generator, 0, moves)))
    pyramids = list(islice(applications(forward, generator, context, conditions), times))
    return [torch.cat(scale, 1) for scale in zip(*pyramids, strict=True)]


def stream_rollout(
    generator: Generator,
    context: Tensor,
    num_frames: int,
    noise: Tensor | None = None,
    actions: Tensor | None = None,
    states: Tensor | None = None,
    forward: Callable[..., list[Tensor] | Tensor] | None = None,
) -> Iterator[Tensor]:
    """Yield the frames t+1, t+2, ..., t+num_frames in constant memory.

    Args:
        generator: Maps `(B, T, C, H, W)` to a pyramid of `(B, K, C, h, w)`, with the attributes context_frames (T),
            pred_frames (K frames at once) and lead (offset of the first from the last context frame).
        context: `(B, N, C, H, W)` in [0, 1], the frames up to t, with N >= `min_history_len`; the newest T + lead - 1
            are used. With lead k, frame t+1 is predicted from the frames up to t+1-k, and frame t+k from those up to t.
        num_frames: Number of frames.
        noise: `(B, noise_channels)`, one draw per sample, for a generator that takes noise; None: drawn from torch's
            random stream, or no noise where it is optional. It stays fixed for the whole rollout: one draw is one
            outcome, and a new draw in every frame would change the outcome midway.
        actions: `(B, N-1+num_frames, A)`, for a generator that takes actions: row i leads from frame i, of context and
            then future, to the next.
        states: `(B, N, S)` of the context frames, for a generator that takes states. Those of future frames follow by
            the generator's `state_dynamics`.
        forward: Another forward pass of the generator; None: its own, of the first `num_frames` frames.

    Yields:
        Frames `(B, C, H, W)` float32 in [0, 1].

    Raises:
        ValueError: The context is too short, the generator's frames have another shape, there is noise for a generator
            that takes none, or actions or states are missing or of another shape.
    """
    generator = as_generator(generator)
    needed = generator.min_history_len
    if context.shape[1] < needed:
        raise ValueError(f"{context.shape[1]} context frames given, {needed} needed")
    noise, actions, states = (None if rows is None else rows.to(context.device) for rows in (noise, actions, states))
    conditions = Conditions(noise, actions, states=states)
    conditions.check(generator)
    _check_rows(generator, context.shape[1], num_frames, actions, states)
    done = 0
    for images in applications(forward or generator.first_frames(num_frames), generator, context, conditions):
        frames = _finest(images, context)
        for index in range(min(frames.shape[1], num_frames - done)):
            yield frames[:, index]
        done += frames.shape[1]
        if done >= num_frames:
            return


def _check_rows(
    generator: Generator, given: int, num_frames: int, actions: Tensor | None, states: Tensor | None
) -> None:
    """Check the number of actions and states for `given` context frames. Raises ValueError."""
    if states is not None and generator.state_size and states.shape[1] != given:
        raise ValueError(f"{states.shape[1]} states given; {given} context frames need one each")
    if actions is not None and actions.shape[1] != given - 1 + num_frames:
        raise ValueError(
            f"{actions.shape[1]} actions given; {given} context and {num_frames} future frames have "
            f"{given - 1 + num_frames} between them"
        )


def _finest(images: list[Tensor] | Tensor, history: Tensor) -> Tensor:
    """Return a generator's frames at full resolution.

    Raises:
        GeneratorError: Their shape differs from that of the history's frames.
    """
    frames = as_pyramid(images)[-1]
    batch, _, channels, height, width = history.shape
    if frames.dim() != 5 or (len(frames), *frames.shape[2:]) != (batch, channels, height, width):
        wanted = f"({batch}, K, {channels}, {height}, {width})"
        raise GeneratorError(f"the generator must return frames (B, K, C, H, W) = {wanted}, not {tuple(frames.shape)}")
    return frames.float()


@torch.inference_mode()
def rollout(
    generator: Generator,
    context: Tensor,
    num_frames: int,
    noise: Tensor | None = None,
    actions: Tensor | None = None,
    states: Tensor | None = None,
    forward: Callable[..., list[Tensor] | Tensor] | None = None,
) -> Tensor:
    """Return all frames of `stream_rollout` at once: `(B, num_frames, C, H, W)` float32 in [0, 1].

    For arguments and errors see there; num_frames below 1 raises ValueError.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, not {num_frames}")
    return torch.stack(list(stream_rollout(generator, context, num_frames, noise, actions, states, forward)), 1)
