"""The default embedded data: a world in which some clips have two equally likely futures, both available.

A ball falls onto a wedge and leaves to the left or to the right with equal probability, so the mean of all futures (the
optimum of mean squared error) is a ghost on both sides. Half of the clips fork in this way. The others are
deterministic (no wedge, a wedge not yet reached, a ramp that determines the side), so that the context matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidpred.data.settings import DataSettings
from vidpred.data.worlds.base import World

Kind = Literal["fork", "free", "not reached", "ramp"]
KINDS: tuple[Kind, ...] = ("fork", "free", "not reached", "ramp")
KIND_SHARES = (0.5, 0.2, 0.15, 0.15)
REFERENCE_SIDE = 32  # the geometry below is in pixels of an image of this side


@dataclass(frozen=True)
class Scene:
    """The constants of one clip; lengths in pixels of the 32-pixel reference image, colors in [0, 1]."""

    kind: Kind
    column: float  # the ball's x until it lands
    radius: float
    speed: float  # pixels per frame
    contact: float  # the ball's y when it lands
    ramp_side: int  # -1 or 1: where a ramp sends the ball
    ball: np.ndarray  # (C,)
    wedge: np.ndarray  # (C,)
    background: np.ndarray  # (2, C), top and bottom


class ForkingBallWorld:
    """An unlimited number of clips, `(context_frames + future_frames, side, side, C)` uint8.

    The ball lands after the last context frame. A scene is determined by its index; callers choose the side of a fork.
    """

    def __init__(
        self, context_frames: int, future_frames: int, side: int = REFERENCE_SIDE, channels: int = 3, seed: int = 0
    ) -> None:
        self.context_frames, self.future_frames = context_frames, future_frames
        self.side, self.channels, self.seed = side, channels, seed

    def scene(self, index: int) -> Scene:
        """Return scene number `index`."""
        random = np.random.default_rng((self.seed, index))
        kind = KINDS[random.choice(len(KINDS), p=KIND_SHARES)]
        radius, speed = random.uniform(2.4, 3.4), random.uniform(1.8, 2.8)
        dark, bright = random.uniform(0.05, 0.3, self.channels), random.uniform(0.7, 0.95, self.channels)
        ball, ground = (bright, dark) if random.random() < 0.5 else (dark, bright)
        tint = random.uniform(-0.08, 0.08, (2, self.channels))
        return Scene(
            kind=kind,
            column=random.uniform(12, 20),
            radius=radius,
            speed=speed,
            contact=random.uniform(14, 20),
            ramp_side=1 if random.random() < 0.5 else -1,
            ball=ball,
            wedge=np.clip((ball + random.uniform(0, 1, self.channels)) / 2, 0, 1),
            background=np.clip(0.7 * ground + 0.15 + tint, 0, 1),
        )

    def clip(self, index: int, side: int) -> np.ndarray:
        """Return the frames of scene `index` for a side, -1 for left and 1 for right; it only affects forks."""
        scene = self.scene(index)
        return self._render(scene, self._positions(scene, side))

    def futures(self, index: int) -> list[np.ndarray]:
        """Return every possible future of scene `index`, `(future_frames, side, side, C)`: two for a fork, else one."""
        sides = (-1, 1) if self.scene(index).kind == "fork" else (1,)
        return [self.clip(index, side)[self.context_frames :] for side in sides]

    def _positions(self, scene: Scene, side: int) -> np.ndarray:
        """Return the ball's center (x, y) in every frame."""
        times = np.arange(self.context_frames + self.future_frames) - (self.context_frames - 0.5)  # since landing
        x, y = np.full(len(times), scene.column), scene.contact + scene.speed * times
        if scene.kind in ("fork", "ramp"):
            direction = side if scene.kind == "fork" else scene.ramp_side
            landed = times > 0
            # The ball jumps sideways by about its width and then rolls on.
            x[landed] += direction * (1.5 * scene.radius + 0.8 + scene.speed * (times[landed] - 0.5))
        return np.stack([x, y], 1)

    def _render(self, scene: Scene, positions: np.ndarray) -> np.ndarray:
        scale = self.side / REFERENCE_SIDE
        rows, columns = np.mgrid[: self.side, : self.side] + 0.5
        share = (rows / self.side)[..., None]
        image = scene.background[0] * (1 - share) + scene.background[1] * share
        if scene.kind != "free":
            top = scene.contact + scene.radius + (9.0 if scene.kind == "not reached" else 0.0)
            x, y = columns / scale - scene.column, rows / scale - top
            half_width = 0.8 * y
            inside = np.minimum(y, half_width - np.abs(x))
            if scene.kind == "ramp":  # one vertical side, so that the ball can only leave over the slope
                inside = np.minimum(np.minimum(y, 1.2 * y - scene.ramp_side * x), scene.ramp_side * x + scene.radius)
            image = _blend(image, scene.wedge, inside * scale)
        offsets = np.stack([columns, rows], -1)[None] / scale - positions[:, None, None, :]
        distance = scene.radius - np.sqrt((offsets**2).sum(-1))
        frames = _blend(np.broadcast_to(image, (len(positions), *image.shape)), scene.ball, distance * scale)
        return np.round(frames * 255).astype(np.uint8)


def _blend(image: np.ndarray, color: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Draw `color` where the signed distance `inside` (pixels) is positive, with edges that are one pixel wide."""
    cover = np.clip(inside + 0.5, 0, 1)[..., None]
    return image * (1 - cover) + color * cover


class WorldWindows(World):
    """A source of forking-ball clips: the side of a window is fixed, that of a training sample is random."""

    name = "the embedded forking-ball world"
    side = REFERENCE_SIDE

    def __init__(self, settings: DataSettings, offsets: Sequence[int], count: int, seed: int) -> None:
        super().__init__(settings, offsets, count, seed)
        context = settings.history_len
        self.world = ForkingBallWorld(context, offsets[-1] + 1 - context, self.side, settings.channels, seed)

    def window(self, index: int) -> np.ndarray:
        return self.sample(index, np.random.default_rng((self.seed, index, 1)))

    def sample(self, window: int, random: np.random.Generator) -> np.ndarray:
        return self.world.clip(window, 1 if random.random() < 0.5 else -1)[self.offsets]
