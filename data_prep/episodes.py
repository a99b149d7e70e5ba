"""Base class of sets whose files hold arrays of episodes by name (HDF5, zarr).

Three arrangements are read: one group per episode (`data/demo_0/obs/<camera>`, `data/demo_0/actions`); arrays of all
episodes one after the other, with `meta/episode_ends` or `ep_offset` and `ep_len`; one episode per file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field

from vidpred.data.array_layout import as_uint8, find_layout, has_byte_values, one_clip
from vidpred.data.prepared.frame_writer import Clip, Item, as_numbers, reason
from vidpred.data.prepared.pipeline import MISSING
from vidpred.data.splits import FOLDERS, Part, whole_clips, with_validation
from vidpred.errors import UNREADABLE, ConfigError, DataError, one_line, printable, warn

from .base import CameraSet, bad_frames, clip_name, parts_by_clip, stacked, unique_stems, unlisted
from .frame_order import natural_order

LAYOUTS = {3: ("THW",), 4: ("THWC", "TCHW")}
EPISODE_ENDS, EPISODE_PLACES = ("meta/episode_ends", "episode_ends"), ("ep_offset", "ep_len")
ACTIONS, STATES = ("actions", "action"), ("states", "state", "proprio", "observations/qpos")
BLOCK = 64  # frames read at once
EPISODES_AN_ITEM = 50
BAD_EPISODE: tuple[type[Exception], ...] = (*UNREADABLE, DataError, IndexError)


class MissingArrayError(ConfigError):
    """A file lacks a camera, actions or states that were named; if all files do, the name is wrong."""


class EpisodeArrays(CameraSet):
    """Files with arrays of episodes."""

    rate: float = Field(10.0, gt=0, description="Frames per second.")
    actions: str | None = Field(None, description="Name of the actions. null: actions or action, if there are any.")
    states: str | None = Field(
        None, description="Name of the states. null: states, state, proprio or observations/qpos, if there are any."
    )

    def files(self) -> dict[str, Path]:
        """Return the files of the set by relative name."""
        raise NotImplementedError

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        """Open a file as nested mappings of arrays. Raises ConfigError without the package that reads it."""
        raise NotImplementedError

    def holes(self, array: Any) -> str:
        """Return what of an array is not stored; "" if everything is."""
        return ""

    def unusable(self) -> dict[str, Path]:
        return self.files()

    def items(self) -> list[Item]:
        files = self.files()
        if not files:
            raise self.absent()
        bad: list[Item] = []
        episodes: dict[str, dict[str, Any]] = {}
        official: dict[str, str] = {}
        stems, missing = unique_stems(files), None
        for name, path in files.items():
            stem = stems[name]
            prefix = "" if len(files) == 1 else f"{stem}/"
            try:
                with self.opened(path) as root:
                    found, splits = self._episodes(root), masks(root)
                    self._warn_of_holes(root, found, path)
            except UNREADABLE as error:
                bad.append(Item(name, (str(path),), bad=f"cannot read the file ({one_line(error)[:100]})"))
                continue
            except (DataError, MissingArrayError) as error:
                missing = error if isinstance(error, MissingArrayError) else missing
                bad.append(Item(name, (str(path),), bad=reason(error)))
                continue
            for one in found:
                clip = f"{prefix}{one['name']}" if one["name"] else stem
                if one["length"] > 0:
                    episodes[clip] = {**one, "file": name}
                else:
                    bad.append(Item(clip, (str(path),), bad=f"no frames [{', '.join(names_of(one['camera']))}]"))
            official |= {f"{prefix}{episode}": split for episode, split in splits.items()}
        if missing is not None and not episodes:
            raise missing
        parts = parts_by_clip(self._divided({name: one["length"] for name, one in episodes.items()}, official))
        bad += unlisted(episodes, parts)
        bad += [
            Item(name, (), bad=MISSING)
            for name in sorted(official.keys() - episodes.keys() - {one.name for one in bad})
        ]
        chosen: dict[str, list[dict[str, Any]]] = {name: [] for name in files}
        for clip, found_parts in parts.items():
            named = [[clip_name(part, found_parts), part.split, part.first, part.end] for part in found_parts]
            chosen[episodes[clip]["file"]].append({**episodes[clip], "parts": named})
        return bad + [
            Item(f"{name} from {first}" if first else name, (str(files[name]),), detail={"episodes": own[first:last]})
            for name, own in chosen.items()
            for first, last in ((i, i + EPISODES_AN_ITEM) for i in range(0, len(own), EPISODES_AN_ITEM))
        ]

    def _warn_of_holes(self, root: Any, found: list[dict[str, Any]], path: Path) -> None:
        for place in dict.fromkeys((one["group"], name) for one in found for name in names_of(one["camera"])):
            array = root.get("/".join(filter(None, place)))
            if array is not None and (missing := self.holes(array)):
                name = printable("/".join(filter(None, place)))
                warn(f"{missing} [{printable(path)}: {name}]")

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        path = Path(item.files[0])
        try:
            with self.opened(path) as root:
                episodes = item.detail["episodes"]
                as_bytes = {  # of all episodes: one may be dark
                    name: any(has_bytes(root, episode, name) for episode in episodes)
                    for name in names_of(episodes[0]["camera"])
                }
                for episode in episodes:
                    yield from self._clips(root, episode, as_bytes)
        except UNREADABLE as error:
            raise DataError(f"cannot read the file ({one_line(error)[:100]}) [{printable(path)}]") from None

    def _clips(self, root: Any, episode: dict[str, Any], as_bytes: dict[str, bool]) -> Iterator[Clip]:
        try:
            group = root[episode["group"]] if episode["group"] else root
            place = slice(episode["first"], episode["first"] + episode["length"])
            views = [View.of(group[name], name, place, as_bytes[name]) for name in names_of(episode["camera"])]
            values = {
                kind: rows_of(group, episode[kind], place, followed=kind == "actions") for kind in ("actions", "states")
            }
        except BAD_EPISODE as error:
            why = DataError(f"cannot read the episode ({one_line(error)[:100]})")
            yield from (Clip(name, split, bad_frames(why), self.rate) for name, split, *_ in episode["parts"])
            return
        for name, split, first, end in episode["parts"]:
            part = slice(place.start + first, place.start + end)
            own = {kind: None if rows is None else rows[first:end] for kind, rows in values.items()}
            frames = stacked([view.frames(part) for view in views])
            yield Clip(name, split, frames, self.rate, own["actions"], own["states"], cuts=())

    def _episodes(self, root: Any) -> list[dict[str, Any]]:
        """Return {name, group, camera, actions, states, first, length} of each episode; the name of one alone is empty.

        Raises:
            ConfigError: There are several cameras, or a given name is missing.
            DataError: There are no images.
        """
        ends = next((np.asarray(root[key][:]) for key in EPISODE_ENDS if hasattr(root.get(key), "shape")), None)
        if ends is not None:
            firsts, lengths = np.array([0, *ends])[:-1], np.diff([0, *ends])
        elif all(hasattr(root.get(key), "shape") for key in EPISODE_PLACES):
            firsts, lengths = (np.asarray(root[key][:]) for key in EPISODE_PLACES)
        else:
            return self._grouped(root)
        if not len(firsts):
            raise DataError("no episodes: the list of their ends, or of their lengths, is empty")
        check_ranges(firsts, lengths)
        group = "data" if "data" in root else ""
        names = self._names(root[group] if group else root)
        return [
            {**names, "name": f"episode_{number:06}", "group": group, "first": int(first), "length": int(length)}
            for number, (first, length) in enumerate(zip(firsts, lengths, strict=True))
        ]

    def _grouped(self, root: Any) -> list[dict[str, Any]]:
        base = "data" if "data" in root and not hasattr(root["data"], "shape") else ""
        outer = root[base] if base else root
        alone = any(getattr(outer.get(key), "shape", ()) for key in outer)  # arrays next to the groups: one episode
        groups = [] if alone else [key for key in outer if not hasattr(outer.get(key), "shape")]
        example = next((key for key in groups if outer.get(key) is not None and any(cameras(outer[key]))), None)
        groups = groups if example is not None else []
        places = {key: f"{base}/{key}" if base else key for key in sorted(groups, key=natural_order)} or {"": base}
        if not groups and not list(cameras(outer)):
            raise DataError("no images of episodes; expected arrays (T, H, W, C) in a group for each episode")
        found: list[dict[str, Any]] = []
        names = self._names(outer if example is None else outer[example])
        for key, place in places.items():
            group = root.get(place) if place else root
            views = [None if group is None else group.get(camera) for camera in names_of(names["camera"])]
            length = min(0 if view is None or not view.shape else int(view.shape[0]) for view in views)
            found.append({**names, "name": key, "group": place, "first": 0, "length": length})
        return found

    def _names(self, group: Any) -> dict[str, Any]:
        """Return the names of frames, actions and states in an episode."""
        known, chosen = list(cameras(group)), []
        for wanted in self.cameras or (None,):
            fitting = [name for name in known if wanted is None or name == wanted or name.endswith(f"/{wanted}")]
            if len(fitting) != 1:
                if not known:
                    raise DataError("no images; expected arrays (T, H, W, C) with C of 1, 3 or 4")
                what = "several cameras" if wanted is None else f"no camera={wanted}"
                error = ConfigError if wanted is None else MissingArrayError
                raise error(f"{what} [{self.source}]; set camera to one of {', '.join(known)}")
            chosen += fitting
        found: dict[str, Any] = {"camera": chosen[0] if len(chosen) == 1 else chosen}
        for kind, given, usual in (("actions", self.actions, ACTIONS), ("states", self.states, STATES)):
            if given is not None and given not in group:
                raise MissingArrayError(
                    f"no array {kind}={given} in an episode [{self.source}]; there are {', '.join(group)}"
                )
            name = given or next((name for name in usual if name in group), None)
            if name is not None and not hasattr(group[name], "shape"):
                inside = ", ".join(f"{name}/{key}" for key in group[name])
                raise MissingArrayError(f"a group, not an array: {name} [{self.source}]; set {kind} to one of {inside}")
            found[kind] = name
        return found

    def _divided(self, lengths: dict[str, int], official: dict[str, str]) -> list[Part]:
        """Divide by the set's own masks if there are some for training and another split, else like other sets."""
        splits = {name: split for name, split in official.items() if name in lengths}
        if self.splits or self.split != "auto" or not {"train", "test"} <= set(splits.values()):
            return self.parts(lengths) if lengths else []
        return whole_clips(lengths, with_validation(splits, self.fractions))


def has_bytes(root: Any, episode: dict[str, Any], camera: str) -> bool:
    """Return whether a camera's frames of an episode are bytes stored as floats; False if they cannot be read."""
    try:
        frames = (root[episode["group"]] if episode["group"] else root)[camera]
        if not np.issubdtype(frames.dtype, np.floating):
            return False
        place = slice(episode["first"], episode["first"] + episode["length"])
        return has_byte_values(np.asarray(frames[block]) for block in blocks(place))
    except BAD_EPISODE:
        return False


def check_ranges(firsts: np.ndarray, lengths: np.ndarray) -> None:
    """Check that no two episodes share rows, which could be in training and in the test. Raises DataError."""
    order = np.argsort(firsts, kind="stable")
    ends = np.maximum.accumulate((firsts + np.maximum(lengths, 0))[order])
    if (ends[:-1] > firsts[order][1:]).any() or len(firsts) != len(lengths):
        raise DataError("the rows of two episodes overlap; correct episode_ends, or ep_offset and ep_len")


def masks(root: Any) -> dict[str, str]:
    """Return the split of each episode in the lists of a group `mask`; without test, validation is the test list.

    Raises:
        DataError: An episode is in two lists.
    """
    group = root.get("mask", {})
    lists = {} if hasattr(group, "shape") else {FOLDERS[key]: group.get(key) for key in group if key in FOLDERS}
    lists = {split: names for split, names in lists.items() if len(getattr(names, "shape", None) or ()) == 1}
    if "test" not in lists and "validation" in lists:
        lists["test"] = lists.pop("validation")
    found: dict[str, str] = {}
    for split, names in lists.items():
        for name in np.asarray(names[:]):
            episode = name.decode() if isinstance(name, bytes) else str(name)
            if found.setdefault(episode, split) != split:
                raise DataError(f"episode {episode} is in the lists of {found[episode]} and {split}")
    return found


def cameras(group: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the names of all arrays of images in a group, except those of the next step and of goals.

    Links upwards are skipped, and goals, which stable-worldmodel's recorder stores with every step.
    """
    above = (*(above or ancestors(group)), group)
    for key in group:
        found = group.get(key)  # None for a link that leads nowhere
        if found is None or found in above or key.startswith("goal"):
            continue
        if not hasattr(found, "shape"):
            if key != "next_obs":
                yield from cameras(found, f"{prefix}{key}/", above)
        elif is_images(found.shape or ()):
            yield f"{prefix}{key}"


def is_images(shape: tuple[int, ...]) -> bool:
    """Return whether an array of a shape holds images with channels."""
    return len(shape) == 4 and min(sorted(shape[1:])[1:]) > 4 and min(shape[1:]) in (1, 3, 4)


def ancestors(group: Any) -> tuple[Any, ...]:
    """Return the groups above a group of an HDF5 file; other files have no links that lead there."""
    found: list[Any] = []
    while getattr(group, "parent", group) != group:
        group = group.parent
        found.append(group)
    return tuple(found)


def blocks(place: slice) -> list[slice]:
    """Divide a slice into slices of at most `BLOCK` frames."""
    return [slice(i, min(i + BLOCK, place.stop)) for i in range(place.start, place.stop, BLOCK)]


def names_of(camera: str | list[str]) -> list[str]:
    """Return the names of an episode's cameras."""
    return [camera] if isinstance(camera, str) else camera


@dataclass(frozen=True)
class View:
    """The frames of one camera: an array of any layout, whose values are bytes, or floats in [0, 1]."""

    array: Any
    layout: str
    as_bytes: bool

    @classmethod
    def of(cls, array: Any, name: str, place: slice, as_bytes: bool) -> Self:
        """Find the layout, and check that the rows are there. Raises an error of `BAD_EPISODE`."""
        layout = find_layout(array.shape, LAYOUTS, name, "use another camera")
        if place.start < 0 or place.stop > array.shape[0]:
            raise IndexError(f"rows {place.start} to {place.stop} of {array.shape[0]:,}")
        return cls(array, layout, as_bytes)

    def frames(self, place: slice) -> Iterator[np.ndarray]:
        """Yield frames `(H, W, C)` uint8. Raises DataError where they cannot be read."""
        for block in blocks(place):
            try:
                values = np.asarray(self.array[block])
            except UNREADABLE as error:
                raise DataError(f"cannot read frames {block.start} to {block.stop} ({one_line(error)[:100]})") from None
            for frame in one_clip(values, self.layout, 0):
                yield as_uint8(frame, self.as_bytes)


def rows_of(group: Any, name: str | None, place: slice, followed: bool) -> np.ndarray | None:
    """Return one row of values per frame, `(n, A)` float32; None without a name.

    Args:
        group: The episode.
        name: Name of the array in it.
        place: Rows of the episode.
        followed: Whether each row leads to the next frame, so that nothing follows the last one: where it is missing or
            not finite, it is filled with zeros.

    Raises:
        DataError: The values are no numbers.
    """
    if name is None:
        return None
    rows = as_numbers(group[name][place], f"{name} has values")
    rows = rows.reshape(len(rows), -1)
    missing = place.stop - place.start - len(rows)
    if followed and len(rows):
        rows = np.concatenate([rows, np.zeros_like(rows[:1])]) if missing == 1 else rows
        rows[-1] = rows[-1] if np.isfinite(rows[-1]).any() else 0
    return rows
