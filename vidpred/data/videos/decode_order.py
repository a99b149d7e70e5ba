"""A fast order for reading windows of video files: frames are decoded once for many windows.

Reading a window alone requires decoding everything from the keyframe before it. Windows are therefore divided into
decode groups, runs of consecutive windows that mostly start after the same keyframe. The order of an epoch keeps the
windows of a group close enough together that their frames stay cached until the last of them is read, and far enough
apart that a batch contains windows from hundreds of places.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

POOL_BYTES = 512 * 2**20  # decoded frames whose windows are shuffled together; changing it changes the order of runs
LEAST_WINDOWS = 32  # minimum size of a group, if the video has that many windows
LEAST_LENGTHS = 4  # minimum size of a group in window lengths, so that most windows share their frames with others
POOL_PARTS = 32  # a group takes at most 1 / POOL_PARTS of the pool


def group_ends(numbers: np.ndarray, keyframes: Sequence[int], length: int, most: int) -> list[int]:
    """Return the ends of the decode groups of one segment, in windows.

    Args:
        numbers: Index of the first frame of each window.
        keyframes: Frame indices at which decoding can start.
        length: Number of windows that start between the first and last frame of a window.
        most: Maximum number of windows in a group.
    """
    least = max(LEAST_WINDOWS, LEAST_LENGTHS * length)
    groups = np.searchsorted(np.asarray(keyframes), numbers, side="right")
    ends: list[int] = []
    begin = 0
    for change in [*(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(numbers)]:
        if change - begin >= least:
            ends.append(change)
            begin = change
    if begin < len(numbers):
        ends[-1:] = [len(numbers)]
    pieces: list[int] = []
    begin = 0
    for end in ends:
        parts = -(-(end - begin) // most)
        pieces += [begin + (end - begin) * part // parts for part in range(1, parts + 1)]
        begin = end
    return pieces


class DecodeGroups:
    """All windows of a source, divided into groups that are decoded together.

    Args:
        ends: End of each group in windows, ascending.
        costs: Bytes of each group's frames.
    """

    def __init__(self, ends: Sequence[int], costs: Sequence[int]) -> None:
        self.ends, self.costs = np.asarray(ends), np.asarray(costs, dtype=np.float64)

    def number(self, window: int) -> int:
        """Return the number of the group that a window belongs to."""
        return int(np.searchsorted(self.ends, window, side="right"))

    def windows(self, number: int) -> range:
        """Return the indices of the windows of a group."""
        return range(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))

    def shuffle(self, random: np.random.Generator) -> np.ndarray:
        """Return a permutation of all windows, drawn from `random`.

        The permutation is uniform if all frames fit into the pool. Otherwise the groups are laid out in random order
        along an axis of bytes, and each window is read at a random position within a fixed span after the start of its
        group. At any time, only the groups that started within the last span are being read, and decoding is spread
        evenly over the epoch.
        """
        count = int(self.ends[-1]) if len(self.ends) else 0
        if self.costs.sum() <= POOL_BYTES:
            return random.permutation(count)
        order = random.permutation(len(self.costs))
        begins = np.empty(len(order))
        begins[order] = np.cumsum(self.costs[order]) - self.costs[order]
        # A third of the pool is reserved for finished groups, which the cache cannot distinguish from the others.
        span = POOL_BYTES / 1.5
        sizes = np.diff(self.ends, prepend=0)
        return np.argsort(np.repeat(begins, sizes) + random.random(count) * span, kind="stable")


class DecodeCache:
    """An LRU cache of groups as (places, frames), `(n,)` int and `(n, H, W, C)` uint8; bounded in bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._held: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def get(self, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the places (frame indices, ascending) and frames of a group, or None if it is not cached."""
        if number in self._held:
            self._held.move_to_end(number)
        return self._held.get(number)

    def put(self, number: int, places: np.ndarray, frames: np.ndarray) -> None:
        """Add a group, and remove the least recently used ones while the cache is too large."""
        self._held[number] = (places, frames)
        self.bytes += frames.nbytes
        while self.bytes > self.most_bytes and len(self._held) > 1:
            self.bytes -= self._held.popitem(last=False)[1][1].nbytes
