"""Windows of a prepared data set: whole batches are cut from memory-mapped frames at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from vidpred.data.batch import Batch
from vidpred.data.counter_random import uniform
from vidpred.data.prepared.format import ClipEntry, Manifest, PreparedFrames
from vidpred.data.recorded_splits import RecordedSplits, warn_of_files
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Runs, Source, check_sizes, stack_rows
from vidpred.data.splits import Part
from vidpred.data.videos.windows import PATCH_TRIES, WINDOW_TRIES, first_moving, least_motion, movement
from vidpred.errors import DataError
from vidpred.files import check_input

TRIES = PATCH_TRIES * WINDOW_TRIES  # crops that are tried for enough motion
DRAWS_A_TRY = 3  # random numbers per try: window, row and column


class PreparedWindows(Source):
    """All windows of one split of a prepared data set; none spans a cut (`skip_cuts`)."""

    def __init__(
        self, folder: Path, manifest: Manifest, split: str, settings: DataSettings, offsets: Sequence[int]
    ) -> None:
        """Find all windows of a split.

        Raises:
            DataError: The settings contradict those with which the set was prepared.
        """
        check_settings(folder, manifest, settings)
        self.name, self.context_frames = str(folder), settings.context_frames
        self.manifest, self.settings = manifest, settings
        self.action_size, self.state_size = manifest.action_size * settings.frame_skip, manifest.state_size
        self.offsets = np.array(offsets) * settings.frame_skip
        recorded = _recorded(settings)
        splits = None if recorded is None else {part.clip: part.split for part in recorded.parts}
        self.prepared = PreparedFrames(folder, manifest, split, splits)
        self.changed = [] if recorded is None else _leave_out_changed(self.prepared, recorded)
        self.longest = 0
        self._segments: list[tuple[int, int]] = []  # (clip, first frame) of shots long enough for a window
        counts = []
        for number, clip in enumerate(self.prepared.clips):
            for first, end in _shots(clip, settings.video_settings.skip_cuts):
                self.longest = max(self.longest, end - first)
                windows = (end - first - int(self.offsets[-1]) - 1) // settings.frame_skip + 1
                if windows > 0:
                    self._segments.append((number, first))
                    counts.append(windows)
        self._runs = Runs(counts)
        self._frames: dict[int, np.ndarray] = {}
        self.classes = manifest.classes
        self.action_names = manifest.action_names * settings.frame_skip  # rows concatenate that many actions
        sizes = {(clip.height, clip.width) for clip in self.prepared.clips}
        self.frame_size = sizes.pop() if len(sizes) == 1 else None
        ranges = manifest.statistics.get("actions", {})
        if ranges.keys() >= {"low", "high"}:
            low, high = (ranges[end] * settings.frame_skip for end in ("low", "high"))
            self.action_bounds = low, high
        if self.classes and counts:
            self.labels = np.repeat([self.prepared.clips[clip].label for clip, _ in self._segments], counts)

    def __len__(self) -> int:
        return len(self._runs)

    def locate(self, window: int) -> tuple[int, int]:
        """Return the number of a window's clip, and the index of the window's first frame in that clip."""
        run, place = self._runs.locate(window)
        clip, first = self._segments[run]
        return clip, first + place * self.settings.frame_skip

    def clip_name(self, index: int) -> str:
        return self.prepared.clips[self.locate(index)[0]].clip

    def frames(self, clip: int) -> np.ndarray:
        """Return all frames of clip number `clip`, memory-mapped `(n, C, H, W)` uint8."""
        self.prepared.check_present(self.prepared.clips[clip])
        if clip not in self._frames:
            self._frames[clip] = self.prepared.frames(self.prepared.clips[clip])
        return self._frames[clip]

    def window(self, index: int) -> np.ndarray:
        clip, first = self.locate(index)
        return np.transpose(self.frames(clip)[first + self.offsets], (0, 2, 3, 1))

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        settings = self.settings
        least = least_motion(settings)
        tries = TRIES if least else 1
        chances = uniform(seed, np.asarray(positions), 1 + DRAWS_A_TRY * tries)
        places = [
            first_moving(self._tried(window, row), self._movement, least)
            for window, row in zip(windows, chances[:, 1:].tolist(), strict=True)
        ]
        check_sizes({place.shape for place in places})
        skip, context_frames, future_frames = settings.frame_skip, settings.context_frames, settings.future_frames
        jump = (context_frames - 1 + settings.lead) * skip  # from the first context frame to the first future frame
        context = np.empty((len(places), context_frames, *places[0].shape), np.uint8)
        future = np.empty((len(places), future_frames, *places[0].shape), np.uint8)
        for row, place in enumerate(places):
            crop = place.crop
            if context_frames:
                context[row] = crop[place.first : place.first + (context_frames - 1) * skip + 1 : skip]
            start = place.first + jump
            future[row] = crop[start : start + (future_frames - 1) * skip + 1 : skip]
        if settings.augment_settings.horizontal_flip:
            for row in np.flatnonzero(chances[:, 0] < 0.5).tolist():
                if context_frames:
                    flip_in_place(context[row])
                flip_in_place(future[row])
        return Batch(
            torch.from_numpy(context),
            torch.from_numpy(future),
            torch.tensor(positions),
            stack_rows(self.actions(place.clip, place.first) for place in places) if self.action_size else None,
            stack_rows(self.states(place.clip, place.first) for place in places) if self.state_size else None,
            torch.tensor([self.prepared.clips[place.clip].label for place in places]) if self.classes else None,
        )

    def _tried(self, window: int, chances: list[float]) -> Iterator[Place]:
        """Yield candidate crops of a window, then of other random windows."""
        for number in range(len(chances) // DRAWS_A_TRY):
            if number and number % PATCH_TRIES == 0:
                window = int(chances[number * DRAWS_A_TRY] * len(self))
            clip, first = self.locate(window)
            row, column = chances[number * DRAWS_A_TRY + 1 : (number + 1) * DRAWS_A_TRY]
            yield Place(clip, first, self._crop(clip, row, column))

    def _movement(self, place: Place) -> float:
        """Compare the last context frame with the first future one."""
        last = place.first + (self.settings.context_frames - 1) * self.settings.frame_skip
        return movement(place.crop[last], place.crop[last + self.settings.lead * self.settings.frame_skip])

    def _crop(self, clip: int, row: float, column: float) -> np.ndarray:
        """Return all frames of a clip, cropped; row and column in [0, 1) choose the position of the crop."""
        frames, side = self.frames(clip), self.settings.crop_size
        if side is None:
            return frames
        height, width = frames.shape[2:]
        if min(height, width) < side:
            name = self.prepared.clips[clip].clip
            raise DataError(f"frames of {width}x{height} are smaller than data.crop_size={side} [{name}]")
        top, left = int(row * (height - side + 1)), int(column * (width - side + 1))
        return frames[:, :, top : top + side, left : left + side]

    def actions(self, clip: int, first: int) -> np.ndarray | None:
        """Return the actions of the window of clip number `clip` at frame `first`, `(N-1, A * frame_skip)` float32."""
        return self._actions(clip, first, int(self.offsets[-1]))

    def _actions(self, clip: int, first: int, frames: int) -> np.ndarray | None:
        """Return the actions from frame `first` to `frames` frames later, a multiple of data.frame_skip."""
        if not self.manifest.action_size:
            return None
        rows = self.prepared.actions(self.prepared.clips[clip])[first : first + frames]
        return rows.reshape(frames // self.settings.frame_skip, self.action_size)

    def action_statistics(self) -> tuple[list[float], list[float]]:
        statistics = self.manifest.statistics["actions"]
        skip = self.settings.frame_skip  # a row concatenates the actions of this many frames
        return statistics["mean"] * skip, statistics["deviation"] * skip

    def window_actions(self, index: int) -> np.ndarray | None:
        return self.actions(*self.locate(index))

    def states(self, clip: int, first: int) -> np.ndarray | None:
        """Return the states of the window of clip number `clip` at frame `first`, `(N, S)` float32."""
        return self._states(clip, first, int(self.offsets[-1])) if self.manifest.state_size else None

    def _states(self, clip: int, first: int, frames: int) -> np.ndarray:
        rows = self.prepared.states(self.prepared.clips[clip])
        return rows[first : first + frames + 1 : self.settings.frame_skip]

    def state_statistics(self) -> tuple[list[float], list[float]]:
        statistics = self.manifest.statistics["states"]
        return statistics["mean"], statistics["deviation"]

    def window_states(self, index: int) -> np.ndarray | None:
        return self.states(*self.locate(index))

    def sequences(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for (clip, first), windows in zip(self._segments, self._runs.counts, strict=True):
            frames = (windows - 1) * self.settings.frame_skip + int(self.offsets[-1])
            yield self._states(clip, first, frames), self._actions(clip, first, frames)


def flip_in_place(frames: np.ndarray) -> None:
    """Flip contiguous `(..., H, W)` uint8 frames left to right in place, using OpenCV's vectorized flip."""
    rows = frames.reshape(-1, frames.shape[-1])
    cv2.flip(rows, 1, rows)


class Place(NamedTuple):
    """The location of a sample: the clip number, the first frame, and all frames of the clip, cropped."""

    clip: int
    first: int
    crop: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of the crop."""
        return self.crop.shape[1:]


def check_settings(folder: Path, manifest: Manifest, settings: DataSettings) -> None:
    """Check the settings against those with which a set was prepared.

    Raises:
        DataError: A setting cannot be applied to the prepared frames.
    """
    if settings.size not in (None, manifest.size):
        raise DataError(
            f"prepared at {f'size {manifest.size}' if manifest.size else 'the size of the source'}, not "
            f"data.size={settings.size} [{folder}]; set data.size={'null' if manifest.size is None else manifest.size}"
            f", or prepare it again with size={settings.size}"
        )
    if settings.channels != manifest.channels:
        raise DataError(
            f"the frames have {manifest.channels} channels [{folder}]; set data.channels={manifest.channels}"
        )
    if settings.augment_settings.horizontal_flip and manifest.action_size:
        raise DataError(
            f"flipped frames would contradict the actions [{folder}]; set data.augment.horizontal_flip=false"
        )
    if settings.world_settings.synthetic_share:
        raise DataError(f"prepared data sets cannot be mixed [data.world.synthetic_share] [{folder}]; remove it")
    fps = settings.video_settings.fps
    if fps is not None:
        raise DataError(f"prepared frames cannot be resampled [data.video.fps={fps:g}]; remove it")
    if settings.split_file is not None and _recorded(settings) is None:
        raise DataError(f"a prepared data set has its own splits [data.split_file={settings.split_file}]; remove it")


def _recorded(settings: DataSettings) -> RecordedSplits | None:
    """Return the splits that a run stores, if the settings name them."""
    return None if settings.split_file is None else RecordedSplits.read(Path(settings.split_file))


def _leave_out_changed(prepared: PreparedFrames, recorded: RecordedSplits) -> list[str]:
    """Remove the clips that changed since a run began, which may hold data of other splits, and return their names."""
    changed = [clip.clip for clip in prepared.clips if recorded.has_changed(clip.clip, prepared.content(clip))]
    prepared.clips = [clip for clip in prepared.clips if clip.clip not in set(changed)]
    return changed


def record_prepared_splits(settings: DataSettings) -> RecordedSplits | None:
    """Return the splits of a prepared data set for `RecordedSplits.write`; None for other data. Raises DataError."""
    folder = Path(str(settings.root))
    manifest = Manifest.load(folder)
    if manifest is None or manifest.videos is not None:
        return None
    prepared = PreparedFrames(folder, manifest, "", {})
    clips = prepared.everything
    contents = {clip.clip: prepared.content(clip) for clip in clips}
    return RecordedSplits(
        [Part(clip.clip, clip.split, 0, clip.frames) for clip in clips],
        {clip.clip: clip.bytes for clip in clips},
        contents,
    )


def _shots(clip: ClipEntry, skip_cuts: bool) -> list[tuple[int, int]]:
    """Return (first, end) of the shots of a clip; without `skip_cuts`, the clip is one shot."""
    cuts = [cut for cut in clip.cuts if 0 < cut < clip.frames] if skip_cuts else []
    return list(pairwise([0, *cuts, clip.frames]))


def prepared_source(
    settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False
) -> Source | None:
    """Build the windows of a prepared data set; return None for other data.

    Raises:
        DataError: The split has no window, or the settings contradict the set.
    """
    folder = Path(str(settings.root))
    manifest = Manifest.load(folder)
    if manifest is None or manifest.videos is not None:
        return None
    source = PreparedWindows(folder, manifest, split, settings, offsets)
    recorded = _recorded(settings)
    if progress and recorded is not None:
        clips = {clip.clip: clip.bytes for clip in source.prepared.everything}
        recorded.warn_of_changes(dict.fromkeys(clips, 0), {}, folder)
        warn_of_files(source.changed, "changed since the run began are not used, as they may hold other splits", folder)
    if recorded is not None and not source.prepared.clips:
        raise recorded.nothing_left(split, folder)
    if not len(source) and not settings.context_frames:
        raise DataError(f"no {split} image [{folder}]; prepare the set again with more images, or other splits")
    if not len(source):
        raise DataError(
            f"no {split} window: {len(source.prepared.clips)} clips, the longest shot has {source.longest} of the "
            f"{source.offsets[-1] + 1} frames needed [{folder}]; lower data.context_frames, or data.pred_frames"
        )
    return source


def listed_videos(settings: DataSettings) -> DataSettings:
    """Return the settings with the root and splits of the videos that a prepared data set lists, if it lists any."""
    if settings.root is not None:
        check_input(Path(settings.root))
    manifest = Manifest.load(Path(settings.root)) if settings.root is not None else None
    if manifest is None or manifest.videos is None:
        return settings
    folder = Path(str(settings.root))
    listing = folder / "splits.csv"  # missing if the videos are divided by time
    changes = {"root": str(folder / manifest.videos)}
    if settings.split_file is None and listing.is_file():
        changes["split_file"] = str(listing)
    return settings.model_copy(update=changes)
