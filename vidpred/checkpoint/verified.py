"""Checkpoint folders, verified by their manifest; their contents are untrusted."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from vidpred.checkpoint.records import CheckpointManifest, CheckpointState
from vidpred.errors import StorageError, one_line, short
from vidpred.files import MAX_BYTES, open_regular, read_bytes

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
STATE = "state.json"
STEP_NAME = re.compile(r"step-(0|[1-9][0-9]{0,17})")


class Checkpoint:
    """A verified checkpoint folder."""

    def __init__(self, path: Path) -> None:
        """Verify the folder. Raises StorageError unless all files match the manifest's sizes and hashes."""
        self.path = path
        problem = find_damage(path)
        if problem:
            raise StorageError(f"damaged checkpoint [{problem}]; use another checkpoint of the run")
        self._files = CheckpointManifest.read(path / MANIFEST).files
        self.state = read_state(path)
        self.step: int = self.state["step"]

    def has(self, name: str) -> bool:
        """Return whether the checkpoint contains a network or optimizer; files that the manifest lacks do not count."""
        return f"{name}.safetensors" in self._files

    @property
    def has_config(self) -> bool:
        """Whether the checkpoint contains the run's settings."""
        return CONFIG in self._files

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Load the tensors of a network or optimizer, by their names, on the CPU. Raises StorageError."""
        file = self.path / f"{name}.safetensors"
        if not self.has(name):
            raise StorageError(f"the checkpoint's manifest does not list this file [{file}]; use another checkpoint")
        try:
            if str(file).encode(errors="replace") != os.fsencode(file):  # safetensors opens only names in UTF-8
                return safetensors.torch.load(read_bytes(file, MAX_BYTES))
            return safetensors.torch.load_file(file)
        except (OSError, SafetensorError) as error:
            raise StorageError(f"cannot read the checkpoint [{file}]: {one_line(error)}; use another") from None


def find_damage(path: Path) -> str | None:
    """Return a checkpoint folder's first fault as "step-8/generator.safetensors: reason"; None if it is intact."""
    try:
        files = CheckpointManifest.read(path / MANIFEST).files
    except (OSError, ValueError):
        return f"{path.name}/{MANIFEST}: missing or unreadable"
    for name, expected in files.items():
        if Path(name).name != name or "\0" in name:
            return f"{path.name}/{MANIFEST}: names a file outside the checkpoint"
        try:
            size, digest = _size_and_hash(path / name)
        except OSError as error:
            return f"{path.name}/{name}: {'missing' if error.errno == errno.ENOENT else short(error)}"
        if size != expected.bytes:
            return f"{path.name}/{name}: {size} bytes, not {expected.bytes}"
        if digest != expected.sha256:
            return f"{path.name}/{name}: sha256 differs"
    if STATE not in files:
        return f"{path.name}/{MANIFEST}: names no {STATE}"
    try:
        read_state(path)
    except (OSError, ValueError) as error:
        return f"{path.name}/{STATE}: {error}"
    return None


def read_state(path: Path) -> dict[str, Any]:
    """Return the entries of a checkpoint folder's state.json, without those that are null.

    Raises:
        OSError: It cannot be read.
        ValueError: It has other types or values, see `CheckpointState`.
    """
    state = CheckpointState.read(path / STATE)
    match = STEP_NAME.fullmatch(path.name)
    if match and state.step != int(match[1]):
        raise ValueError("a wrong step")
    entries = state.model_dump(exclude_unset=True, by_alias=True)
    return {name: value for name, value in entries.items() if value is not None}


def hash_file(file: Path) -> str:
    """Return the sha256 of a file's content in hexadecimal. Raises OSError."""
    return _size_and_hash(file)[1]


def _size_and_hash(file: Path) -> tuple[int, str]:
    with open_regular(file) as stream:
        return os.fstat(stream.fileno()).st_size, file_digest(stream, "sha256").hexdigest()


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors to a file with the permissions of any new file; those of safetensors are for its owner only.

    Raises:
        OSError: The file cannot be written.
    """
    file.touch()
    mode = stat.S_IMODE(file.stat().st_mode)
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    try:
        safetensors.torch.save_file(plain, file)
    except SafetensorError as error:
        raise OSError(str(error).removeprefix("Error while serializing: ").removeprefix("I/O error: ")) from None
    file.chmod(mode)


def write_manifest(folder: Path, step: int) -> None:
    """Write manifest.json of a checkpoint folder: the training step, and each file's size in bytes and sha256."""
    files = {file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))
