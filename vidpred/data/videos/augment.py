"""Changes that keep a clip a possible clip, the same for all of its frames."""

from __future__ import annotations

import cv2
import numpy as np

from vidpred.data.settings import DataSettings

MOST_MARGIN = 0.12  # of a side, that shaking may cost on each side


def augment(frames: np.ndarray, settings: DataSettings, random: np.random.Generator) -> np.ndarray:
    """`(n, H, W, C)` uint8 -> the same kind: mirrored, turned, played backwards, shaken, recoloured, as settings say.

    Each is tossed for by itself and drawn from `random` only where it is asked for. Transposed frames swap H and W.
    """
    augment = settings.augment_settings
    if augment.horizontal_flip and random.random() < 0.5:
        frames = frames[:, :, ::-1]
    if augment.vertical_flip and random.random() < 0.5:
        frames = frames[:, ::-1]
    if augment.transpose and random.random() < 0.5:
        frames = frames.transpose(0, 2, 1, 3)
    if augment.time_reverse and random.random() < 0.5:
        frames = frames[::-1]
    if augment.camera_shake and random.random() < 0.5:
        frames = shake(frames, augment.camera_shake, random)
    if augment.color_jitter:
        frames = recolour(frames, augment.color_jitter, random)
    return frames


def recolour(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Every channel v in [0, 1] becomes gain_c * v ^ gamma, the gains and the gamma within exp(-strength) and
    exp(strength), evenly in their logarithms."""
    gains = np.exp(random.uniform(-strength, strength, frames.shape[-1]))
    gamma = np.exp(random.uniform(-strength, strength))
    values = np.linspace(0, 1, 256)[:, None] ** gamma * gains  # (256, C)
    table = np.round(values.clip(0, 1) * 255).astype(np.uint8)
    return np.asarray(table[frames, np.arange(frames.shape[-1])])


def shake(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """`(n, H, W, C)` uint8 as an unsteady hand would have filmed it: frames moved along a random path, enlarged by what
    that needs.

    The path's velocity is a stationary first-order autoregression of up to `strength` pixels a frame (root mean square,
    in each direction); how much of it lasts from frame to frame is drawn, so some paths can be foreseen and others not.
    """
    count, height, width = frames.shape[:3]
    lasting = random.uniform(0, 0.97)
    noise = random.standard_normal((count, 2)) * strength * random.uniform() ** 2
    velocity = noise.copy()
    for time in range(1, count):
        velocity[time] = lasting * velocity[time - 1] + (1 - lasting**2) ** 0.5 * noise[time]
    path = velocity.cumsum(0)
    path -= (path.max(0) + path.min(0)) / 2
    size = np.array([width, height])
    margin = float((np.abs(path) / size).max())
    path *= min(1, MOST_MARGIN / max(margin, 1e-9))
    shown = 1 - 2 * min(margin, MOST_MARGIN)  # of a side
    moved = []
    for frame, (x, y) in zip(frames, path + (1 - shown) / 2 * (size - 1), strict=True):
        crop = np.array([[shown, 0, x], [0, shown, y]])
        how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(
            np.ascontiguousarray(frame), crop, (width, height), flags=how, borderMode=cv2.BORDER_REFLECT
        )
        moved.append(image.reshape(frame.shape))
    return np.stack(moved)
