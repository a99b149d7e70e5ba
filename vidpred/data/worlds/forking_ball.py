"""The embedded default data: a two-way world whose futures are both known.

A ball falls onto a wedge and leaves to the left or to the right by a fair coin, so the mean of all futures (what mean
squared error asks for) is a ghost on both sides. Half of the clips fork so; the rest are certain (no wedge, a wedge
not yet reached, a ramp that decides the side), so that a predictor has to look.
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
    """One clip's constants, lengths in pixels of the 32-pixel reference image, colours in [0, 1]."""

    kind: Kind
    column: float  # the ball's x until it lands
    radius: float
    speed: float  # pixels a frame
    contact: float  # the ball's y when it lands
    ramp_side: int  # -1 or 1: where a ramp sends the ball
    ball: np.ndarray  # (C,)
    wedge: np.ndarray  # (C,)
    background: np.ndarray  # (2, C): colour at the top and at the bottom


class ForkingBallWorld:
    """Endless clips of `known` + `coming` frames, `(n, side, side, C)` uint8; the ball lands after frame `known`.

    clip(index) is always the same scene; the coin is tossed by whoever asks.
    """

    def __init__(self, known: int, coming: int, side: int = REFERENCE_SIDE, channels: int = 3, seed: int = 0) -> None:
        self.known, self.coming, self.side, self.channels, self.seed = known, coming, side, channels, seed

    def scene(self, index: int) -> Scene:
        """Scene number `index` of this world."""
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
        """The frames of scene `index` when the coin says `side` (-1 left, 1 right; only a fork listens)."""
        scene = self.scene(index)
        return self._paint(scene, self._positions(scene, side))

    def futures(self, index: int) -> list[np.ndarray]:
        """Every possible future of scene `index`, each `(coming, side, side, C)`: two for a fork, else one."""
        sides = (-1, 1) if self.scene(index).kind == "fork" else (1,)
        return [self.clip(index, side)[self.known :] for side in sides]

    def _positions(self, scene: Scene, side: int) -> np.ndarray:
        """The ball's centre (x, y) in every frame."""
        times = np.arange(self.known + self.coming) - (self.known - 0.5)  # in frames since the landing
        x, y = np.full(len(times), scene.column), scene.contact + scene.speed * times
        if scene.kind in ("fork", "ramp"):
            direction = side if scene.kind == "fork" else scene.ramp_side
            landed = times > 0
            # The ball bounces aside by its own width and then rolls on.
            x[landed] += direction * (1.5 * scene.radius + 0.8 + scene.speed * (times[landed] - 0.5))
        return np.stack([x, y], 1)

    def _paint(self, scene: Scene, positions: np.ndarray) -> np.ndarray:
        scale = self.side / REFERENCE_SIDE
        rows, columns = np.mgrid[: self.side, : self.side] + 0.5
        share = (rows / self.side)[..., None]
        image = scene.background[0] * (1 - share) + scene.background[1] * share
        if scene.kind != "free":
            top = scene.contact + scene.radius + (9.0 if scene.kind == "not reached" else 0.0)
            x, y = columns / scale - scene.column, rows / scale - top
            half_width = 0.8 * y
            inside = np.minimum(y, half_width - np.abs(x))
            if scene.kind == "ramp":  # one upright side: the ball can only leave over the slope
                inside = np.minimum(np.minimum(y, 1.2 * y - scene.ramp_side * x), scene.ramp_side * x + scene.radius)
            image = _blend(image, scene.wedge, inside * scale)
        offsets = np.stack([columns, rows], -1)[None] / scale - positions[:, None, None, :]
        distance = scene.radius - np.sqrt((offsets**2).sum(-1))
        frames = _blend(np.broadcast_to(image, (len(positions), *image.shape)), scene.ball, distance * scale)
        return np.round(frames * 255).astype(np.uint8)


def _blend(image: np.ndarray, color: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Paint where the signed distance `inside` (pixels) is positive, with edges one pixel soft."""
    cover = np.clip(inside + 0.5, 0, 1)[..., None]
    return image * (1 - cover) + color * cover


class WorldWindows(World):
    """The two-way world as a source: drawing tosses the coin anew, a window's coin is fixed."""

    name = "the embedded two-way world"
    side = REFERENCE_SIDE

    def __init__(self, settings: DataSettings, offsets: Sequence[int], count: int, seed: int) -> None:
        super().__init__(settings, offsets, count, seed)
        known = settings.history_len
        self.world = ForkingBallWorld(known, offsets[-1] + 1 - known, self.side, settings.channels, seed)

    def window(self, index: int) -> np.ndarray:
        return self.sample(index, np.random.default_rng((self.seed, index, 1)))

    def sample(self, window: int, random: np.random.Generator) -> np.ndarray:
        return self.world.clip(window, 1 if random.random() < 0.5 else -1)[self.offsets]
