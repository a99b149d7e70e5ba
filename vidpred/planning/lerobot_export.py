"""Write a prepared data set as a LeRobot data set of version 3: videos, and actions and states in Parquet files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.prepared.format import ClipEntry, Manifest, PreparedFrames
from vidpred.data.splits import SPLITS
from vidpred.errors import ConfigError, install_extra
from vidpred.files import atomic_write
from vidpred.media.video_writer import write_video

VERSION, FOLDER_FILES, FILE_EPISODES = "v3.0", 1000, 100  # files in a chunk-* folder; episodes in a video
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
IMAGES, STATE, ACTION = "observation.images", "observation.state", "action"
COUNTERS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
            "task_index": "int64"}  # fmt: skip


def write_lerobot(folder: Path, target: Path, cameras: Sequence[str] = (), task: str = "play") -> int:
    """Write a prepared data set as a LeRobot data set, whole or not at all; an existing one is replaced.

    Episodes are in the order of the splits, which meta/info.json names. Sides of frames are even numbers in videos.

    Args:
        folder: The prepared data set.
        target: Folder to write.
        cameras: Names of the cameras; empty: main, or main_1, main_2, ...
        task: The task of all episodes, in words.

    Returns:
        The number of episodes.

    Raises:
        ConfigError: pyarrow is not installed.
        StorageError: The target cannot be written.
    """
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError(f"LeRobot data sets need pyarrow; {install_extra('lerobot')}") from None
    manifest = Manifest.load(folder)
    assert manifest is not None
    episodes = [(source, clip) for split in SPLITS for source in [PreparedFrames(folder, manifest, split)]
                for clip in source.clips]  # fmt: skip
    count = manifest.channels // 3 or 1
    names = list(cameras) or (["main"] if count == 1 else [f"main_{place + 1}" for place in range(count)])
    keys = [f"{IMAGES}.{name.replace('/', '_')}" for name in names]
    with atomic_write(target) as temporary:
        rows, table = _rows(episodes), _episode_table(episodes, keys, task)
        files = {DATA.format(chunk_index=0, file_index=0): arrow.table(rows),
                 "meta/episodes/chunk-000/file-000.parquet": arrow.table(table),
                 "meta/tasks.parquet": _tasks(arrow, task)}  # fmt: skip
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(content, temporary / name)
        stats = _statistics(rows)
        for place, key in enumerate(keys):
            stats[key] = _image_statistics(episodes, place)
            _write_videos(temporary, episodes, key, place)
        info = _info(manifest, episodes, keys, rows)
        for name, values in (("info", info), ("stats", stats)):
            (temporary / "meta" / f"{name}.json").write_text(json.dumps(values, indent=4), encoding="utf-8")
    return len(episodes)


Episodes = Sequence[tuple[PreparedFrames, ClipEntry]]


def _rows(episodes: Episodes) -> dict[str, Any]:
    """Return the columns of the data file."""
    lengths = [clip.frames for _, clip in episodes]
    steps = np.concatenate([np.arange(length) for length in lengths])
    rates = np.concatenate([np.full(clip.frames, clip.rate) for _, clip in episodes])
    manifest, found = episodes[0][0].manifest, dict[str, Any]()
    if manifest.action_size:
        found[ACTION] = _column(np.concatenate([source.actions(clip) for source, clip in episodes]))
    if manifest.state_size:
        found[STATE] = _column(np.concatenate([source.states(clip) for source, clip in episodes]))
    return found | {
        "timestamp": (steps / rates).astype(np.float32), "frame_index": steps,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths), "index": np.arange(len(steps)),
        "task_index": np.zeros(len(steps), np.int64),
    }  # fmt: skip


def _column(values: np.ndarray) -> Any:
    """Return vectors as lists; vectors of one value as numbers, as LeRobot reads them."""
    return values[:, 0] if values.shape[1] == 1 else list(values)


def _episode_table(episodes: Episodes, keys: Sequence[str], task: str) -> dict[str, Any]:
    """Return the columns of the table of episodes."""
    lengths = np.array([clip.frames for _, clip in episodes])
    ends, numbers = lengths.cumsum(), np.arange(len(lengths))
    zeros = np.zeros(len(lengths), np.int64)
    found: dict[str, Any] = {
        "episode_index": numbers, "tasks": [[task]] * len(lengths), "length": lengths,
        "data/chunk_index": zeros, "data/file_index": zeros, "dataset_from_index": ends - lengths,
        "dataset_to_index": ends, "meta/episodes/chunk_index": zeros, "meta/episodes/file_index": zeros,
    }  # fmt: skip
    files, rate = numbers // FILE_EPISODES, episodes[0][1].rate
    starts = (ends - lengths) - (ends - lengths)[files * FILE_EPISODES]  # frames before the episode in its video
    for key in keys:
        found |= {
            f"videos/{key}/chunk_index": files // FOLDER_FILES, f"videos/{key}/file_index": files % FOLDER_FILES,
            f"videos/{key}/from_timestamp": starts / rate, f"videos/{key}/to_timestamp": (starts + lengths) / rate,
        }  # fmt: skip
    return found


def _tasks(arrow: Any, task: str) -> Any:
    """Return the table of tasks, as pandas writes it: the task is the index of the row."""
    columns = [
        {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, field, kind, numpy in (("task_index", "task_index", "int64", "int64"),
                                         (None, "__index_level_0__", "unicode", "object"))
    ]  # fmt: skip
    about = {"index_columns": ["__index_level_0__"], "column_indexes": [], "columns": columns, "pandas_version": "2.2"}
    return arrow.table({"task_index": [0], "__index_level_0__": [task]}, metadata={"pandas": json.dumps(about)})


def _write_videos(target: Path, episodes: Episodes, key: str, camera: int) -> None:
    """Write the videos of a camera, `FILE_EPISODES` episodes in each."""
    for number, first in enumerate(range(0, len(episodes), FILE_EPISODES)):
        part = episodes[first : first + FILE_EPISODES]
        images = (frame for episode in part for frame in _images(*episode, camera))
        name = VIDEOS.format(video_key=key, chunk_index=number // FOLDER_FILES, file_index=number % FOLDER_FILES)
        write_video(target / name, images, part[0][1].rate)


def _images(source: PreparedFrames, clip: ClipEntry, camera: int) -> np.ndarray:
    """Return the frames of a camera, `(n, H, W, 3)` uint8."""
    frames = source.frames(clip)[:, 3 * camera : 3 * camera + 3].transpose(0, 2, 3, 1)
    return np.ascontiguousarray(frames if frames.shape[3] == 3 else frames.repeat(3, 3))


def _image_statistics(episodes: Episodes, camera: int) -> dict[str, Any]:
    """Return the statistics of a camera's values in [0, 1], `(3, 1, 1)` for the channels."""
    counts = np.zeros((3, 256), np.int64)  # how often each value occurs
    for source, clip in episodes:
        for channel, values in enumerate(_images(source, clip, camera).reshape(-1, 3).T):
            counts[channel] += np.bincount(values, minlength=256)
    values, shares = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    found = {
        "min": values[(counts > 0).argmax(1)], "max": values[255 - (counts > 0)[:, ::-1].argmax(1)], "mean": mean,
        "std": np.sqrt(np.maximum(shares @ values**2 - mean**2, 0)),
    }  # fmt: skip
    frames = sum(clip.frames for _, clip in episodes)
    return {**{name: row[:, None, None].tolist() for name, row in found.items()}, "count": [frames]}


def _statistics(rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for key, values in rows.items():
        table = np.asarray(values, np.float64).reshape(len(values), -1)
        numbers = {"min": table.min(0), "max": table.max(0), "mean": table.mean(0), "std": table.std(0)}
        found[key] = {**{name: row.tolist() for name, row in numbers.items()}, "count": [len(table)]}
    return found


def _info(manifest: Manifest, episodes: Episodes, keys: Sequence[str], rows: dict[str, Any]) -> dict[str, Any]:
    """Return meta/info.json."""
    clip = episodes[0][1]
    shape = [clip.height + clip.height % 2, clip.width + clip.width % 2, 3]
    features: dict[str, Any] = {
        key: {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]} for key in keys
    }
    for key, size, names in ((ACTION, manifest.action_size, manifest.action_names), (STATE, manifest.state_size, None)):
        if size:
            features[key] = {"dtype": "float32", "shape": [size], "names": names or None}
    features |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in COUNTERS.items()}
    splits, first = dict[str, str](), 0
    for split in SPLITS:
        count = sum(entry.split == split for _, entry in episodes)
        splits |= {split: f"{first}:{first + count}"} if count else {}
        first += count
    return {
        "codebase_version": VERSION, "robot_type": None, "total_episodes": len(episodes),
        "total_frames": len(rows["index"]), "total_tasks": 1, "chunks_size": FOLDER_FILES,
        "data_files_size_in_mb": 100, "video_files_size_in_mb": 200, "fps": int(clip.rate), "splits": splits,
        "data_path": DATA, "video_path": VIDEOS, "features": features,
    }  # fmt: skip
