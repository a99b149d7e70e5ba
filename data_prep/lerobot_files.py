"""Files of LeRobot data sets: tables, the splits that meta/info.json names, and places of episodes in videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.videos.reader import VideoInfo
from vidpred.errors import ConfigError, DataError, counted, install_extra, printable
from vidpred.files import check_regular

INFO = "meta/info.json"
DRIFT = 0.25  # of an episode: larger deviations of its time are errors, not rounding


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


def file_path(source: Path, info: dict[str, Any], kind: str, camera: str | None, chunk: int, file: int) -> str:
    """Return the relative path of a file by its pattern in meta/info.json. Raises DataError."""
    try:
        name = str(info[kind].format(video_key=camera, chunk_index=chunk, file_index=file))
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise DataError(f"cannot read {kind} ({type(error).__name__}: {error}) [{source / INFO}]") from None
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{kind} leads out of the set [{source / INFO}: {printable(name)}]; correct it")
    return name


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


def read_table(file: Path, columns: list[str], episode: int | None = None) -> Any:
    """Read columns of a Parquet file, of one episode or all.

    Raises:
        DataError: The file cannot be read.
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"LeRobot data sets need pyarrow; {install_extra('lerobot')}") from None
    chosen = None if episode is None else [("episode_index", "=", episode)]
    try:
        check_regular(file)
        return pyarrow.parquet.read_table(file, columns=columns, filters=chosen, partitioning=None).select(columns)
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read the file ({str(error).splitlines()[0][:100]}) [{printable(file)}]") from None
