"""Poses of rigid objects of known colors, read from images: position, and rotation relative to a reference image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field

import torch
import torch.nn.functional as functional
from torch import Tensor

HARMONICS = 5  # angular frequencies of a silhouette; pixels of 1/8 of an object's length resolve no more
ANGLES = 128  # rotations to try before the best is refined; the narrowest peak of the fit is 12 of them wide
NOISE = 0.04  # coverage below this is taken for noise; on PushT at 32 px, .02 to .08 differ by 5 % in accuracy
SMALLER = 0.02  # preference for the smallest rotation, so that a symmetric object has no arbitrary one
SIDE = 32  # larger images are averaged over squares, down to a short side of at least this
LEAST_AREA = 0.5  # share of its area in the reference below which an object counts as partly lost


@dataclass(frozen=True)
class Poses:
    """Poses of M objects in each of N images.

    Attributes:
        position: Centroids (x, y) in widths of the image, `(N, M, 2)`.
        angle: Rotation from the reference image in radians, x towards y, `(N, M)` in (-pi, pi].
        area: Covered area as a share of that in the reference image, `(N, M)`.
    """

    position: Tensor
    angle: Tensor
    area: Tensor


@dataclass(frozen=True, eq=False)
class PoseReader:
    """Reads the poses of rigid objects from images, given their colors and a reference image that shows them.

    Nothing about their shapes is given: the extent of an object and its silhouette come from the reference image. All
    results are differentiable with respect to the images.

    Attributes:
        reference: Image with all objects, `(C, H, W)` in [0, 1].
        colors: Colors of the M objects as rendered, `(C,)` each in [0, 1], M <= C.
        background: Image without the objects, `(C, H, W)` in [0, 1], see `median_image`.
        rotating: For each object, whether to read its rotation, which is 0 otherwise; None: of all objects.

    Raises:
        ValueError: A shape does not match, there are more colors than channels, or an object is not in the reference.
    """

    reference: InitVar[Tensor]
    colors: InitVar[Sequence[Sequence[float]]]
    background: Tensor
    rotating: Sequence[bool] | None = None
    square: int = field(init=False)  # side of the squares over which images are averaged, in pixels
    behind: Tensor = field(init=False)  # the background, averaged
    unmixing: Tensor = field(init=False)  # (H, W, M, C)
    radii: list[float] = field(init=False)  # of the objects, in squares
    silhouettes: list[Tensor] = field(init=False)  # of the reference, `(HARMONICS,)` complex each
    areas: Tensor = field(init=False)  # (M,) squares
    poses: Poses = field(init=False)  # of the reference, N = 1

    def __post_init__(self, reference: Tensor, colors: Sequence[Sequence[float]]) -> None:
        channels, needed = len(self.background), torch.tensor([list(color) for color in colors])
        if reference.shape != self.background.shape or needed.dim() != 2 or needed.shape[1] != channels:
            raise ValueError(
                f"reference {tuple(reference.shape)}, background {tuple(self.background.shape)} and colors "
                f"{tuple(needed.shape)} must be (C, H, W), (C, H, W) and (M, C)"
            )
        if len(needed) > channels:
            raise ValueError(
                f"{len(needed)} colors cannot be separated in {channels} channels; give at most {channels}"
            )
        _set(self, square=max(1, min(reference.shape[-2:]) // SIDE))
        _set(self, behind=self._averaged(self.background[None])[0])
        _set(self, unmixing=unmixing_matrix(needed.to(self.behind), self.behind))
        coverage = self.coverage(reference[None])[0]
        _set(self, radii=[_radius(one, number) for number, one in enumerate(coverage)])
        found = [measure(one[None], radius)[1] for one, radius in zip(coverage, self.radii, strict=True)]
        shapes = [harmonics(offsets, radius)[0] for offsets, radius in zip(found, self.radii, strict=True)]
        _set(self, silhouettes=shapes, areas=torch.cat([area for *_, area in found]))
        _set(self, poses=self.read(reference[None]))

    def coverage(self, images: Tensor) -> Tensor:
        """Compute how much of every square each object covers, `(N, M, h, w)` >= 0, from images `(N, C, H, W)`.

        A square is modeled as the background plus, for each object, its coverage times (color - background), by linear
        least squares. Unlike a threshold on colors, this measures squares that are covered partly.
        """
        mixed = self._averaged(images) - self.behind.to(images)
        matrices = self.unmixing.to(images).permute(2, 3, 0, 1)  # (M, C, h, w)
        return functional.relu(torch.stack([(mixed * one).sum(1) for one in matrices], 1) - NOISE)

    def read(self, images: Tensor) -> Poses:
        """Read the poses of all objects from images `(N, C, H, W)` in [0, 1]."""
        if images.dim() != 4 or images.shape[1:] != self.background.shape:
            expected = tuple(self.background.shape)
            raise ValueError(f"images must be (N, C, H, W) = (N, {str(expected)[1:]}, not {tuple(images.shape)}")
        centers, areas, angles = [], [], []
        for number, one in enumerate(self.coverage(images).unbind(1)):
            center, offsets = measure(one, self.radii[number])
            centers.append(center * (self.square / images.shape[-1]))
            areas.append(offsets[-1] / self.areas[number].to(images))
            if self.rotating is None or self.rotating[number]:
                shape = harmonics(offsets, self.radii[number])
                angles.append(rotation(shape, self.silhouettes[number].to(shape)))
            else:
                angles.append(torch.zeros_like(offsets[-1]))
        return Poses(torch.stack(centers, 1), torch.stack(angles, 1), torch.stack(areas, 1))

    def _averaged(self, images: Tensor) -> Tensor:
        if self.square == 1:
            return images
        return functional.avg_pool2d(images, self.square, ceil_mode=True, count_include_pad=False)


@dataclass(frozen=True)
class ObjectPose:
    """Distance of the poses of rigid objects from those in a goal image, in units of the tolerances.

    It is the root of the squared sum of two misses: the distance of all positions, as one point, over
    `position_tolerance`, and the rotations over `angle_tolerance`, so every frame below 1 is within both.

    Attributes:
        goal: `(C, H, W)` in [0, 1], with all objects.
        colors: Colors of the objects as rendered, `(C,)` in [0, 1].
        background: Image without the objects, `(C, H, W)`, see `median_image`.
        rotating: For each object, whether its rotation counts; None: all do. False for discs.
        position_tolerance: In widths of the image.
        angle_tolerance: In radians.
    """

    goal: Tensor
    colors: Sequence[Sequence[float]]
    background: Tensor
    rotating: Sequence[bool] | None = None
    position_tolerance: float = 0.04
    angle_tolerance: float = math.pi / 9
    reader: PoseReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rotating is not None and len(self.rotating) != len(self.colors):
            raise ValueError(
                f"rotating has {len(self.rotating)} entries for {len(self.colors)} colors; give one for each"
            )
        _set(self, reader=PoseReader(self.goal, self.colors, self.background, self.rotating))

    def __call__(self, frames: Tensor) -> Tensor:
        poses, goal = self.reader.read(frames.flatten(0, 1)), self.reader.poses
        missed = ((poses.position - goal.position.to(poses.position)) ** 2).sum((1, 2)) / self.position_tolerance**2
        missed = missed + (poses.angle**2).sum(1) / self.angle_tolerance**2
        lost = functional.relu(1 - poses.area / LEAST_AREA).sum(1) / self.position_tolerance  # an image's width
        return torch.unflatten((missed + 1e-12).sqrt() + lost, 0, frames.shape[:2])


Offsets = tuple[Tensor, Tensor, Tensor, Tensor]  # coverage (N, h, w), x and y from the center, area (N,)


def measure(coverage: Tensor, radius: float) -> tuple[Tensor, Offsets]:
    """Compute an object's center `(N, 2)` in squares, and what its `harmonics` need.

    The center of all coverage is only the start: after it, what is farther than the object's radius does not count.
    """
    weights, x, y = _cropped(coverage, _centroid(coverage, *_grid(coverage)), radius)
    weights, x, y = _cropped(coverage, _centroid(weights, x, y), radius)
    center = _centroid(weights, x, y)
    weights = weights * _window(x, y, center, radius)
    center = _centroid(weights, x, y)
    return center, (weights, x - center[:, :1, None], y - center[:, 1:, None], weights.sum((1, 2)))


def harmonics(offsets: Offsets, radius: float) -> Tensor:
    """Compute the angular harmonics of a silhouette, `(N, HARMONICS)` complex."""
    weights, x, y, area = offsets
    offset = torch.complex(*torch.broadcast_tensors(x, y))
    size = (offset.real**2 + offset.imag**2 + 1e-8).sqrt()
    turn, term, found = offset / size, weights * size, []
    for _ in range(HARMONICS):
        term = term * turn
        found.append(term.sum((1, 2)))
    return torch.stack(found, 1) / (radius * (area[:, None] + 1e-6))


def unmixing_matrix(colors: Tensor, background: Tensor) -> Tensor:
    """Return the least-squares matrices `(H, W, M, C)` from a pixel minus the background to the coverages of colors."""
    matrices: Tensor = torch.linalg.pinv(colors.T - background.permute(1, 2, 0)[..., None], rtol=1e-3)
    return matrices


def median_image(frames: Tensor) -> Tensor:
    """Return the median `(C, H, W)` of frames `(N, C, H, W)`: the background, where objects rarely cover a place."""
    median: Tensor = frames.median(0).values
    return median


def rotation(shape: Tensor, reference: Tensor) -> Tensor:
    """Compute the rotation `(N,)` between silhouettes from their harmonics `(N, HARMONICS)` and `(HARMONICS,)`.

    The fit of a rotation is the correlation of the two silhouettes. The best of `ANGLES` rotations is refined by one
    step of Newton's method, through which gradients flow.
    """
    orders = torch.arange(1, shape.shape[-1] + 1, device=shape.device, dtype=shape.real.dtype)
    product = shape * reference.conj()
    tried = torch.arange(ANGLES, device=shape.device) * (2 * math.pi / ANGLES) - math.pi
    phase = tried * orders[:, None]
    fit = product.real.detach() @ phase.cos() + product.imag.detach() @ phase.sin()
    fit = fit - SMALLER / math.pi * tried.abs() * fit.amax(1, keepdim=True)
    start = tried[fit.argmax(1)]
    turned = product * torch.polar(torch.ones_like(orders), -start[:, None] * orders)
    slope, curvature = (turned.imag * orders).sum(1), (turned.real * orders**2).sum(1)
    angle = start + (slope / curvature.clamp_min(1e-9)).clamp(-2 * math.pi / ANGLES, 2 * math.pi / ANGLES)
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _set(instance: object, **values: object) -> None:
    """Set fields of a frozen instance."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels' centers, x `(1, W)` and y `(H, 1)`, in pixels."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=images.dtype) + 0.5
    return x[None], (torch.arange(height, device=images.device, dtype=images.dtype) + 0.5)[:, None]


def _centroid(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Compute centroids `(N, 2)`; without any weight, the middle of the first pixel."""
    total = weights.sum((1, 2)) + 1e-6
    return torch.stack([(weights * x).sum((1, 2)) / total, (weights * y).sum((1, 2)) / total], 1)


def _window(x: Tensor, y: Tensor, center: Tensor, radius: float) -> Tensor:
    """Return 1 within the radius of the centers, falling to 0 over one pixel."""
    away = ((x - center[:, :1, None]) ** 2 + (y - center[:, 1:, None]) ** 2 + 1e-8).sqrt()
    return (radius + 1 - away).clamp(0, 1)


def _cropped(coverage: Tensor, center: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Cut squares that hold the radius around centers `(N, 2)` out of images; return them and their x and y."""
    margin = math.ceil(radius) + 1
    padded = functional.pad(coverage, (margin, margin, margin, margin))
    limits = torch.tensor(coverage.shape[:0:-1], device=center.device) - 1
    corner = torch.minimum(center.detach().floor().long().clamp_min(0), limits)  # of the crop, in the padded image
    offsets = torch.arange(2 * margin + 1, device=center.device)
    columns, rows = corner[:, :1] + offsets, corner[:, 1:] + offsets
    images = torch.arange(len(coverage), device=center.device)[:, None, None]
    x, y = (places.to(coverage.dtype) - margin + 0.5 for places in (columns, rows))
    return padded[images, rows[:, :, None], columns[:, None]], x[:, None], y[:, :, None]


def _radius(coverage: Tensor, number: int) -> float:
    """Return an object's largest distance from its centroid, in pixels, plus one."""
    largest = coverage.amax()
    if float(largest) < 0.1 or float(coverage.sum()) < 0.3:
        raise ValueError(
            f"object {number} (from 0) is not in the reference image: no pixel has its color; give the color as "
            "rendered, or an image with all objects"
        )
    x, y = _grid(coverage)
    center = _centroid(coverage[None], x, y)
    away = ((x - center[0, 0]) ** 2 + (y - center[0, 1]) ** 2).sqrt()
    return float(away[coverage > 0.3 * largest].max()) + 1
