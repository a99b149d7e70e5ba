"""Data that has to be prepared first, and the command that prepares it."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

from vidpred.data.images.decode import SUFFIXES as IMAGES
from vidpred.data.videos.index import find_files, find_videos
from vidpred.errors import DataError, printable
from vidpred.files import read_json

KINDS = {  # suffix of a file -> kind of data and set of `vidpred prepare`
    ".npy": ("arrays", "numpy"),
    ".npz": ("arrays", "numpy"),
    ".h5": ("HDF5 episodes", "hdf5"),
    ".hdf5": ("HDF5 episodes", "hdf5"),
}


def refuse_unprepared(root: Path) -> None:
    """Check that a root of videos is none of the kinds of data that `vidpred prepare` reads.

    Raises:
        DataError: It is; the message has the command that prepares it.
    """
    found = _kind(root)
    if found is None:
        return
    what, words = found
    name = root.resolve().stem if root.is_file() else root.resolve().name
    target = f"data/{re.sub(r'[^0-9A-Za-z._-]+', '-', name.removesuffix('.zarr'))}-prepared"
    command = shlex.join(["vidpred", "prepare", words[0], str(root), target, *words[1:]])
    images = "; a model of images needs data.context_frames=0 (dcgan_faces.yaml)" if "images" in what else ""
    raise DataError(
        f"{what}, not videos or a prepared data set [{printable(root)}]; run {command}, then set "
        f"data.root={target}{images}"
    )


def _kind(root: Path) -> tuple[str, list[str]] | None:
    """Return what a root is and the words that prepare it; None for videos and everything else."""
    if root.is_file():
        found = KINDS.get(root.suffix.lower())
        return (found[0], [found[1]]) if found else None
    if not root.is_dir():
        return None
    info = _json(root / "meta" / "info.json")
    if "codebase_version" in info and "features" in info:
        cameras = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
        return "a LeRobot data set", ["lerobot", *(f"camera={camera}" for camera in cameras[:1] if len(cameras) > 1)]
    if any((root / name).is_file() for name in (".zgroup", ".zarray", "zarr.json")):
        return "zarr arrays", ["zarr"]
    suffixes = {Path(name).suffix.lower() for name in os.listdir(root)}
    kind = next((KINDS[suffix] for suffix in KINDS if suffix in suffixes), None)
    if kind is None and any(Path(name).suffix.lower() in IMAGES for name in find_files(root)):
        kind = "images", "frames"
    if kind is None or find_videos(root):
        return None
    return f"a folder of {kind[0]}", [kind[1]]


def _json(file: Path) -> dict[str, dict[str, dict[str, str]]]:
    with suppress(OSError, ValueError):
        content = read_json(file)
        features = content.get("features") if isinstance(content, dict) else None
        if isinstance(features, dict) and all(isinstance(feature, dict) for feature in features.values()):
            return dict(content)
    return {}
