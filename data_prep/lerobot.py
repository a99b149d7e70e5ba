"""LeRobot data sets of version 3: robot episodes with camera videos, actions and states.

    vidpred prepare lerobot lerobot/pusht data/pusht size=96
    vidpred prepare lerobot my_robot data/my-robot camera=observation.images.top size=64

A video file contains several episodes; every episode becomes a clip, so no window spans two episodes. Row t of the
actions is the command at frame t, which leads to frame t+1. Needs pyarrow (pip install 'vidpred[lerobot]'), but not
lerobot.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.splits import FOLDERS, Part, whole, with_validation
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo, scaled_size, stream_frames
from vidpred.errors import ConfigError, DataError, counted, printable

from .base import DividedSet, bad_frames, clip_name, unlisted
from .command import main
from .videos import take_frames

INFO = "meta/info.json"
DRIFT = 0.25  # of an episode: larger deviations of its time are errors, not rounding


class LeRobot(DividedSet):
    """A folder recorded or downloaded by lerobot."""

    name: ClassVar[str] = "lerobot"
    about: ClassVar[str] = "LeRobot data sets (v3): episodes with actions and states"
    expects: ClassVar[str] = f"{INFO} (codebase_version v3.x), meta/episodes, data and videos"

    camera: str | None = Field(
        None, description="Key of the videos, such as observation.images.top. null: the only one."
    )
    actions: str = Field("action", description="Column of the actions.")
    states: str | None = Field(
        None, description="Column of the states. null: observation.state, if there is such a column."
    )

    def items(self) -> list[Item]:
        info = self._info()
        camera = self._camera(info)
        features = info["features"]
        if self.actions not in features:
            raise ConfigError(f"no column actions={self.actions}; there are {', '.join(features)} [{self.source}]")
        states = self.states or ("observation.state" if "observation.state" in features else None)
        if states is not None and states not in features:
            raise ConfigError(f"no column states={states}; there are {', '.join(features)} [{self.source}]")
        episodes, bad = self._episodes(camera)
        lengths = Counter[tuple[int, int]]()
        for episode in episodes:
            lengths[episode["video_chunk"], episode["video_file"]] += int(episode["length"])
        parts: dict[str, list[Part]] = {}
        for part in self._divided(episodes, info):
            parts.setdefault(part.clip, []).append(part)
        files: dict[str, list[dict[str, Any]]] = {}
        for episode in episodes:
            own = parts.get(_name(episode), [])
            if own:
                name = self._path(info, "video_path", camera, episode["video_chunk"], episode["video_file"])
                data = self._path(info, "data_path", camera, episode["data_chunk"], episode["data_file"])
                named = [[clip_name(part, own), part.split, part.first, part.end] for part in own]
                total = lengths[episode["video_chunk"], episode["video_file"]]
                files.setdefault(name, []).append({**episode, "data": data, "parts": named, "total": total})
        columns = {"actions": self.actions, "states": states}
        return [*bad, *unlisted(map(_name, episodes), parts)] + [
            Item(
                name,
                (str(self.source / name), *sorted({str(self.source / episode["data"]) for episode in found})),
                detail={"episodes": found, "rate": float(info["fps"]), "columns": columns},
            )
            for name, found in sorted(files.items())
        ]

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
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
            info = checked_info(json.loads(file.read_text(encoding="utf-8")))
            version = str(info["codebase_version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"cannot read the file ({type(error).__name__}: {error}) [{file}]") from None
        if not version.startswith("v3."):
            raise DataError(
                f"codebase_version {version} is not v3.x [{file}]; convert it with lerobot's script for v3.0"
            )
        return info

    def _path(self, info: dict[str, Any], kind: str, camera: str, chunk: int, file: int) -> str:
        """Return the relative path of a file by its pattern in meta/info.json. Raises DataError."""
        try:
            name = str(info[kind].format(video_key=camera, chunk_index=chunk, file_index=file))
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise DataError(f"cannot read {kind} ({type(error).__name__}: {error}) [{self.source / INFO}]") from None
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{kind} leads out of the set [{self.source / INFO}: {printable(name)}]; correct it")
        return name

    def _camera(self, info: dict[str, Any]) -> str:
        cameras: list[str] = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
        if self.camera is not None:
            if self.camera not in cameras:
                raise ConfigError(f"no camera={self.camera}; there are {', '.join(cameras) or 'none'} [{self.source}]")
            return self.camera
        if not cameras:
            images = any(feature.get("dtype") == "image" for feature in info["features"].values())
            why = "the images are stored in the data files, not in videos" if images else "the set has no videos"
            raise DataError(f"{why} [{self.source}]; only videos are supported")
        if len(cameras) > 1:
            raise ConfigError(f"several cameras [{self.source}]; set camera to one of {', '.join(cameras)}")
        return cameras[0]

    def _episodes(self, camera: str) -> tuple[list[dict[str, Any]], list[Item]]:
        """Return the location of each episode in the files, and the episodes without a possible one, with the reason.

        Raises:
            DataError: The table of episodes cannot be read.
        """
        columns = {
            "episode": "episode_index", "length": "length",
            "data_chunk": "data/chunk_index", "data_file": "data/file_index",
            "video_chunk": f"videos/{camera}/chunk_index", "video_file": f"videos/{camera}/file_index",
            "from": f"videos/{camera}/from_timestamp", "to": f"videos/{camera}/to_timestamp",
        }  # fmt: skip
        files = sorted((self.source / "meta" / "episodes").rglob("*.parquet"))
        if not files:
            raise self.absent("no meta/episodes/*.parquet")
        rows: list[dict[str, Any]] = []
        for file in files:
            table = _table(file, list(columns.values()))
            rows += [{ours: row[theirs] for ours, theirs in columns.items()} for row in table.to_pylist()]
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
        return whole(lengths, with_validation(splits, self.fractions))

    def _rows(self, episode: dict[str, Any], columns: dict[str, str | None]) -> dict[str, np.ndarray | None]:
        """Return the actions and states of an episode, one row per frame.

        Raises:
            DataError: Rows are missing.
        """
        file = self.source / episode["data"]
        wanted = [column for column in columns.values() if column]
        table = _table(file, ["episode_index", "frame_index", *wanted], episode=int(episode["episode"]))
        numbers = table["frame_index"].to_pylist()
        if numbers != list(range(int(episode["length"]))):
            found = f"{counted(len(numbers), 'row')} in order, not {episode['length']}"
            raise DataError(f"episode {episode['episode']} has {found} [{printable(file)}]")
        return {
            kind: _numbers(table[column].to_pylist(), column, file) if column else None
            for kind, column in columns.items()
        }


def checked_info(info: Any) -> dict[str, Any]:
    """Return the content of meta/info.json with values of the right types.

    Raises:
        ValueError: A value has another type.
        KeyError, TypeError: A key is missing, or everything has another type.
    """
    found = {**info, "fps": float(info["fps"]), "splits": info.get("splits") or {}}
    kinds = {"codebase_version": str, "video_path": str, "data_path": str, "features": dict, "splits": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(found[key], kind)]
    wrong += [] if 0 < found["fps"] < np.inf else ["fps"]
    wrong = wrong or [key for key, feature in found["features"].items() if not isinstance(feature, dict)]
    if wrong:
        raise ValueError(f"wrong value of {wrong[0]}")
    return found


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
        found = {key: float(value) if key in ("from", "to") else int(value) for key, value in row.items()}
    except (ValueError, TypeError, OverflowError):
        return "a number is missing"
    if not np.isfinite([found["from"], found["to"]]).all() or found["length"] < 1:
        return f"length {found['length']} or times {found['from']} to {found['to']} are impossible"
    return found


def _name(episode: dict[str, Any]) -> str:
    return f"episode_{int(episode['episode']):06}"


def episodes_of_splits(official: dict[str, Any], numbers: list[int], file: Path) -> dict[str, list[int]]:
    """Return the numbers of the episodes of each split.

    Args:
        official: Split -> "0:80", "80:", ":80", "80%:", "80%" (a share that follows the last one), "3", several of
            these with commas, or a list.
        numbers: Numbers of all episodes, in order.
        file: For errors.

    Raises:
        DataError: A range cannot be read.
    """
    found: dict[str, list[int]] = {}
    place, count = 0, len(numbers)

    def index(end: str, default: int) -> int:
        if end.endswith("%"):
            return numbers[0] + round(float(end[:-1]) / 100 * count)
        number = int(end) if end else default
        return number if number >= 0 else numbers[-1] + 1 + number

    for split, spans in official.items():
        words = [str(word) for word in spans] if isinstance(spans, list) else str(spans).split(",")
        chosen: set[int] = set()
        try:
            for word in (word.strip() for word in words):
                first, colon, end = word.partition(":")
                if colon:
                    chosen |= set(range(index(first, numbers[0]), index(end, numbers[-1] + 1)))
                elif word.endswith("%"):
                    share = range(place, min(count, place + round(float(word[:-1]) / 100 * count)))
                    chosen, place = chosen | {numbers[i] for i in share}, share.stop
                else:
                    chosen.add(int(word))
        except ValueError:
            raise DataError(
                f"cannot read the splits [{file}: {split}={spans}]; write ranges such as 0:80 or 80%:"
            ) from None
        if split:
            found[split] = sorted(chosen & set(numbers))
    return found


def first_frames(video: VideoInfo, episodes: list[dict[str, Any]], rate: float) -> list[int | str]:
    """Return the index of the first frame of each episode in a video, or why its frames are not there.

    Where the episodes have as many frames as the video and their times follow the frames roughly, frames are counted,
    because rounded times drift. Else, the time of every frame must fit.

    Raises:
        DataError: Frames are missing and nothing shows which.
    """
    total = episodes[0]["total"]
    if video.pts:
        base = Fraction(video.time_base)
        times = np.array([float((pts - video.pts[0]) * base) for pts in video.pts])
    else:
        times = np.arange(video.frames) / rate
    span = round(float(times[-1]) * rate) + 1
    if total > span and not video.notes:
        raise DataError(
            f"the video has {counted(span, 'frame')}, its episodes have {total:,}, and nothing shows which are missing "
            f"[{video.path}]; encode it again"
        )
    lengths = [int(episode["length"]) for episode in episodes]
    if sum(lengths) == total == video.frames == span:
        starts = np.cumsum([0, *lengths[:-1]])
        drifts = [abs(episode["from"] - start / rate) for episode, start in zip(episodes, starts, strict=True)]
        if all(drift < DRIFT * length / rate for drift, length in zip(drifts, lengths, strict=True)):
            return [int(start) for start in starts]
    return [_by_time(times, episode, rate) for episode in episodes]


def _by_time(times: np.ndarray, episode: dict[str, Any], rate: float) -> int | str:
    length = int(episode["length"])
    first = int(np.abs(times - episode["from"]).argmin())
    expected = episode["from"] + np.arange(length) / rate
    found = times[first : first + length]
    if len(found) < length or np.abs(found - expected).max() > 0.5 / rate:
        where = f"{counted(length, 'frame')} from {episode['from']:.3f} s"
        return f"episode {episode['episode']} ({where}) does not fit its video"
    return first


def _table(file: Path, columns: list[str], episode: int | None = None) -> Any:
    """Read columns of a Parquet file, of one episode or all.

    Raises:
        DataError: The file cannot be read.
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("LeRobot data sets need pyarrow: pip install 'vidpred[lerobot]'") from None
    chosen = None if episode is None else [("episode_index", "=", episode)]
    try:
        return pyarrow.parquet.read_table(file, columns=columns, filters=chosen, partitioning=None).select(columns)
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read the file ({str(error).splitlines()[0][:100]}) [{printable(file)}]") from None


if __name__ == "__main__":
    main(LeRobot.name)
