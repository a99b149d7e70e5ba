"""A world of balls of equal mass that bounce off each other and off the walls of a box, without friction.

After Sutskever, Hinton & Taylor 2008 ("The recurrent temporal restricted Boltzmann machine"). Balls move in straight
lines between collisions, so clips are computed exactly, from one collision to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidpred.data.worlds.base import DeterministicWorld

SIDE = 32
COUNT, RADIUS = 3, 0.24  # the box extends from -1 to 1
SPEED = (0.06, 0.16)  # per frame


@dataclass(frozen=True)
class Balls:
    """The state of the balls at one time.

    Attributes:
        places: `(n, 2)` float64 centers (x to the right, y down).
        velocities: `(n, 2)` float64, per frame.
        radius: Radius of all balls.
    """

    places: np.ndarray
    velocities: np.ndarray
    radius: float = RADIUS

    def after(self, time: float) -> Balls:
        """Return the balls `time` frames later, with all bounces in between."""
        places, velocities = self.places.copy(), self.velocities.copy()
        while True:
            walls = times_to_walls(places, velocities, 1 - self.radius)
            pairs = times_to_meet(places, velocities, 2 * self.radius)
            step = min(walls.min(), pairs.min())
            if step >= time:
                return Balls(places + velocities * time, velocities, self.radius)
            places += velocities * step
            time -= step
            if walls.min() == step:
                velocities[np.unravel_index(walls.argmin(), walls.shape)] *= -1
            else:
                bounce(places, velocities, *np.unravel_index(pairs.argmin(), pairs.shape))


def times_to_walls(places: np.ndarray, velocities: np.ndarray, limit: float) -> np.ndarray:
    """Compute when each coordinate reaches `limit` or `-limit`, depending on its direction: `(n, 2)`."""
    with np.errstate(divide="ignore"):
        times = (limit - places * np.sign(velocities)) / np.abs(velocities)
    return np.asarray(np.maximum(times, 0))


def times_to_meet(places: np.ndarray, velocities: np.ndarray, distance: float) -> np.ndarray:
    """Compute when approaching balls come within `distance` of each other.

    Returns:
        `(n, n)`, infinite if two balls never meet, and below the diagonal, so that each pair occurs once.
    """
    apart = places[None] - places[:, None]
    closing = velocities[None] - velocities[:, None]
    # The first solution, if any, of |apart + closing t|^2 = distance^2.
    square, half, rest = (closing**2).sum(2), (apart * closing).sum(2), (apart**2).sum(2) - distance**2
    root = half**2 - square * rest
    meet = np.triu((half < 0) & (root > 0), 1)
    times = np.full(meet.shape, np.inf)
    times[meet] = np.maximum((-half[meet] - np.sqrt(root[meet])) / square[meet], 0)
    return times


def bounce(places: np.ndarray, velocities: np.ndarray, one: np.intp, other: np.intp) -> None:
    """Exchange, in place, the velocity components of balls `one` and `other` along the line between their centers."""
    line = places[other] - places[one]
    line /= np.linalg.norm(line)
    exchanged = ((velocities[other] - velocities[one]) @ line) * line
    velocities[one] += exchanged
    velocities[other] -= exchanged


def make_balls(seed: int, index: int) -> Balls:
    """Draw balls that do not overlap, with random directions, as a function of (seed, index)."""
    random = np.random.default_rng((seed, index))
    limit = 1 - RADIUS
    places = np.zeros((0, 2))
    while len(places) < COUNT:
        place = random.uniform(-limit, limit, (1, 2))
        if not len(places) or np.linalg.norm(places - place, axis=1).min() > 2 * RADIUS:
            places = np.concatenate([places, place])
    angles, speeds = random.uniform(0, 2 * np.pi, COUNT), random.uniform(*SPEED, COUNT)
    return Balls(places, speeds[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1))


def render(balls: Balls, side: int = SIDE) -> np.ndarray:
    """Render white discs with soft edges, `(side, side, 1)` uint8."""
    centers = (np.arange(side) + 0.5) / side * 2 - 1  # of pixels
    right, down = (centers[None] - balls.places[:, axis, None] for axis in (0, 1))  # (n, side) each
    distances = right[:, None] ** 2 + down[:, :, None] ** 2
    light = np.exp(-((distances / balls.radius**2) ** 4)).sum(0)
    return np.asarray(np.rint(np.minimum(light, 1) * 255), np.uint8)[..., None]


class BallWindows(DeterministicWorld):
    """A source in which every window is a clip of different balls."""

    name = "the embedded world of bouncing balls"
    side = SIDE

    def frames(self, index: int) -> np.ndarray:
        balls = make_balls(self.seed, index)
        return np.stack([render(balls.after(number), self.side) for number in self.offsets])
