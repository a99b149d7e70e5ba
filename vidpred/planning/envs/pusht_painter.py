"""Images of PushT, equal to those of gym-pusht in every value but over ten times as fast; needs pygame.

gym-pusht draws the whole arena of 512 x 512 pixels through callbacks of its physics engine and scales it down. Here the
same shapes are drawn on a kept background, and only the parts of the arena that they touch are scaled down.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

from vidpred.data.resize import resize_frame

ARENA = 512
AGENT_COLOR, BLOCK_COLOR, WALL_COLOR, GOAL_COLOR = (65, 105, 225), (119, 136, 153), (211, 211, 211), (144, 238, 144)
AGENT_RADIUS = 15
T_PARTS = (((-60, 0), (60, 0), (60, 30), (-60, 30)), ((-15, 30), (15, 30), (15, 120), (-15, 120)))  # bar, stem
GOAL_POSE = (256.0, 256.0, np.pi / 4)
WALLS = (((5, 506), (5, 5)), ((5, 5), (506, 5)), ((506, 5), (506, 506)), ((5, 506), (506, 506)))
WALL = 10  # walls are drawn within this distance of the arena's edge, over agent and block
OUTLINE = 2  # radius of outlines


class PushTPainter:
    """Paints frames of PushT as gym-pusht does, for one size of frames."""

    def __init__(self, size: int, image: int) -> None:
        """Draw the background.

        Args:
            size: Side of the frames in pixels.
            image: Side of the environment's images, from which frames are scaled down.
        """
        import pygame

        self.draw: Any = pygame.draw
        self.size, self.image = size, image
        # Frames of these sizes are means over squares of the arena, so that a part can be scaled down separately.
        self.square = ARENA // size if image == ARENA // 2 and image % size == 0 else 0
        self.canvas: Any = pygame.Surface((ARENA, ARENA), depth=32)
        self.canvas.fill((255, 255, 255))
        for part in _corners(*GOAL_POSE):
            self.draw.polygon(self.canvas, GOAL_COLOR, part)
        self._draw_walls()
        self.empty = self.canvas.copy()
        self.background = self._scaled(0, 0, ARENA, ARENA)

    def paint(self, state: np.ndarray) -> np.ndarray:
        """Paint the frame `(size, size, 3)` uint8 of a state `(7,)`."""
        x, y, block_x, block_y, angle = (float(value) for value in state[:5])
        parts, agent = _corners(block_x, block_y, angle), (round(x), round(y))
        for part in parts:
            self.draw.polygon(self.canvas, _light(BLOCK_COLOR), part)
            for start, end in zip(part, part[1:] + part[:1], strict=True):
                self._draw_thick(start, end, BLOCK_COLOR)
        self.draw.circle(self.canvas, AGENT_COLOR, agent, AGENT_RADIUS, 0)
        self.draw.circle(self.canvas, _light(AGENT_COLOR), agent, AGENT_RADIUS - 4, 0)
        touched = [self._around([agent], AGENT_RADIUS + 1), self._around(parts[0] + parts[1], OUTLINE + 2)]
        if any(min(area[:2]) < WALL or max(area[2:]) > ARENA - WALL for area in touched):
            self._draw_walls()
        frame = self.background.copy() if self.square else self._scaled(0, 0, ARENA, ARENA)
        for left, top, right, bottom in touched:
            if self.square and right > left and bottom > top:
                rows, columns = (slice(a // self.square, b // self.square) for a, b in ((top, bottom), (left, right)))
                frame[rows, columns] = self._scaled(left, top, right, bottom)
        for left, top, right, bottom in touched:
            area = (left, top, right - left, bottom - top)
            self.canvas.blit(self.empty, area[:2], area)
        return frame

    def _around(self, points: list[tuple[int, int]], margin: int) -> tuple[int, int, int, int]:
        """Return the squares around points, within the arena: left, top, right and bottom in pixels of the arena."""
        side, (across, down) = self.square or 1, zip(*points, strict=True)
        low = [max((min(values) - margin) // side * side, 0) for values in (across, down)]
        high = [min(-(-(max(values) + margin + 1) // side) * side, ARENA) for values in (across, down)]
        return low[0], low[1], high[0], high[1]

    def _scaled(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        """Return a part of the arena as a part of a frame, scaled as the environment's image and then as frames are."""
        raw = np.frombuffer(self.canvas.get_buffer(), np.uint8).reshape(ARENA, -1, 4)  # blue, green, red, unused
        share = self.image / ARENA
        width, height = round((right - left) * share), round((bottom - top) * share)
        part = cv2.resize(raw[top:bottom, left:right], (width, height))
        part = resize_frame(part, (round(height * self.size / self.image), round(width * self.size / self.image)))
        return np.ascontiguousarray(part[:, :, 2::-1])

    def _draw_walls(self) -> None:
        for start, end in WALLS:
            self._draw_thick(start, end, WALL_COLOR)

    def _draw_thick(self, start: tuple[int, int], end: tuple[int, int], color: tuple[int, int, int]) -> None:
        """Draw a segment as pymunk's `draw_fat_segment` does: a line, a polygon along it and round ends."""
        self.draw.lines(self.canvas, color, False, [start, end], 2 * OUTLINE)
        across, down = abs(end[1] - start[1]), abs(end[0] - start[0])
        if across or down:
            length = (across * across + down * down) ** 0.5
            across, down = round(across * OUTLINE / length), round(down * OUTLINE / length)
            points = [
                (start[0] - across, start[1] - down), (start[0] + across, start[1] + down),
                (end[0] + across, end[1] + down), (end[0] - across, end[1] - down),
            ]  # fmt: skip
            self.draw.polygon(self.canvas, color, points)
        for point in (start, end):
            self.draw.circle(self.canvas, color, point, OUTLINE)


@cache
def _light(color: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the color of a fill: 1.2 times the shape's, as pymunk's `light_color`."""
    return tuple(min(round(1.2 * value), 255) for value in color)


def _corners(x: float, y: float, angle: float) -> list[list[tuple[int, int]]]:
    """Return the corners of bar and stem of the T in whole pixels."""
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return [[(round(x + cos * a - sin * b), round(y + sin * a + cos * b)) for a, b in part] for part in T_PARTS]
