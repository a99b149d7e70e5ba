"""Checks of what planning receives: frames, costs; errors name what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.data.prepared.format import Manifest
from vidpred.errors import counted
from vidpred.inference.predictor import Predictor

Cost = Callable[[Tensor], Tensor]  # predicted frames (N, K, C, H, W) in [0, 1] -> (N,) costs, or (N, K), summed over K
OUTSIDE = 0.01  # how far values may lie outside [0, 1], as resizing with bicubic filters causes


FrameSize = int | tuple[int, int] | None  # short side, or height and width, in pixels; None: any


def checked_frames(frames: Tensor, name: str, size: FrameSize = None, channels: int | None = None) -> Tensor:
    """Check frames `(..., C, H, W)`, uint8 or float in [0, 1], and convert them to float.

    Args:
        frames: The frames.
        name: Their name in messages.
        size: Size that the model was trained on.
        channels: Channels that the model takes; None: any.

    Raises:
        ValueError: The values are not finite or out of range, or the layout or the size is another.
    """
    shape = tuple(frames.shape)
    counts = (1, 3) if channels is None else (channels,)
    if shape[-1] in counts and shape[-3] not in counts:
        raise ValueError(f"{name} {shape} has its channels last; expected (..., {channels or 'C'}, H, W), see permute")
    if channels is not None and shape[-3] != channels:
        raise ValueError(
            f"{name} {shape} has {shape[-3]} channels, but the model takes (..., {channels}, H, W): "
            f"{'gray' if channels == 1 else counted(channels // 3, 'color camera')}"
        )
    if size is not None and (shape[-2:] != size if isinstance(size, tuple) else min(shape[-2:]) != size):
        expected = f"of {size[0]} x {size[1]}" if isinstance(size, tuple) else f"with a short side of {size}"
        raise ValueError(
            f"{name} {shape} has frames of {shape[-2]} x {shape[-1]} pixels, but the model was trained on frames "
            f"{expected}; resize them"
        )
    if not frames.is_floating_point() and frames.dtype != torch.uint8:
        raise ValueError(f"{name} {shape} is {frames.dtype}; expected uint8, or float in [0, 1]")
    values = to_float(frames)
    low, high = (float(value) for value in values.aminmax())
    if not -OUTSIDE <= low <= high <= 1 + OUTSIDE:  # NaN fails every comparison
        bad = int((~values.isfinite()).sum())
        found = f"{bad} values are NaN or infinite" if bad else f"found [{low:g}, {high:g}]"
        raise ValueError(f"{name} {shape} must be finite and in [0, 1], or uint8; {found}")
    return values


def observed_frame(frame: Any, size: FrameSize, previous: Tensor | None, channels: int | None = None) -> Tensor:
    """Check a frame that a controller observes, and convert it to float in [0, 1].

    Args:
        frame: `(C, H, W)`, uint8 or float in [0, 1].
        size: See `checked_frames`.
        previous: The last frame of the episode, which has the same shape; None: there is none.
        channels: See `checked_frames`.

    Raises:
        ValueError: The frame is missing, not a tensor or of another shape; see also `checked_frames`.
    """
    if not isinstance(frame, Tensor):
        found = f"{type(frame).__name__} {getattr(frame, 'shape', '')}".strip()
        raise ValueError(f"expected the newest frame as a tensor (C, H, W), uint8 or in [0, 1], not {found}")
    if frame.dim() != 3:
        raise ValueError(f"expected a frame (C, H, W), not {tuple(frame.shape)}")
    values = checked_frames(frame, "frame", size, channels)
    if previous is not None and values.shape != previous.shape:
        raise ValueError(
            f"expected a frame {tuple(previous.shape)}, as before in this episode, not {tuple(frame.shape)}; call "
            "reset before another episode"
        )
    return values


def split_observation(
    observation: Mapping[str, Any], image_keys: Sequence[str] = (), state_key: str | None = None
) -> tuple[Tensor, Tensor | None]:
    """Split a dictionary of observations into a frame and a state.

    Args:
        observation: Images, as tensors `(C, H, W)` or as arrays `(H, W, C)` as Gymnasium's environments return them,
            and vectors `(S,)`.
        image_keys: Keys of the images, which are stacked along the channels; empty: the only image.
        state_key: Key of the state; None: the only vector, if there is one.

    Returns:
        The frame `(C, H, W)`, with the images' dtype and range, and the state `(S,)` float32, None if there is none.

    Raises:
        ValueError: A key is missing, or there are several images or vectors to choose from.
    """
    ranks = {key: len(getattr(value, "shape", ())) for key, value in observation.items()}
    images, vectors = ([key for key, rank in ranks.items() if rank == wanted] for wanted in (3, 1))
    missing = [key for key in (*image_keys, *([] if state_key is None else [state_key])) if key not in observation]
    if missing:
        raise ValueError(f"the observation has no {', '.join(missing)}; it has {', '.join(observation)}")
    if not image_keys and len(images) != 1:
        raise ValueError(f"the observation has {len(images)} images, {', '.join(images)}; set image_keys")
    if state_key is None and len(vectors) > 1:
        raise ValueError(f"the observation has several vectors, {', '.join(vectors)}; set state_key")
    views = [_as_view(observation[key]) for key in image_keys or images]
    key = state_key or next(iter(vectors), None)
    state = None if key is None else torch.as_tensor(observation[key], dtype=torch.float32)
    return torch.cat(views, 0) if len(views) > 1 else views[0], state


def _as_view(image: Any) -> Tensor:
    """Return an image as a tensor `(C, H, W)`."""
    return image if isinstance(image, Tensor) else torch.from_numpy(np.array(image)).permute(2, 0, 1)


def evaluate_cost(cost: Cost, frames: Tensor) -> Tensor:
    """Compute the costs `(N,)` of the frames `(N, K, C, H, W)` of N plans, summed over the steps.

    Raises:
        ValueError: The cost returns another shape than `(N,)` or `(N, K)`, or values that are not finite.
    """
    values, (plans, steps) = cost(frames), frames.shape[:2]
    shape = tuple(values.shape) if isinstance(values, Tensor) else None
    if shape not in ((plans,), (plans, steps)):
        found = type(values).__name__ if shape is None else f"shape {shape}"
        raise ValueError(
            f"a cost of frames {tuple(frames.shape)} must return ({plans},) or ({plans}, {steps}), not {found}"
        )
    if not bool(values.isfinite().all()):
        bad = int((~values.detach().isfinite()).reshape(plans, -1).any(1).sum())
        raise ValueError(f"the cost of {bad} of {plans} plans is NaN or infinite; costs must be finite")
    return sum_over_steps(values)


def evaluate_costs(cost: Cost | Sequence[Cost], frames: Tensor, owners: Tensor) -> Tensor:
    """Compute the costs `(N,)` of N plans, with one cost for all situations or one for each.

    Args:
        cost: The cost, or a cost for each situation.
        frames: `(N, K, C, H, W)`.
        owners: Situation of each plan, `(N,)`, in ascending order.
    """
    if callable(cost):
        return evaluate_cost(cost, frames)
    numbers, counts = owners.unique_consecutive(return_counts=True)
    parts = frames.split(counts.tolist())
    return torch.cat([evaluate_cost(cost[int(number)], part) for number, part in zip(numbers, parts, strict=True)])


def checked_costs(cost: Cost | Sequence[Cost], batch: int) -> None:
    """Raise ValueError unless `cost` is one cost, or a sequence of `batch` costs, one for each situation."""
    if not callable(cost) and len(cost) != batch:
        raise ValueError(f"{len(cost)} costs for {batch} situations; give one for all, or one for each")


def sum_over_steps(values: Tensor) -> Tensor:
    """Sum costs `(N, K)` over the steps; costs `(N,)` stay as they are."""
    return values if values.dim() == 1 else values.sum(1)


def trained_size(predictor: Predictor) -> FrameSize:
    """Return the size of the frames that a run was trained on, see `FrameSize`; None: unknown."""
    recorded = None if predictor.checkpoint is None else predictor.checkpoint.state.get("frame_size")
    if recorded:
        return recorded[0], recorded[1]
    # Checkpoints of older runs do not contain it.
    if predictor.data.size is not None:
        return predictor.data.size
    root = predictor.data.root
    manifest = Manifest.load(Path(root)) if root is not None else None
    recorded = manifest.settings.get("frame_size") if manifest is not None else None
    return (manifest.size if manifest is not None else None) or recorded
