"""Free training data for motion: textures and things that move, turn, grow, hide one another, under changing light.

Every clip is a function of its number. `MovingShapesWorld.flow` is the true motion, back to the frame before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vidpred.data.settings import DataSettings
from vidpred.data.worlds.base import World

MOST_THINGS = 6
REFERENCE_SIDE = 160  # speeds below are in pixels a frame at this side


@dataclass(frozen=True)
class Layer:
    """A texture with a mask that moves as a whole; the first layer is the ground, seen by a moving camera.

    image: `(size, size, C)` float32 in [0, 1]. mask: `(size, size)` float32, 1 where the layer covers. poses: for
    every frame the 2x3 affine map from points (x, y) of the image to points of the frame.
    """

    image: np.ndarray
    mask: np.ndarray
    poses: np.ndarray


class MovingShapesWorld:
    """Endless clips of `length` frames, `(length, side, side, C)` uint8; clip(index) is always the same."""

    def __init__(self, length: int, side: int, channels: int = 3, seed: int = 0) -> None:
        self.length, self.side, self.channels, self.seed = length, side, channels, seed

    def clip(self, index: int) -> np.ndarray:
        random = np.random.default_rng((self.seed, index, 0))
        layers = self.layers(random)
        frames = np.stack([self._paint(layers, time) for time in range(self.length)])
        light = 1 + random.uniform(-0.02, 0.02) * np.arange(self.length) if random.random() < 0.3 else 1.0
        noise = random.uniform(0, 0.012) * random.standard_normal(frames.shape, dtype=np.float32)
        shown = frames * np.reshape(light, (-1, 1, 1, 1)) + noise
        return np.asarray(np.round(shown.clip(0, 1) * 255), np.uint8)

    def flow(self, index: int, time: int) -> np.ndarray:
        """Where every pixel of frame `time` (>= 1) was in the frame before: `(side, side, 2)`, pixels to the right and
        downwards, like `dense_flow(frame, frame before)`. What was hidden then has the place where it was hidden."""
        layers = self.layers(np.random.default_rng((self.seed, index, 0)))
        size = (self.side, self.side)
        rows, columns = np.mgrid[: self.side, : self.side].astype(np.float32)
        found = np.zeros((self.side, self.side, 2), np.float32)
        for layer in layers:
            back = compose(layer.poses[time - 1], cv2.invertAffineTransform(layer.poses[time]))
            moved = np.stack([columns, rows, np.ones_like(rows)], -1) @ back.T.astype(np.float32)
            covers = cv2.warpAffine(layer.mask, layer.poses[time], size, flags=cv2.INTER_LINEAR) > 0.5
            found[covers] = (moved - np.stack([columns, rows], -1))[covers]
        return found

    def layers(self, random: np.random.Generator) -> list[Layer]:
        """The ground and up to `MOST_THINGS` things, back to front; the camera carries all of them."""
        side = self.side
        camera = self._poses(random, np.array([side / 2, side / 2]), moving=random.random() < 0.6, speed=4.0)
        ground = 3 * side
        centred = np.array([[1.0, 0, -side], [0, 1, -side]])
        still = np.stack([compose(pose, centred) for pose in camera])
        layers = [Layer(texture(random, ground, self.channels), np.ones((ground, ground), np.float32), still)]
        for _ in range(random.integers(1, MOST_THINGS + 1)):
            size = int(side * random.uniform(0.12, 0.6))
            place = random.uniform(0, side, 2)
            own = self._poses(random, place, moving=random.random() < 0.85, speed=7.0)
            corner = np.array([[1.0, 0, place[0] - size / 2], [0, 1, place[1] - size / 2]])
            poses = np.stack([compose(eye, compose(pose, corner)) for eye, pose in zip(camera, own, strict=True)])
            layers.append(Layer(texture(random, size, self.channels), shape(random, size), poses))
        return layers

    def _poses(self, random: np.random.Generator, centre: np.ndarray, moving: bool, speed: float) -> np.ndarray:
        """Affine maps `(length, 2, 3)`: turned and scaled about `centre` and moved. Velocity changes evenly, or,
        for half of the layers, from frame to frame as nobody can foresee: a predictor has to learn how far motion is to
        be trusted, not only how to follow it."""
        if not moving:
            return np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (self.length, 1, 1))
        scale = speed * self.side / REFERENCE_SIDE
        # Most things are slow: the share of a speed falls with it.
        velocity = random.uniform(-1, 1, 2) * scale * random.uniform() ** 1.5
        change = random.normal(0, 0.06, 2) * np.abs(velocity).max()
        turning = np.array([random.normal(0, 0.02), random.normal(0, 0.006)]) * (random.random() < 0.5)
        sway = random.normal(0, 0.3, 2) * scale / 7 * (random.random() < 0.3)
        phase, period = random.uniform(0, 6.3), random.uniform(6, 30)
        times = np.arange(self.length) - self.length / 3
        whims = np.zeros((self.length, 2))
        if random.random() < 0.5:
            size = np.abs(velocity).max() * random.uniform(0.05, 0.35)
            whims = np.cumsum(np.cumsum(random.normal(0, size, (self.length, 2)), 0), 0)
        poses = []
        for time, whim in zip(times, whims, strict=True):
            x, y = velocity * time + change * time**2 / 2 + sway * np.sin(phase + 6.283 * time / period) * 3 + whim
            angle, growth = turning[0] * time, np.exp(turning[1] * time)
            turn = growth * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            poses.append(np.concatenate([turn, (centre - turn @ centre + (x, y))[:, None]], 1))
        return np.stack(poses)

    def _paint(self, layers: Sequence[Layer], time: int) -> np.ndarray:
        size = (self.side, self.side)
        shown = (self.side, self.side, self.channels)
        frame = np.zeros(shown, np.float32)
        for number, layer in enumerate(layers):
            border = cv2.BORDER_REFLECT if number == 0 else cv2.BORDER_REPLICATE
            image = cv2.warpAffine(layer.image, layer.poses[time], size, flags=cv2.INTER_LINEAR, borderMode=border)
            mask = np.ones(size, np.float32)
            if number:
                mask = np.asarray(
                    cv2.warpAffine(layer.mask, layer.poses[time], size, flags=cv2.INTER_LINEAR), np.float32
                )
            frame = np.asarray(frame + (image.reshape(shown) - frame) * mask[..., None], np.float32)
        return frame


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The affine map, 2x3, that does `inner` and then `outer`."""
    return np.concatenate([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], 1)


def texture(random: np.random.Generator, size: int, channels: int) -> np.ndarray:
    """Noise of several scales over a colour gradient, sometimes with stripes: `(size, size, C)` float32 in [0, 1]."""
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


def shape(random: np.random.Generator, size: int) -> np.ndarray:
    """A filled blob or polygon, soft at its edge, with air around it: `(size, size)` float32 in [0, 1]."""
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
    """The world as a source of windows: a training sample is one of its clips, whole."""

    name = "the embedded world of moving things"
    side = REFERENCE_SIDE

    def __init__(self, settings: DataSettings, offsets: Sequence[int], count: int, seed: int) -> None:
        super().__init__(settings, offsets, count, seed)
        self.side = settings.crop_size or self.side  # of the patches with which its clips are mixed
        self.world = MovingShapesWorld(offsets[-1] + 1, self.side, settings.channels, seed)

    def window(self, index: int) -> np.ndarray:
        return self.world.clip(index)[self.offsets]
