"""Tiny data sets in their original file formats, for tests.

Sets with actions show a white square at the position given by the state: the state of frame t+1 is that of frame t plus
the action in row t.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np

from tests.video_files import numbered_frames, write_video

SIDE, SQUARE, FRAMES = 64, 16, 24


def episode(number: int, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames `(n, 64, 64, 3)` uint8, actions `(n, 2)` and states `(n, 2)`: the square's center x, y."""
    random = np.random.default_rng((7, number))
    actions = random.integers(-6, 7, (frames, 2)).astype(np.float32)
    places = np.empty((frames, 2), np.float32)
    place = np.array([SIDE / 2, SIDE / 2], np.float32)
    for index in range(frames):
        places[index] = place
        moved = place + actions[index]
        outside = (moved < SQUARE) | (moved > SIDE - SQUARE)
        actions[index] = np.where(outside, -actions[index], actions[index])
        place = place + actions[index]
    images = np.full((frames, SIDE, SIDE, 3), 30, np.uint8)
    for image, (x, y) in zip(images, places.astype(int), strict=True):
        image[y - SQUARE // 2 : y + SQUARE // 2, x - SQUARE // 2 : x + SQUARE // 2] = 230
    return images, actions, places


def find_square(frame: np.ndarray) -> np.ndarray:
    """Return the square's center (x, y) in a frame `(C, H, W)` uint8, in pixels of SIDE."""
    light = np.clip(frame.mean(0) - 60, 0, 200)
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    middle = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum() + 0.5
    return middle * SIDE / frame.shape[1]


def folder_set(root: Path) -> Path:
    for number in range(6):
        write_video(root / f"part{number % 2}" / f"{number}.mp4", numbered_frames(FRAMES, 40, 48, first=number * 24))
    return root


def frames_set(root: Path) -> Path:
    for number in range(6):
        folder = root / "drives" / f"drive_{number}"
        folder.mkdir(parents=True)
        for index, frame in enumerate(numbered_frames(FRAMES, 40, 48, first=number * 24)):
            cv2.imwrite(str(folder / f"{index}.{'png' if number else 'jpg'}"), frame[..., ::-1])
    return root


def numpy_set(root: Path) -> Path:
    root.mkdir()
    for name, numbers in (("first", range(4)), ("second", range(4, 7))):
        frames, actions, states = (np.stack(values) for values in zip(*map(episode, numbers), strict=True))
        np.savez_compressed(root / f"{name}.npz", frames=frames, actions=actions[:, :-1], states=states)
    return root


UCF_GROUPS = (1, 2, 8, 9, 15, 22, 23, 25)


def ucf101_videos() -> dict[str, int]:
    """Return the number of every video by its relative path."""
    names = [f"{action}/v_{action}_g{group:02}_c01.avi" for action in ("Archery", "YoYo") for group in UCF_GROUPS]
    return {name: number for number, name in enumerate(names)}


def ucf101_set(root: Path) -> Path:
    for name, number in ucf101_videos().items():
        write_video(root / "UCF-101" / name, numbered_frames(FRAMES, 32, 48, first=number), "mpeg4")
    write_ucf101_lists(root / "ucfTrainTestlist")
    return root / "UCF-101"


def write_ucf101_lists(folder: Path) -> None:
    folder.mkdir(parents=True)
    for fold, test in ((1, range(1, 8)), (2, range(8, 15)), (3, range(15, 22))):
        rows = {name: int(name[-10:-8]) in test for name in ucf101_videos()}
        (folder / f"testlist0{fold}.txt").write_text("".join(f"{name}\n" for name, held in rows.items() if held))
        (folder / f"trainlist0{fold}.txt").write_text("".join(f"{name} 1\n" for name, held in rows.items() if not held))
    (folder / "classInd.txt").write_text("1 Archery\n2 YoYo\n")


def kth_set(root: Path) -> Path:
    lines = ["Sequences of the set", ""]
    for person in (1, 2, 15, 17, 18):
        name = f"person{person:02}_walking_d1"
        gray = numbered_frames(40, 48, 64, first=person).mean(-1, keepdims=True).astype(np.uint8).repeat(3, -1)
        write_video(root / "walking" / f"{name}_uncomp.avi", gray, "mpeg4")
        lines.append(f"{name}\t\tframes\t1-18, 21-40")
    (root / "00sequences.txt").write_text("\n".join(lines))
    return root


def bair_set(root: Path) -> Path:
    for split, files in (("train", 3), ("test", 1)):
        for file in range(files):
            records = []
            for number in range(2):
                frames, actions, states = episode(10 * file + number + (100 if split == "test" else 0))
                features: dict[str, bytes] = {}
                for step in range(FRAMES):
                    features[f"{step}/image_aux1/encoded"] = bytes_feature(frames[step].tobytes())
                    features[f"{step}/action"] = float_feature([*actions[step], 0, 0], packed=bool(number))
                    features[f"{step}/endeffector_pos"] = float_feature([*states[step], 0])
                records.append(example(features))
            folder = root / "softmotion30_44k" / split
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"traj_{file}_to_{file}.tfrecords").write_bytes(b"".join(map(record, records)))
    return root


def varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number: int, content: bytes) -> bytes:
    """Encode a protobuf field of bytes or of a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def bytes_feature(content: bytes) -> bytes:
    return field(1, field(1, content))


def float_feature(values: list[float], packed: bool = True) -> bytes:
    parts = [struct.pack("<f", value) for value in values]
    return field(2, field(1, b"".join(parts)) if packed else b"".join(varint(1 << 3 | 5) + part for part in parts))


def example(features: dict[str, bytes]) -> bytes:
    return field(1, b"".join(field(1, field(1, name.encode()) + field(2, value)) for name, value in features.items()))


def plain_crc32c(data: bytes) -> int:
    """Compute CRC32C bit by bit, from its definition."""
    check = 0xFFFFFFFF
    for byte in data:
        check ^= byte
        for _ in range(8):
            check = check >> 1 ^ (0x82F63B78 if check & 1 else 0)
    return check ^ 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """Return a TFRecord; the data's checksum is computed by the tested code, since bit by bit it would take minutes."""
    from data_prep.tfrecords import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def moving_mnist_set(root: Path) -> Path:
    root.mkdir()
    random = np.random.default_rng(3)
    for name, count in (("train-images-idx3-ubyte.gz", 40), ("t10k-images-idx3-ubyte.gz", 10)):
        digits = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        digits[:, :4] = digits[:, -4:] = 0
        (root / name).write_bytes(gzip.compress(struct.pack(">4I", 0x803, count, 28, 28) + digits.tobytes()))
    return root


def lerobot_set(root: Path, version: str = "v3.0") -> Path:
    """Write seven episodes of different lengths in two video files and one data file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    camera, rate, lengths = "observation.images.top", 10, [24, 20, 26, 22, 24, 24, 21]
    rows: list[dict[str, object]] = []
    episodes: list[dict[str, object]] = []
    for file, numbers in enumerate((range(4), range(4, 7))):
        images, start = [], 0
        for number in numbers:
            frames, actions, states = episode(number, lengths[number])
            images.append(frames)
            for step in range(lengths[number]):
                rows.append(
                    {"action": actions[step].tolist(), "observation.state": states[step].tolist(),
                     "timestamp": step / rate, "frame_index": step, "episode_index": number, "index": len(rows),
                     "task_index": 0}
                )  # fmt: skip
            episodes.append(
                {"episode_index": number, "length": lengths[number], "data/chunk_index": 0, "data/file_index": 0,
                 f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": file,
                 f"videos/{camera}/from_timestamp": start / rate,
                 f"videos/{camera}/to_timestamp": (start + lengths[number]) / rate}
            )  # fmt: skip
            start += lengths[number]
        path = root / "videos" / camera / "chunk-000" / f"file-{file:03}.mp4"
        write_video(path, np.concatenate(images), options={"crf": "12", "g": "2"}, rate=rate)
    for path, table in (
        ("data/chunk-000/file-000.parquet", rows),
        ("meta/episodes/chunk-000/file-000.parquet", episodes),
    ):
        (root / path).parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(table), root / path)
    info = {
        "codebase_version": version, "fps": rate, "total_episodes": len(lengths), "splits": {"train": "0:7"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            camera: {"dtype": "video", "shape": [SIDE, SIDE, 3]}, "action": {"dtype": "float32", "shape": [2]},
            "observation.state": {"dtype": "float32", "shape": [2]}, "timestamp": {"dtype": "float32", "shape": [1]},
        },
    }  # fmt: skip
    (root / "meta" / "info.json").write_text(json.dumps(info))
    return root


# name -> (function that builds its files and returns SOURCE, further words of the command line)
SETS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "folder": (folder_set, ["--cache", "size=32"]),
    "frames": (frames_set, ["size=32"]),
    "numpy": (numpy_set, ["size=32"]),
    "ucf101": (ucf101_set, []),
    "kth": (kth_set, ["--cache", "size=32"]),
    "bair": (bair_set, []),
    "moving_mnist": (moving_mnist_set, ["train_clips=6", "validation_clips=2", "test_clips=3"]),
    "lerobot": (lerobot_set, ["size=32"]),
}


def prepare(*words: object) -> str:
    """Run `vidpred prepare` with these words; return what it prints. Raises what the command raises."""
    from vidpred.commands.app import app

    printed = io.StringIO()
    with redirect_stdout(printed):
        app(["prepare", *map(str, words)], standalone_mode=False)
    return printed.getvalue()
