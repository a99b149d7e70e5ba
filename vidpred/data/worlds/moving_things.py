"""Synthetic clips for learning motion: textured shapes that move, rotate, scale and occlude each other.

Every clip is a function of its index. `MovingShapesWorld.flow` returns the ground-truth flow to the previous frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vidpred.data.settings import DataSettings
from vidpred.data.worlds.base import World

MAX_SHAPES = 6
REFERENCE_SIDE = 160  # speeds below are in pixels per frame at this image side


@dataclass(frozen=True)
class Layer:
    """A rigid textured layer with a mask; the first layer is the background, filmed by a moving camera.

    Attributes:
        image: `(size, size, C)` float32 in [0, 1].
        mask: `(size, size)` float32, 1 where the layer is opaque.
        poses: `(length, 2, 3)`, the affine map from points (x, y) of the image to points of each frame.
    """

    image: np.ndarray
    mask: np.ndarray
    poses: np.ndarray


class MovingShapesWorld:
    """An unlimited number of clips of `length` frames, each determined by its index."""

    def __init__(self, length: int, side: int, channels: int = 3, seed: int = 0) -> None:
        self.length, self.side, self.channels, self.seed = length, side, channels, seed

    def clip(self, index: int) -> np.ndarray:
        """Return clip number `index`, `(length, side, side, C)` uint8."""
        random = np.random.default_rng((self.seed, index, 0))
        layers = self.layers(random)
        frames = np.stack([self._render(layers, time) for time in range(self.length)])
        light = 1 + random.uniform(-0.02, 0.02) * np.arange(self.length) if random.random() < 0.3 else 1.0
        noise = random.uniform(0, 0.012) * random.standard_normal(frames.shape, dtype=np.float32)
        noisy = frames * np.reshape(light, (-1, 1, 1, 1)) + noise
        return np.asarray(np.round(noisy.clip(0, 1) * 255), np.uint8)

    def flow(self, index: int, time: int) -> np.ndarray:
        """Return the flow from frame `time` (>= 1) back to the previous frame, as `dense_flow(frame, previous)` does.

        Returns:
            `(side, side, 2)` float32, displacement of every pixel in pixels to the right and downwards. Pixels that
            were occluded in the previous frame point to their occluded position.
        """
        layers = self.layers(np.random.default_rng((self.seed, index, 0)))
        size = (self.side, self.side)
        rows, columns = np.mgrid[: self.side, : self.side].astype(np.float32)
        found = np.zeros((self.side, self.side, 2), np.float32)
        for layer in layers:
            back = compose_affine(layer.poses[time - 1], cv2.invertAffineTransform(layer.poses[time]))
            moved = np.stack([columns, rows, np.ones_like(rows)], -1) @ back.T.astype(np.float32)
            covers = cv2.warpAffine(layer.mask, layer.poses[time], size, flags=cv2.INTER_LINEAR) > 0.5
            found[covers] = (moved - np.stack([columns, rows], -1))[covers]
        return found

    def layers(self, random: np.random.Generator) -> list[Layer]:
        """Return the background and up to `MAX_SHAPES` shapes, back to front, all moved by the camera."""
        side = self.side
        camera = self._poses(random, np.array([side / 2, side / 2]), moving=random.random() < 0.6, speed=4.0)
        size = 3 * side
        centered = np.array([[1.0, 0, -side], [0, 1, -side]])
        background = np.stack([compose_affine(pose, centered) for pose in camera])
        layers = [Layer(draw_texture(random, size, self.channels), np.ones((size, size), np.float32), background)]
        for _ in range(random.integers(1, MAX_SHAPES + 1)):
            size = max(1, int(side * random.uniform(0.12, 0.6)))
            place = random.uniform(0, side, 2)
            own = self._poses(random, place, moving=random.random() < 0.85, speed=7.0)
            corner = np.array([[1.0, 0, place[0] - size / 2], [0, 1, place[1] - size / 2]])
            poses = np.stack(
                [compose_affine(view, compose_affine(pose, corner)) for view, pose in zip(camera, own, strict=True)]
            )
            layers.append(Layer(draw_texture(random, size, self.channels), draw_shape(random, size), poses))
        return layers

    def _poses(self, random: np.random.Generator, center: np.ndarray, moving: bool, speed: float) -> np.ndarray:
        """Return affine maps `(length, 2, 3)` that rotate and scale about `center` and translate.

        Velocity changes at a constant rate. For half of the layers, random changes are added in every frame, so that a
        predictor has to learn how predictable motion is.
        """
        if not moving:
            return np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (self.length, 1, 1))
        scale = speed * self.side / REFERENCE_SIDE
        # Low speeds are more frequent than high ones.
        velocity = random.uniform(-1, 1, 2) * scale * random.uniform() ** 1.5
        change = random.normal(0, 0.06, 2) * np.abs(velocity).max()
        turning = np.array([random.normal(0, 0.02), random.normal(0, 0.006)]) * (random.random() < 0.5)
        sway = random.normal(0, 0.3, 2) * scale / 7 * (random.random() < 0.3)
        phase, period = random.uniform(0, 6.3), random.uniform(6, 30)
        times = np.arange(self.length) - self.length / 3
        jitter = np.zeros((self.length, 2))
        if random.random() < 0.5:
            size = np.abs(velocity).max() * random.uniform(0.05, 0.35)
            jitter = np.cumsum(np.cumsum(random.normal(0, size, (self.length, 2)), 0), 0)
        poses = []
        for time, shift in zip(times, jitter, strict=True):
            x, y = velocity * time + change * time**2 / 2 + sway * np.sin(phase + 6.283 * time / period) * 3 + shift
            angle, growth = turning[0] * time, np.exp(turning[1] * time)
            turn = growth * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            poses.append(np.concatenate([turn, (center - turn @ center + (x, y))[:, None]], 1))
        return np.stack(poses)

    def _render(self, layers: Sequence[Layer], time: int) -> np.ndarray:
        size = (self.side, self.side)
        full_shape = (self.side, self.side, self.channels)
        frame = np.zeros(full_shape, np.float32)
        for number, layer in enumerate(layers):
            border = cv2.BORDER_REFLECT if number == 0 else cv2.BORDER_REPLICATE
            image = cv2.warpAffine(layer.image, layer.poses[time], size, flags=cv2.INTER_LINEAR, borderMode=border)
            mask = np.ones(size, np.float32)
            if number:
                mask = np.asarray(
                    cv2.warpAffine(layer.mask, layer.poses[time], size, flags=cv2.INTER_LINEAR), np.float32
                )
            frame = np.asarray(frame + (image.reshape(full_shape) - frame) * mask[..., None], np.float32)
        return frame


def compose_affine(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the 2x3 affine map that applies `inner` first and then `outer`, both 2x3."""
    return np.concatenate([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], 1)


def draw_texture(random: np.random.Generator, size: int, channels: int) -> np.ndarray:
    """Draw colored noise of several scales, sometimes with stripes, `(size, size, C)` float32 in [0, 1]."""
    image = np.zeros((size, size, channels), np.float32)
    roughness = random.uniform(0.4, 1.1)
    for cells in (2, 5, 12, 30, 75):
        if cells > size:
            break
        colored = random.standard_normal((cells, cells, channels)) * 0.4 + random.standard_normal((cells, cells, 1))
        grid = (colored * cells**-roughness).astype(np.float32)
        image += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC).reshape(image.shape)
    if random.random() < 0.3:
        rows, columns = np.mgrid[:size, :size].astype(np.float32)
        angle, wave = random.uniform(0, 3.15), random.uniform(5, 40)
        stripes = np.sin((np.cos(angle) * columns + np.sin(angle) * rows) * 6.283 / wave)
        if random.random() < 0.5:
            stripes = np.tanh(stripes * 4)
        image += (random.uniform(0.1, 0.6) * stripes)[..., None]
    contrast = random.uniform(0.03, 0.25) / max(float(image.std()), 1e-6)
    color = random.uniform(0.15, 0.85, channels).astype(np.float32)
    return np.asarray(np.clip((image - image.mean()) * contrast + color, 0, 1), np.float32)


def draw_shape(random: np.random.Generator, size: int) -> np.ndarray:
    """Draw the mask of a blob or polygon with a soft edge and a margin, `(size, size)` float32 in [0, 1]."""
    corners = int(random.integers(3, 9))
    angles = np.sort(random.uniform(0, 6.283, corners)) if random.random() < 0.5 else np.linspace(0, 6.283, 40)
    waves = 1 + 0.3 * np.sin(angles * random.integers(1, 5) + random.uniform(0, 6.283))
    radius = waves / waves.max() * (size / 2 - 2)
    stretch = random.uniform(0.4, 1, 2)
    points = size / 2 + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None] * stretch
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (3, 3), 0), np.float32)


class MotionWindows(World):
    """A source of whole clips of moving shapes."""

    name = "the embedded world of moving things"
    side = REFERENCE_SIDE

    def __init__(self, settings: DataSettings, offsets: Sequence[int], count: int, seed: int) -> None:
        super().__init__(settings, offsets, count, seed)
        self.side = settings.crop_size or self.side  # matches the crops that the clips are mixed with
        self.world = MovingShapesWorld(offsets[-1] + 1, self.side, settings.channels, seed)

    def window(self, index: int) -> np.ndarray:
        return self.world.clip(index)[self.offsets]
