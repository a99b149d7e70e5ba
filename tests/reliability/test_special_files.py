"""Pipes, devices, folders, sockets and links to nothing in place of every file that is read: one line, at once."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vidpred.data_prep.command import Request, find_set
from vidpred.data_prep.command import run as run_prepare
from vidpred.data_prep.moving_mnist import standard_test
from vidpred.data_prep.tfrecords import read_records

import vidpred
from tests.video_files import numbered_frames, write_video
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.images.decode import read_image
from vidpred.data.images.tables import read_table
from vidpred.data.recorded_splits import with_recorded_splits
from vidpred.data.settings import DataSettings
from vidpred.data.split_lists import by_listing
from vidpred.data.videos.probe import probe
from vidpred.errors import ConfigError, VidpredError
from vidpred.files import append_text, content_fingerprint, read_bytes
from vidpred.inference.clip_window import _read_rows
from vidpred.inference.hub import _read_metrics
from vidpred.models.network_files import load_module


def as_socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(file.parent, os.O_RDONLY)  # paths of sockets are short
        server.bind(f"/proc/self/fd/{folder}/{file.name}")
        os.close(folder)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "zeros": lambda file: file.symlink_to("/dev/zero"),
    "terminal": lambda file: file.symlink_to("/dev/tty"),
    "folder": os.mkdir,
    "socket": as_socket,
    "broken link": lambda file: file.symlink_to("nothing"),
    "loop": lambda file: file.symlink_to(file.name),
}


def prepared(kind: str) -> Callable[[Path], object]:
    def call(file: Path) -> str:
        (file.parent / "target").mkdir()
        return run_prepare(Request(find_set(kind), file, file.parent / "target"))

    return call


def listed(key: str) -> Callable[[Path], object]:
    def call(file: Path) -> object:
        folder = file.parent / "clips"
        folder.mkdir()
        write_video(folder / "a.mp4", numbered_frames(10, 16, 16))
        return build_source(DataSettings.model_validate({"root": str(folder), key: str(file)}), "train", range(5))

    return call


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "config": ("a.yaml", load_config),
    "image": ("a.png", read_image),
    "clip": ("a.mp4", lambda file: probe(file, file.name)),
    "animation": ("a.gif", lambda file: probe(file, file.name)),
    "array of images": ("a.npz", read_table),
    "table of images": ("a.csv", read_table),
    "digits": ("a-idx3-ubyte", read_table),
    "list of splits": ("a.csv", lambda file: by_listing(file, ["a"])),
    "data.split_file": ("a.csv", listed("split_file")),
    "actions": ("a.npy", lambda file: _read_rows(file, "actions", {"run": 2}, 0, 2)),
    "network": ("a.pt2", lambda file: load_module(file, f"--fid {file}", "a network")),
    "metrics": ("a.json", _read_metrics),
    "records": ("a.tfrecord", lambda file: list(read_records(file))),
    "test file": ("a.npy", standard_test),
    "episodes": ("a.npy", prepared("numpy")),
    "hdf5": ("a.hdf5", prepared("hdf5")),
    "zarr": ("a.zarr.zip", prepared("zarr")),
}


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail if the block waits for ever."""

    def fail(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_refused(tmp_path: Path, reader: str, kind: str) -> None:
    if reader in ("hdf5", "zarr"):
        pytest.importorskip({"hdf5": "h5py"}.get(reader, reader))
    name, read = READERS[reader]
    file = tmp_path / name
    KINDS[kind](file)
    with within(5), pytest.raises(VidpredError) as caught:
        read(file)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def piped(text: str) -> tuple[int, str]:
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return reading, f"/dev/fd/{reading}"


def test_a_config_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `--config <(command)`: read once, also where it is asked for twice; and every pipe for itself."""
    for steps in (3, 5):
        number, name = piped(f"training: {{steps: {steps}}}")
        try:
            with within(5):
                assert [load_config(name).training.steps for _ in range(2)] == [steps, steps]
            monkeypatch.setenv("WORLD_SIZE", "2")
            with pytest.raises(ConfigError, match="read by one process only"):
                load_config(name)
            monkeypatch.delenv("WORLD_SIZE")
        finally:
            os.close(number)
    number, name = piped("training: {stepz: 1}")
    with pytest.raises(ConfigError, match=rf"\({name}:1\); did you mean training.steps"):
        load_config(name)
    os.close(number)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"folder"}))
@pytest.mark.parametrize("name", ["data/img/c/1.0.0.0", "data/img/zarr.json", "zarr.json"])
def test_a_part_of_a_zarr_folder_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("data/img", data=np.ones((8, 16, 16, 3), np.uint8), chunks=(4, 16, 16, 3))
    group.create_array("meta/episode_ends", data=np.array([8]))
    part = tmp_path / "a.zarr" / name
    part.unlink(missing_ok=True)
    KINDS[kind](part)
    with within(5), pytest.raises(VidpredError, match=r"a\.zarr") as caught:
        prepared("zarr")(tmp_path / "a.zarr")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_run_and_checksums(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / "splits.csv")
    with within(5):
        assert content_fingerprint(tmp_path / "splits.csv") == ""
        if kind not in ("broken link", "loop"):
            with pytest.raises(VidpredError, match="cannot read the splits of the run"):
                with_recorded_splits(DataSettings(), tmp_path)
            with pytest.raises(OSError, match=r".+"):
                append_text(tmp_path / "splits.csv", "x")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a" * 5000, ""])
def test_names_of_no_file(name: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        read_bytes(Path(name))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([[1j, 1j]]), {"rows": np.ones((3, 2))}])
def test_arrays_of_other_values(tmp_path: Path, array: Any) -> None:
    file = tmp_path / "a.npy"
    with file.open("wb") as opened:
        np.savez(opened, **array) if isinstance(array, dict) else np.save(opened, array)
    with pytest.raises(VidpredError, match="not one array of numbers"):
        _read_rows(file, "actions", {"run": 2}, 0, 1)


# Files that a library opens by name after `check_regular`, and those of the system or written by this process.
OPENED = re.compile(r"\.read_(?:text|bytes)\(\)|\.open\(\"rb?\"|np\.(?:load|memmap|fromfile)\((?!opened|file[,)])")
ALLOWED = {
    "processes/memory.py", "models/inference.py", "processes/temporary.py", "training/trackers.py",
    "media/html_page.py", "files.py", "data/prepared/format.py", "data/prepared/pipeline.py", "moving_mnist.py",
    "numpy.py",
}  # fmt: skip


@pytest.mark.slow
def test_files_are_opened_by_one_function() -> None:
    package = Path(vidpred.__file__).parent
    found = set()
    for folder in (package, package.parent / "data_prep"):
        for file in folder.rglob("*.py"):
            if OPENED.search(file.read_text()):
                found.add(file.relative_to(folder).as_posix())
    assert found <= ALLOWED, "use open_regular, read_bytes or check_regular of vidpred.files"
