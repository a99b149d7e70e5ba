"""Checkpoint folders, verified by their manifest; their contents are untrusted."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from vidpred.errors import StorageError
from vidpred.files import read_json

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
STEP_NAME = re.compile(r"step-(0|[1-9][0-9]{0,17})")
MOST_JSON_BYTES = 64 << 20


class Checkpoint:
    """A verified checkpoint folder."""

    def __init__(self, path: Path) -> None:
        """Verify the folder. Raises StorageError unless all files match the manifest's sizes and hashes."""
        self.path = path
        problem = find_damage(path)
        if problem:
            raise StorageError(f"damaged checkpoint [{problem}]; use another checkpoint of the run")
        self.state = read_state(path)
        self.step: int = self.state["step"]

    def has(self, name: str) -> bool:
        """Return whether the checkpoint contains a network or optimizer."""
        return (self.path / f"{name}.safetensors").is_file()

    @property
    def has_config(self) -> bool:
        """Whether the checkpoint contains the run's settings."""
        return (self.path / CONFIG).is_file()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Load the tensors of a network or optimizer on the CPU. Raises StorageError."""
        try:
            return safetensors.torch.load_file(self.path / f"{name}.safetensors")
        except (OSError, SafetensorError) as error:
            raise StorageError(f"cannot read the checkpoint [{self.path / name}.safetensors]: {error}") from None


def find_damage(path: Path) -> str | None:
    """Return a checkpoint folder's first fault as "step-8/generator.safetensors: reason"; None if it is intact."""
    try:
        files = read_json(path / MANIFEST, MOST_JSON_BYTES)["files"]
        for name, expected in files.items():
            if Path(name).name != name:
                return f"{path.name}/{MANIFEST}: names a file outside the checkpoint"
            file = path / name
            if not file.is_file():
                return f"{path.name}/{name}: missing"
            if file.stat().st_size != expected["bytes"]:
                return f"{path.name}/{name}: {file.stat().st_size} bytes, not {expected['bytes']}"
            if hash_file(file) != expected["sha256"]:
                return f"{path.name}/{name}: sha256 differs"
        if "state.json" not in files:
            return f"{path.name}/{MANIFEST}: names no state.json"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{path.name}/{MANIFEST}: missing or unreadable"
    try:
        read_state(path)
    except (OSError, ValueError) as error:
        return f"{path.name}/state.json: {error}"
    return None


def read_state(path: Path) -> dict[str, Any]:
    """Return the state.json of a checkpoint folder. Raises OSError, or ValueError if it has other types or values."""
    state = read_json(path / "state.json", MOST_JSON_BYTES)
    if not isinstance(state, dict):
        raise ValueError("not a mapping")
    match = STEP_NAME.fullmatch(path.name)
    if not is_step(state.get("step")) or (match and state["step"] != int(match[1])):
        raise ValueError("a wrong step")
    _check_data(state)
    if not isinstance(state.get("own_generator") or "", str) or not is_step(state.get("processes") or 0):
        raise ValueError("values of wrong types")
    if "best" in state and not is_mark(state["best"]):
        raise ValueError("a wrong metric")
    schedule, stopping = state.get("schedule") or {}, state.get("early_stopping") or {}
    if not isinstance(schedule, dict) or not isinstance(stopping, dict):
        raise ValueError("values of wrong types")
    limits = schedule.get("limits", {})
    numbers = [*(limits.values() if isinstance(limits, dict) else [limits]), schedule.get("growth", 0)]
    counts = [
        schedule.get("steps", 1) - 1 if is_step(schedule.get("steps", 1)) else -1,
        *(stopping.get(name, 0) for name in ("best_step", "waited")),
    ]
    if stopping and (stopping.keys() != {"best", "best_step", "waited"} or not _is_number(stopping["best"] or 0)):
        raise ValueError("a wrong metric")
    scalers = _value(state, "scalers", {})
    if not isinstance(scalers, dict) or not all(isinstance(scaler, dict) for scaler in scalers.values()):
        raise ValueError("values of wrong types")
    numbers += [value for scaler in scalers.values() for value in scaler.values()]
    if not all(map(_is_number, numbers)) or not all(map(is_step, counts)):
        raise ValueError("numbers of wrong types")
    return state


def _check_data(state: dict[str, Any]) -> None:
    """Raise ValueError unless the entries of a state.json about the training data have the right types and values."""
    for key in ("classes", "action_names"):
        names = _value(state, key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{key} that are no names")
    size, bounds = _value(state, "frame_size", [1, 1]), _value(state, "action_bounds", [[], []])
    if not isinstance(size, list) or len(size) != 2 or not all(is_step(side) and side for side in size):
        raise ValueError("a wrong size of frames")
    if not isinstance(bounds, list) or len(bounds) != 2 or not all(isinstance(values, list) for values in bounds):
        raise ValueError("wrong bounds of actions")
    numbers = all(map(_is_number, [*bounds[0], *bounds[1]])) and len(bounds[0]) == len(bounds[1])
    if not numbers or any(low > high for low, high in zip(*bounds, strict=True)):
        raise ValueError("wrong bounds of actions")


def _value(state: dict[str, Any], key: str, default: Any) -> Any:
    """Return an entry; the default if it is absent or null, but not if it is empty."""
    return default if state.get(key) is None else state[key]


def is_step(value: Any) -> bool:
    """Return whether a value is a number of steps."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def is_mark(value: Any) -> bool:
    """Return whether a value is the metric of a best checkpoint: {"metric", "value"}."""
    return isinstance(value, dict) and _is_number(value.get("value"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def hash_file(file: Path) -> str:
    """Return the sha256 of a file's content in hexadecimal."""
    digest = sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors to a file with the permissions of any new file; those of safetensors are for its owner only.

    Raises:
        OSError: The file cannot be written.
        SafetensorError: The same, within safetensors.
    """
    file.touch()
    mode = stat.S_IMODE(file.stat().st_mode)
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    safetensors.torch.save_file(plain, file)
    file.chmod(mode)


def write_manifest(folder: Path, step: int) -> None:
    """Write the manifest of the files that are in a checkpoint folder."""
    files = {file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))
