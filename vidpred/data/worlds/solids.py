"""A world of rotating solids: a head of spheres with two ears, a nose and a thin rod rotates about a tilted axis.

After Lotter, Kreiman & Cox 2015 ("Unsupervised learning of visual structure using predictive generative networks"), who
used rotating heads. The future is deterministic, so a blurry prediction has lost detail, not averaged over futures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidpred.data.worlds.base import DeterministicWorld

SIDE = 32
LIGHT = np.array([-0.5, -0.6, 0.62])  # unit vector towards the light; the viewer is at +z
FAINT = (0.25, 0.45)  # brightness of ears and rod
ROD_SPHERES = 7


@dataclass(frozen=True)
class Solid:
    """A rotating head made of spheres.

    Attributes:
        centers: `(n, 3)`, centers of the spheres in the coordinates of the head.
        radii: `(n,)`.
        brightness: `(n,)`, in [0, 1].
        details: `(n,)` bool, whether a sphere belongs to the ears or the rod.
        axis: `(3,)`, rotation axis of length 1.
        start: Angle at frame 0 in radians.
        turn: Rotation per frame in radians.
    """

    centers: np.ndarray
    radii: np.ndarray
    brightness: np.ndarray
    details: np.ndarray
    axis: np.ndarray
    start: float
    turn: float


def make_solid(seed: int, index: int) -> Solid:
    """Draw a solid as a function of (seed, index)."""
    random = np.random.default_rng((seed, index))
    radius = random.uniform(0.5, 0.62)
    faint, bright = random.uniform(*FAINT), random.uniform(0.75, 1.0)
    height, spread = random.uniform(-0.1, 0.2), random.uniform(1.0, 1.15)
    ears = np.array([[spread, height, 0], [-spread, height, 0]]) * radius
    nose = np.array([[0, random.uniform(-0.2, 0.1), 1.0]]) * radius
    direction = np.array([random.uniform(-0.3, 0.3), -1, random.uniform(-0.3, 0.3)])
    rod = np.linspace(1.0, 1.6, ROD_SPHERES)[:, None] * radius * direction / np.linalg.norm(direction)
    centers = np.concatenate([np.zeros((1, 3)), ears, nose, rod])
    radii = np.array([radius, 0.14, 0.14, 0.17, *[0.05] * ROD_SPHERES])
    brightness = np.array([bright, faint, faint, bright * 0.8, *[faint] * ROD_SPHERES])
    details = np.array([False, True, True, False, *[True] * ROD_SPHERES])
    axis = np.array([random.uniform(-0.25, 0.25), 1, random.uniform(-0.25, 0.25)])
    turn = random.choice([-1, 1]) * random.uniform(0.12, 0.3)
    return Solid(centers, radii, brightness, details, axis / np.linalg.norm(axis), random.uniform(0, 2 * np.pi), turn)


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the 3x3 matrix of a rotation about an axis `(3,)` of length 1 by an angle in radians (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def render(solid: Solid, angle: float, side: int = SIDE, details: bool = True) -> np.ndarray:
    """Render the visible spheres, lit from one side, with four samples per pixel.

    Args:
        solid: The head.
        angle: Rotation in radians.
        side: Side of the image in pixels.
        details: Whether to render the ears and the rod.

    Returns:
        `(side, side)` uint8.
    """
    centers = solid.centers @ rotation(solid.axis, angle).T
    places = (np.arange(2 * side) + 0.5) / side - 1
    front, values = np.full((2 * side, 2 * side), -np.inf), np.zeros((2 * side, 2 * side))
    for (x, y, z), radius, brightness, small in zip(centers, solid.radii, solid.brightness, solid.details, strict=True):
        if small and not details:
            continue
        # Restrict the computation to the bounding box, because most spheres are a few pixels wide.
        columns, rows = (slice(*np.searchsorted(places, (middle - radius, middle + radius))) for middle in (x, y))
        right, down = (places[columns] - x)[None], (places[rows] - y)[:, None]
        depth = radius**2 - right**2 - down**2
        height = np.sqrt(np.maximum(depth, 0))
        visible = (depth > 0) & (z + height > front[rows, columns])
        lit = (right * LIGHT[0] + down * LIGHT[1] + height * LIGHT[2]) / radius
        front[rows, columns] = np.where(visible, z + height, front[rows, columns])
        values[rows, columns] = np.where(
            visible, brightness * (0.35 + 0.65 * np.clip(lit, 0, 1)), values[rows, columns]
        )
    mean = values.reshape(side, 2, side, 2).mean((1, 3))
    return np.asarray(np.rint(mean * 255), np.uint8)


def render_frames(solid: Solid, numbers: Sequence[int], side: int = SIDE, details: bool = True) -> np.ndarray:
    """Render the frames of a turning solid, `(n, side, side, 1)` uint8.

    Args:
        solid: The solid.
        numbers: Numbers of the frames; each turns the solid further by the same rotation.
        side: Side in pixels.
        details: Whether to draw the faint details.
    """
    return np.stack([render(solid, solid.start + number * solid.turn, side, details) for number in numbers])[..., None]


class SolidWindows(DeterministicWorld):
    """A source in which every window is a clip of a different solid."""

    name = "the embedded world of rotating solids"
    side = SIDE

    def frames(self, index: int) -> np.ndarray:
        return render_frames(make_solid(self.seed, index), self.offsets, self.side)
