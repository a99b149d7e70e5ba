"""Arrays of frames in .npy or .npz files, with optional actions and states in .npz files.

    vidpred prepare numpy episodes.npz data/episodes
    vidpred prepare numpy arrays/ data/arrays layout=TNHW rate=10

The letters of layout name the axes: N clips, T time, H height, W width, C channels (1, 3, or 4 with opacity, which is
composited over black). Without layout, the reading of the shape is printed; where several fit, layout is required.
Values are integers in [0, 255], or float in [0, 1] or whole numbers in [0, 255]. Actions have the N and T axes of the
frames, then one of values: row t leads from frame t to frame t+1; the last row may be omitted.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from vidpred.data.array_layout import (
    CLIPS,
    as_uint8,
    check_layout,
    find_layout,
    has_byte_values,
    one_clip,
    print_readings,
    read_entry,
)
from vidpred.data.prepared.frame_writer import Clip, Item, reason
from vidpred.data.splits import Part
from vidpred.data.videos.index import find_files
from vidpred.errors import UNREADABLE, DataError, counted, one_line, printable
from vidpred.files import check_regular

from .base import DividedSet, clip_name, parts_by_clip, unique_stems, unlisted
from .command import main

BLOCK = 500  # clips of an .npy file per item
FRAME_KEYS = ("frames", "video", "images")


class Numpy(DividedSet):
    """Files of arrays with one clip, or many clips (axis N), each."""

    name: ClassVar[str] = "numpy"
    about: ClassVar[str] = "arrays of frames in .npy or .npz files, with actions and states"
    expects: ClassVar[str] = "an .npy or .npz file, or a folder of them at any depth"

    layout: str | None = Field(
        None, description="Axes, such as TNHW. null: the usual one that fits the shape, if only one does."
    )
    rate: float = Field(10.0, gt=0, description="Frames per second.")
    frames_key: str | None = Field(
        None, description="Array of frames in an .npz file. null: frames, video, images, or the only array."
    )
    actions_key: str | None = Field(
        None, description="Array of actions in an .npz file. null: actions, if there is such an array."
    )
    states_key: str | None = Field(
        None, description="Array of states in an .npz file. null: states, if there is such an array."
    )

    def unusable(self) -> dict[str, Path]:
        return array_files(self.source)

    @field_validator("layout")
    @classmethod
    def _axes(cls, layout: str | None) -> str | None:
        if layout is not None and (len(set(layout)) < len(layout) or not set("THW") <= set(layout) <= set("NTHWC")):
            raise ValueError("use each of the letters T, H, W once, and N and C at most once")
        return layout

    def items(self) -> list[Item]:
        files = array_files(self.source)
        if not files:
            raise self.absent("no .npy or .npz files" if self.source.exists() else "no such file or folder")
        bad: list[Item] = []
        found: list[tuple[str, str, tuple[int, ...]]] = []
        lengths: dict[str, int] = {}
        places: dict[str, tuple[str, int]] = {}  # file name and number in the file of each clip
        stems = unique_stems(files)
        for name, path in files.items():
            try:
                shape = self._shape(path)
                layout = self._layout(shape, path)
            except DataError as error:
                bad.append(Item(name, (str(path),), bad=reason(error)))
                continue
            if self.layout is None:
                found.append((name, layout, shape))
            sizes = dict(zip(layout, shape, strict=True))
            count, frames = sizes.get("N", 1), sizes["T"]
            stem = stems[name]
            for number in range(count):
                clip = stem if count == 1 else f"{stem}/{number:06}"
                lengths[clip], places[clip] = frames, (name, number)
        print_readings(found)
        by_clip = parts_by_clip(self.parts(lengths)) if lengths else {}
        blocks: dict[tuple[str, int], dict[int, list[Part]]] = {}
        for clip, parts in by_clip.items():
            name, number = places[clip]
            first = number // BLOCK * BLOCK if is_npy(files[name]) else 0
            blocks.setdefault((name, first), {})[number] = parts
        bad += unlisted(lengths, by_clip)
        return bad + [
            self._item(f"{name} from {first}" if first else name, files[name], block)
            for (name, first), block in blocks.items()
        ]

    def _item(self, name: str, path: Path, block: dict[int, list[Part]]) -> Item:
        clips = [
            [number, clip_name(part, parts), part.split, part.first, part.end]
            for number, parts in sorted(block.items())
            for part in parts
        ]
        return Item(name, (str(path),), detail={"clips": clips})

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        path = Path(item.files[0])
        arrays = self._read(path)
        frames = arrays["frames"]
        layout = self._layout(frames.shape, path)
        numbers = dict.fromkeys(number for number, *_ in item.detail["clips"])
        as_bytes = any(
            has_byte_values(one_clip(frames, layout, number)) for number in numbers
        )  # of all: one may be dark
        for number, name, split, first, end in item.detail["clips"]:
            clip = one_clip(frames, layout, number)
            actions = self._values(arrays, layout, number, "actions")
            if actions is not None and len(actions) == len(clip) - 1:
                actions = np.concatenate([actions, np.zeros_like(actions[:1])])
            states = self._values(arrays, layout, number, "states")
            for kind, values in (("actions", actions), ("states", states)):
                if values is not None and len(values) != len(clip):
                    raise DataError(f"clip {name} has {counted(len(clip), 'frame')}, but {len(values)} {kind}")
            part = slice(first, end)
            yield Clip(
                name, split, (as_uint8(frame, as_bytes) for frame in clip[part]), self.rate,
                None if actions is None else actions[part], None if states is None else states[part],
            )  # fmt: skip

    def _values(self, arrays: dict[str, np.ndarray], layout: str, number: int, kind: str) -> np.ndarray | None:
        values = arrays.get(kind)
        if values is None:
            return None
        letters = "".join(letter for letter in layout if letter in "NT")
        values = values[..., None] if values.ndim == len(letters) else values  # one value per frame
        if values.ndim != len(letters) + 1:
            raise DataError(f"{kind} of shape {values.shape}; they need the axes {letters} and one axis of values")
        if "N" not in letters:
            return values
        count, own = arrays["frames"].shape[layout.index("N")], values.shape[letters.index("N")]
        if own != count:
            raise DataError(f"frames of {counted(count, 'clip')}, but {kind} of {own:,}")
        one: np.ndarray = np.take(values, number, letters.index("N"))
        return one

    def _keys(self, names: list[str]) -> dict[str, str]:
        """Return the keys of frames, actions and states in an .npz file.

        Raises:
            DataError: A key is missing.
        """
        frames = self.frames_key or next((key for key in FRAME_KEYS if key in names), None)
        if frames is None and len(names) == 1:
            (frames,) = names
        wanted = {"frames": frames, "actions": self.actions_key, "states": self.states_key}
        for kind in ("actions", "states"):
            if wanted[kind] is None and kind in names:
                wanted[kind] = kind
        for kind, key in wanted.items():
            if (key is None and kind == "frames") or (key is not None and key not in names):
                raise DataError(f"no array {key or kind!r}, only {', '.join(names)}; set {kind}_key")
        return {kind: key for kind, key in wanted.items() if key is not None}

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        try:
            check_regular(path)
            if is_npy(path):
                return {"frames": np.load(path, mmap_mode="r", allow_pickle=False)}
            with np.load(path, allow_pickle=False) as archive:
                return {kind: read_entry(archive, key) for kind, key in self._keys(archive.files).items()}
        except UNREADABLE as error:
            raise _damaged(path, error) from None

    def _shape(self, path: Path) -> tuple[int, ...]:
        """Return the shape of the frames without reading them.

        Raises:
            DataError: The file cannot be read.
        """
        try:
            check_regular(path)
            if is_npy(path):
                shape: tuple[int, ...] = np.load(path, mmap_mode="r", allow_pickle=False).shape
            else:
                with zipfile.ZipFile(path) as archive:
                    names = [name.removesuffix(".npy") for name in archive.namelist()]
                    with archive.open(f"{self._keys(names)['frames']}.npy") as file:
                        version = np.lib.format.read_magic(file)
                        read = (
                            np.lib.format.read_array_header_1_0
                            if version == (1, 0)
                            else np.lib.format.read_array_header_2_0
                        )
                        shape = read(file)[0]
        except UNREADABLE as error:
            raise _damaged(path, error) from None
        return shape

    def _layout(self, shape: tuple[int, ...], path: Path) -> str:
        """Return the letters of an array's axes.

        Raises:
            DataError: The shape does not fit the layout.
            ConfigError: It fits several.
        """
        if self.layout is None:
            return find_layout(shape, CLIPS, printable(path), "set layout=LETTERS")
        check_layout(self.layout, shape, printable(path))
        return self.layout


def array_files(source: Path) -> dict[str, Path]:
    """Return the paths of all .npy and .npz files by relative name, except hidden ones."""
    names = find_files(source) if source.is_dir() else [source.name] if source.is_file() else []
    base = source if source.is_dir() else source.parent
    return {name: base / name for name in names if name.lower().endswith((".npy", ".npz"))}


def is_npy(path: Path) -> bool:
    """Return whether a file has one array, which can be mapped into memory."""
    return path.suffix.lower() == ".npy"


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"cannot read the array ({one_line(error)[:80]}) [{printable(path)}]")


if __name__ == "__main__":
    main(Numpy.name)
