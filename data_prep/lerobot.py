"""LeRobot data sets of version 3: robot episodes with camera videos, actions and states.

    vidpred prepare lerobot lerobot/pusht data/pusht size=96
    vidpred prepare lerobot my_robot data/my-robot camera=observation.images.top size=64

A video file contains several episodes; every episode becomes a clip, so no window spans two episodes. Row t of the
actions is the command at frame t, which leads to frame t+1. Needs pyarrow (the extra `lerobot`), but not
lerobot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.splits import FOLDERS, Part, whole_clips, with_validation
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import scaled_size, stream_frames
from vidpred.errors import ConfigError, DataError, counted, printable
from vidpred.files import read_json

from .base import CameraSet, bad_frames, clip_name, stacked, unlisted
from .command import main
from .lerobot_files import INFO, checked_info, episodes_of_splits, file_path, first_frames, read_table
from .lerobot_views import Views, items_by_data
from .videos import take_frames


class LeRobot(CameraSet):
    """A folder recorded or downloaded by lerobot."""

    name: ClassVar[str] = "lerobot"
    about: ClassVar[str] = "LeRobot data sets (v3): episodes with actions and states"
    expects: ClassVar[str] = f"{INFO} (codebase_version v3.x), meta/episodes, data and videos"

    actions: str = Field("action", description="Column of the actions.")
    states: str | None = Field(
        None, description="Column of the states. null: observation.state, if there is such a column."
    )

    def items(self) -> list[Item]:
        info = self._info()
        cameras = self._cameras(info)
        features = info["features"]
        if self.actions not in features:
            raise ConfigError(f"no column actions={self.actions}; there are {', '.join(features)} [{self.source}]")
        states = self.states or ("observation.state" if "observation.state" in features else None)
        if states is not None and states not in features:
            raise ConfigError(f"no column states={states}; there are {', '.join(features)} [{self.source}]")
        episodes, bad = self._episodes([camera for camera, kind in cameras.items() if kind == "video"])
        columns = {"actions": self.actions, "states": states}
        parts: dict[str, list[Part]] = {}
        for part in self._divided(episodes, info):
            parts.setdefault(part.clip, []).append(part)
        bad += unlisted(map(_name, episodes), parts)
        if list(cameras.values()) != ["video"]:
            return bad + items_by_data(self.source, info, cameras, episodes, parts, columns)
        return bad + self._items_by_video(info, next(iter(cameras)), episodes, parts, columns)

    def _items_by_video(
        self, info: dict[str, Any], camera: str, episodes: list[dict[str, Any]], parts: dict[str, list[Part]],
        columns: dict[str, str | None],
    ) -> list[Item]:  # fmt: skip
        for episode in episodes:
            place = episode.pop("views")[camera]
            episode |= {"video_chunk": place["chunk"], "video_file": place["file"]}
            episode |= {"from": place["from"], "to": place["to"]}
        lengths = Counter[tuple[int, int]]()
        for episode in episodes:
            lengths[episode["video_chunk"], episode["video_file"]] += int(episode["length"])
        files: dict[str, list[dict[str, Any]]] = {}
        for episode in episodes:
            own = parts.get(_name(episode), [])
            if own:
                name = file_path(self.source, info, "video_path", camera, episode["video_chunk"], episode["video_file"])
                data = file_path(self.source, info, "data_path", camera, episode["data_chunk"], episode["data_file"])
                named = [[clip_name(part, own), part.split, part.first, part.end] for part in own]
                total = lengths[episode["video_chunk"], episode["video_file"]]
                files.setdefault(name, []).append({**episode, "data": data, "parts": named, "total": total})
        return [
            Item(
                name,
                (str(self.source / name), *sorted({str(self.source / episode["data"]) for episode in found})),
                detail={"episodes": found, "rate": float(info["fps"]), "columns": columns},
            )
            for name, found in sorted(files.items())
        ]

    def action_names(self) -> list[str]:
        feature = self._info()["features"][self.actions]
        found: Any = feature.get("names")
        while isinstance(found, dict):  # such as {"motors": [...]}
            found = next(iter(found.values()), None)
        names = [str(name) for name in found] if isinstance(found, list) else []
        return names if len(names) == int(np.prod(feature.get("shape", [0]))) else []

    def _clips_of_views(self, item: Item, size: int | None) -> Iterator[Clip]:
        """Yield the clips of an item of `items_by_data`."""
        found, rate = Views(self.source, item, self.channels), item.detail["rate"]
        for episode in item.detail["episodes"]:
            try:
                rows = self._rows(episode, item.detail["columns"])
            except DataError as error:
                yield from (Clip(name, split, bad_frames(error), rate) for name, split, *_ in episode["parts"])
                continue
            for name, split, start, end in episode["parts"]:
                views = [found.frames(episode, camera, slice(start, end), size) for camera in episode["views"]]
                values = {kind: None if value is None else value[start:end] for kind, value in rows.items()}
                yield Clip(name, split, stacked(views), rate, values["actions"], values["states"], cuts=())

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        if "videos" in item.detail:
            yield from self._clips_of_views(item, size)
            return
        path = Path(item.files[0])
        video = probe(path)
        rate = item.detail["rate"]
        episodes = sorted(item.detail["episodes"], key=lambda episode: episode["from"])
        places = first_frames(video, episodes, rate)
        shape = scaled_size(video.height, video.width, size)
        frames = stream_frames(path, shape, self.channels)
        position = 0
        for episode, first in zip(episodes, places, strict=True):
            try:
                if isinstance(first, str):
                    raise DataError(first)
                if first + episode["parts"][0][2] < position:
                    raise DataError("its frames overlap those of the episode before it")
                rows = self._rows(episode, item.detail["columns"])
            except DataError as error:
                yield from (Clip(name, split, bad_frames(error), rate) for name, split, *_ in episode["parts"])
                continue
            for name, split, start, end in episode["parts"]:
                wanted = take_frames(frames, first + start - position, end - start)
                position = first + end
                values = {kind: None if value is None else value[start:end] for kind, value in rows.items()}
                yield Clip(name, split, wanted, rate, values["actions"], values["states"], cuts=())

    def _info(self) -> dict[str, Any]:
        file = self.source / INFO
        if not file.is_file():
            raise self.absent("no LeRobot data set" if self.source.is_dir() else "no such folder")
        try:
            info = checked_info(read_json(file))
            version = str(info["codebase_version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"cannot read the file ({type(error).__name__}: {error}) [{file}]") from None
        if not version.startswith("v3."):
            raise DataError(
                f"codebase_version {version} is not v3.x [{file}]; convert it with lerobot's script for v3.0"
            )
        return info

    def _cameras(self, info: dict[str, Any]) -> dict[str, str]:
        """Return the kind of each chosen camera's frames: video, or image (inside the data files)."""
        kinds = {key: str(feature.get("dtype")) for key, feature in info["features"].items()}
        known = {key: kind for key, kind in kinds.items() if kind in ("video", "image")}
        for camera in self.cameras:
            if camera not in known:
                raise ConfigError(f"no camera={camera}; there are {', '.join(known) or 'none'} [{self.source}]")
        if self.cameras:
            return {camera: known[camera] for camera in self.cameras}
        if not known:
            raise DataError(f"the set has no videos and no images [{self.source}]")
        if len(known) > 1:
            raise ConfigError(f"several cameras [{self.source}]; set camera to one of {', '.join(known)}")
        return known

    def _episodes(self, videos: list[str]) -> tuple[list[dict[str, Any]], list[Item]]:
        """Return the location of each episode in the files, and the episodes without a possible one, with the reason.

        The location in the videos of each camera is in "views".

        Raises:
            DataError: The table of episodes cannot be read.
        """
        columns = {
            "episode": "episode_index", "length": "length",
            "data_chunk": "data/chunk_index", "data_file": "data/file_index",
        }  # fmt: skip
        places = {"chunk": "chunk_index", "file": "file_index", "from": "from_timestamp", "to": "to_timestamp"}
        wanted = [*columns.values(), *(f"videos/{video}/{column}" for video in videos for column in places.values())]
        files = sorted((self.source / "meta" / "episodes").rglob("*.parquet"))
        if not files:
            raise self.absent("no meta/episodes/*.parquet")
        rows: list[dict[str, Any]] = []
        for file in files:
            for row in read_table(file, wanted).to_pylist():
                views = {
                    video: {ours: row[f"videos/{video}/{theirs}"] for ours, theirs in places.items()}
                    for video in videos
                }
                rows.append({**{ours: row[theirs] for ours, theirs in columns.items()}, "views": views})
        found: dict[int, dict[str, Any]] = {}
        bad: list[Item] = []
        for place, row in enumerate(rows):
            episode = _located(row)
            if isinstance(episode, str) or episode["episode"] in found:
                why = episode if isinstance(episode, str) else "is listed twice"
                bad.append(Item(f"row {place} of meta/episodes", (), bad=why))
            else:
                found[episode["episode"]] = episode
        if not found:
            why = f": {bad[0].name}: {bad[0].bad}" if bad else ""
            raise DataError(f"no episodes in meta/episodes [{self.source}]{why}")
        return [found[number] for number in sorted(found)], bad

    def _divided(self, episodes: list[dict[str, Any]], info: dict[str, Any]) -> list[Part]:
        """Divide by the set's splits if it has train and test, else by `splits`, `split` and `fractions`."""
        lengths = {_name(episode): int(episode["length"]) for episode in episodes}
        official = {FOLDERS.get(name, ""): span for name, span in info.get("splits", {}).items()}
        if self.splits or self.split != "auto" or "test" not in official or "train" not in official:
            return self.parts(lengths)
        numbers = [int(episode["episode"]) for episode in episodes]
        splits: dict[str, str] = {}
        for split, chosen in episodes_of_splits(official, numbers, self.source / INFO).items():
            for number in chosen:
                name = _name({"episode": number})
                if splits.setdefault(name, split) != split:
                    raise DataError(
                        f"episode {number} is in the splits {splits[name]} and {split} [{self.source / INFO}]"
                    )
        return whole_clips(lengths, with_validation(splits, self.fractions))

    def _rows(self, episode: dict[str, Any], columns: dict[str, str | None]) -> dict[str, np.ndarray | None]:
        """Return the actions and states of an episode, one row per frame.

        Raises:
            DataError: Rows are missing.
        """
        file = self.source / episode["data"]
        wanted = [column for column in columns.values() if column]
        table = read_table(file, ["episode_index", "frame_index", *wanted], episode=int(episode["episode"]))
        numbers = table["frame_index"].to_pylist()
        if numbers != list(range(int(episode["length"]))):
            found = f"{counted(len(numbers), 'row')} in order, not {episode['length']}"
            raise DataError(f"episode {episode['episode']} has {found} [{printable(file)}]")
        return {
            kind: _numbers(table[column].to_pylist(), column, file) if column else None
            for kind, column in columns.items()
        }


def _numbers(rows: list[Any], column: str, file: Path) -> np.ndarray:
    """Return a column as one row of values per frame, `(n, A)` float32. Raises DataError."""
    try:
        return np.array(rows, np.float32).reshape(len(rows), -1)
    except (ValueError, TypeError):
        why = "has rows that are no numbers, or of different sizes"
        raise DataError(f"column {column} {why} [{printable(file)}]") from None


def _located(row: dict[str, Any]) -> dict[str, Any] | str:
    """Return the location of an episode with values of the right types, or why it is impossible."""
    try:
        found: dict[str, Any] = {key: int(value) for key, value in row.items() if key != "views"}
        views = {
            camera: {key: float(value) if key in ("from", "to") else int(value) for key, value in place.items()}
            for camera, place in row["views"].items()
        }
    except (ValueError, TypeError, OverflowError):
        return "a number is missing"
    for place in views.values() or [{"from": 0.0, "to": 0.0}]:
        if not np.isfinite([place["from"], place["to"]]).all() or found["length"] < 1:
            return f"length {found['length']} or times {place['from']} to {place['to']} are impossible"
    return {**found, "views": views}


def _name(episode: dict[str, Any]) -> str:
    return f"episode_{int(episode['episode']):06}"


if __name__ == "__main__":
    main(LeRobot.name)
