"""Augmentation of clips; every frame of a clip is changed in the same way."""

from __future__ import annotations

import cv2
import numpy as np

from vidpred.data.settings import DataSettings

MAX_MARGIN = 0.12  # largest share of a side that camera shake crops at each edge


def augment(frames: np.ndarray, settings: DataSettings, random: np.random.Generator) -> np.ndarray:
    """Augment a clip according to `data.augment`.

    Each augmentation is drawn independently, and only if it is enabled.

    Args:
        frames: `(n, H, W, C)` uint8.
        settings: Data settings.
        random: Source of randomness.

    Returns:
        `(n, H, W, C)` uint8; transposed frames swap H and W.
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
        frames = camera_shake(frames, augment.camera_shake, random)
    if augment.color_jitter:
        frames = color_jitter(frames, augment.color_jitter, random)
    return frames


def color_jitter(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Map every channel v in [0, 1] to gain_c * v ^ gamma.

    The gains and gamma are log-uniform between exp(-strength) and exp(strength).
    """
    gains = np.exp(random.uniform(-strength, strength, frames.shape[-1]))
    gamma = np.exp(random.uniform(-strength, strength))
    values = np.linspace(0, 1, 256)[:, None] ** gamma * gains  # (256, C)
    table = np.round(values.clip(0, 1) * 255).astype(np.uint8)
    return np.asarray(table[frames, np.arange(frames.shape[-1])])


def camera_shake(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Simulate a hand-held camera: shift the frames along a random path, and zoom in to hide the borders.

    The velocity of the path is a stationary first-order autoregressive process of up to `strength` pixels per frame
    (root mean square, per axis). Its persistence is random, so some paths are predictable and others are not.

    Args:
        frames: `(n, H, W, C)` uint8.
        strength: Maximum RMS velocity in pixels per frame.
        random: Source of randomness.

    Returns:
        `(n, H, W, C)` uint8.
    """
    count, height, width = frames.shape[:3]
    persistence = random.uniform(0, 0.97)
    noise = random.standard_normal((count, 2)) * strength * random.uniform() ** 2
    velocity = noise.copy()
    for time in range(1, count):
        velocity[time] = persistence * velocity[time - 1] + (1 - persistence**2) ** 0.5 * noise[time]
    path = velocity.cumsum(0)
    path -= (path.max(0) + path.min(0)) / 2
    size = np.array([width, height])
    margin = float((np.abs(path) / size).max())
    path *= min(1, MAX_MARGIN / max(margin, 1e-9))
    visible = 1 - 2 * min(margin, MAX_MARGIN)  # share of a side
    shifted = []
    for frame, (x, y) in zip(frames, path + (1 - visible) / 2 * (size - 1), strict=True):
        crop = np.array([[visible, 0, x], [0, visible, y]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(
            np.ascontiguousarray(frame), crop, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        shifted.append(image.reshape(frame.shape))
    return np.stack(shifted)
