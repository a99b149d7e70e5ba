"""Resizing frames and converting their channels."""

from __future__ import annotations

import cv2
import numpy as np

from vidpred.errors import DataError


def resize_frame(frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a `(H, W, C)` uint8 frame to shape = (height, width), `(height, width, C)`.

    It averages areas if neither side grows; else, even if only one does, it interpolates bicubically.
    """
    if frame.shape[:2] == shape:
        return frame
    shrinks = frame.shape[0] >= shape[0] and frame.shape[1] >= shape[1]
    resized = cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized.reshape(*shape, frame.shape[2])


def with_channels(frame: np.ndarray, channels: int) -> np.ndarray:
    """Convert a `(H, W)` or `(H, W, 1 | 3)` uint8 frame to `(H, W, channels)`; color to gray is luma (ITU-R BT.601).

    A frame `(H, W, 3n)` of n cameras stays as it is.

    Raises:
        DataError: The frame is not uint8, or is neither gray nor RGB.
    """
    if frame.dtype != np.uint8:
        raise DataError(f"frames of type {frame.dtype}; they must be uint8")
    frame = frame[..., None] if frame.ndim == 2 else frame
    if frame.ndim == 3 and frame.shape[2] == channels:
        return frame
    if frame.ndim != 3 or frame.shape[2] not in (1, 3) or channels not in (1, 3):
        raise DataError(f"frames of shape {frame.shape}; they must be gray or RGB")
    if frame.shape[2] == 1:
        return np.repeat(frame, 3, 2)
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None]
