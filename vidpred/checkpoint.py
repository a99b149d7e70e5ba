"""The run folder and its checkpoints: safetensors and JSON with a sha256 manifest, written atomically.

runs/mine/
  config.yaml            the resolved settings, written before anything else
  metrics.jsonl          one line every training.log_every steps
  images/                context, true frames, prediction, difference
  checkpoints/step-500/  config.yaml, a .safetensors per network and optimizer, state.json, manifest.json
  last.json, best.json   the step of the checkpoint, replaced atomically

A checkpoint is written under a temporary name, flushed to disk, then renamed. No file contains a pickle.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor, nn

from vidpred.errors import StorageError
from vidpred.files import atomic_write, write_file
from vidpred.settings import flatten, migrate

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
REMEDY = "free space or choose another run="
PRETRAINED = "pretrained"  # the name of the shipped weights, accepted in place of a run folder
SHIPPED = Path(__file__).parent / "weights" / "motion"
STEP_NAME = re.compile(r"step-(\d+)")
Parsed = TypeVar("Parsed")
TensorFiles = Mapping[str, Mapping[str, Tensor]]


class Checkpoint:
    """A verified checkpoint folder."""

    def __init__(self, path: Path) -> None:
        """Verify the folder. Raises StorageError unless all files match the manifest's sizes and hashes."""
        self.path = path
        problem = find_damage(path)
        if problem:
            raise StorageError(f"damaged checkpoint [{problem}]; use another checkpoint of the run")
        self.state: dict[str, Any] = json.loads((path / "state.json").read_text())
        self.step: int = self.state["step"]

    def has(self, name: str) -> bool:
        """Return whether the checkpoint contains a network or optimizer."""
        return (self.path / f"{name}.safetensors").is_file()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Load the tensors of a network or optimizer on the CPU. Raises StorageError."""
        try:
            return safetensors.torch.load_file(self.path / f"{name}.safetensors")
        except (OSError, SafetensorError) as error:
            raise StorageError(f"cannot read the checkpoint [{self.path / name}.safetensors]: {error}") from None


def find_damage(path: Path) -> str | None:
    """Return a checkpoint folder's first fault as "step-8/generator.safetensors: reason"; None if it is intact."""
    if not (path / MANIFEST).is_file():  # also a pipe, whose reading would never end
        return f"{path.name}/{MANIFEST}: missing or unreadable"
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
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
        return None if "state.json" in files else f"{path.name}/{MANIFEST}: names no state.json"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{path.name}/{MANIFEST}: missing or unreadable"


def hash_file(file: Path) -> str:
    """Return the sha256 of a file's content in hexadecimal."""
    digest = sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: Path, step: int) -> None:
    """Write the manifest of the files that are in a checkpoint folder."""
    files = {file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))


class RunFolder:
    """The files of a run, which only the main process writes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"

    @property
    def config_file(self) -> Path:
        """The file with the run's settings."""
        return self.path / CONFIG

    def create(self) -> None:
        """Create the folder and check that it is writable. Raises StorageError."""
        probe = self.checkpoints / f".tmp-{uuid.uuid4().hex}"
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StorageError(
                f"cannot write the run folder [{self.path}]: {error.strerror}; choose another run="
            ) from None

    def steps(self) -> list[int]:
        """Return the steps with a checkpoint folder, ascending, without verifying the checkpoints."""
        if not self.checkpoints.is_dir():
            return []
        matches = (STEP_NAME.fullmatch(entry.name) for entry in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def folder(self, step: int) -> Path:
        """Return the checkpoint folder of a step."""
        return self.checkpoints / f"step-{step}"

    def save(self, step: int, files: TensorFiles, state: Mapping[str, Any], keep: int) -> Path:
        """Write the checkpoint of a step, then delete all except the newest `keep` and the best.

        Args:
            step: Number of steps done.
            files: Tensors by name, for each network and optimizer.
            state: Further entries of state.json.
            keep: Number of newest checkpoints to keep.

        Returns:
            The checkpoint's folder.

        Raises:
            StorageError: The checkpoint cannot be written.
        """
        final = self.folder(step)
        try:
            with atomic_write(final, REMEDY, durable=True) as temporary:
                self._check_space(files)
                temporary.mkdir()
                for name, tensors in files.items():
                    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                    safetensors.torch.save_file(plain, temporary / f"{name}.safetensors")
                (temporary / "state.json").write_text(json.dumps({**state, "step": step}, indent=1))
                if self.config_file.is_file():
                    shutil.copy(self.config_file, temporary / CONFIG)
                write_manifest(temporary, step)
        except SafetensorError as error:
            raise StorageError(f"cannot write [{final}]: {error}; {REMEDY}") from None
        write_file(self.path / "last.json", json.dumps({"step": step}), REMEDY, durable=True)
        best = self.best()
        for old in self.steps()[:-keep]:
            if best is None or old != best["step"]:
                shutil.rmtree(self.folder(old), ignore_errors=True)
        return final

    def _check_space(self, files: TensorFiles) -> None:
        needed = sum(
            tensor.numel() * tensor.element_size() for tensors in files.values() for tensor in tensors.values()
        )
        free = shutil.disk_usage(self.checkpoints).free
        if free < 1.1 * needed:
            raise OSError(28, f"{needed >> 20} MB needed, {free >> 20} MB free")

    def best(self) -> dict[str, Any] | None:
        """Return {"step", "metric", "value"} of the best checkpoint so far; None without one."""
        try:
            record = json.loads((self.path / "best.json").read_text())
            valid = isinstance(record["step"], int) and isinstance(record["value"], int | float)
            return record if valid else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def mark_best(self, step: int, metric: str, value: float) -> None:
        """Record the best checkpoint and the metric that selected it. Raises StorageError."""
        record = {"step": step, "metric": metric, "value": value}
        write_file(self.path / "best.json", json.dumps(record), REMEDY, durable=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint; rename damaged ones to step-N.corrupt, with a line on stderr."""
        for step in reversed(self.steps()):
            problem = find_damage(self.folder(step))
            if problem is None:
                return Checkpoint(self.folder(step))
            aside = self.folder(step).with_name(f"step-{step}.corrupt")
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(OSError):  # not movable: it is damaged at the next start as well
                self.folder(step).rename(aside)
            print(f"vidpred: warning: damaged checkpoint [{problem}]; using the previous one", file=sys.stderr)
        return None


def pretrained() -> Checkpoint:
    """Return the verified weights that come with the package. Raises StorageError."""
    damage = find_damage(SHIPPED)
    if damage is not None:
        raise StorageError(f"the weights of the vidpred package are damaged [{damage}]; reinstall it")
    return Checkpoint(SHIPPED)


def find_checkpoint(path: str | Path, which: str = "best") -> Checkpoint:
    """Return a checkpoint.

    Args:
        path: A run folder or a checkpoint folder; "pretrained" (unless such a folder exists): the package's weights.
        which: In a run folder: "best" (the newest one if the run has not chosen yet), "last" or "step-N".

    Raises:
        StorageError: There is no such checkpoint, or it is damaged.
    """
    path = Path(path)
    if str(path) == PRETRAINED and not path.exists():
        return pretrained()
    if (path / MANIFEST).is_file():
        return Checkpoint(path)
    run = RunFolder(path)
    steps = run.steps()
    if not steps:
        missing = "no such run folder" if not path.exists() else "no checkpoint in the run folder"
        raise StorageError(f"{missing} [{path}]; train a model with: vidpred train --config tiny.yaml run={path}")
    best = run.best()
    if which == "best" and best and best["step"] in steps:
        return Checkpoint(run.folder(best["step"]))
    if which in ("best", "last"):
        return Checkpoint(run.folder(steps[-1]))
    match = STEP_NAME.fullmatch(which)
    if match is None or int(match[1]) not in steps:
        names = ", ".join(f"step-{step}" for step in steps)
        raise StorageError(f"no checkpoint {which} [{path}]; there are best, last, {names}")
    return Checkpoint(run.folder(int(match[1])))


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load all weights strictly.

    Args:
        module: The network.
        tensors: Its weights by name.
        where: The source of the weights, for the message.

    Raises:
        StorageError: A parameter is missing or has another shape; the message names it and both shapes.
    """
    own = module.state_dict()
    for name in [*own, *(name for name in tensors if name not in own)]:
        if name not in tensors or name not in own:
            side = "checkpoint" if name not in tensors else "model"
            raise StorageError(f"the {side} has no parameter {name} [{where}]; the checkpoint is of another model")
        if own[name].shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
            raise StorageError(f"parameter {name} is {shapes} [{where}]; the checkpoint is of another model")
    module.load_state_dict(dict(tensors))


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors "index.name"; its hyperparameters are in the config."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore an optimizer's state from `pack_optimizer`.

    Every tensor gets the memory layout of its parameter: fused optimizers traverse both in memory order, so a
    contiguous state of a channels-last parameter would pair the wrong elements.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Return the complete lines of a run's metrics.jsonl; none if there is no such file."""
    file = run / "metrics.jsonl"
    lines: list[dict[str, float]] = []
    for text in file.read_text(errors="replace").splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int | float):
            lines.append(line)
    return lines


def read_config(folder: Path, parse: Callable[[dict[str, Any]], Parsed], remedy: str = "is it a run folder?") -> Parsed:
    """Read and parse the settings of a run or checkpoint folder.

    Args:
        folder: The folder.
        parse: Function of the settings, a mapping of sections under their current names.
        remedy: End of the error message.

    Returns:
        The result of `parse`.

    Raises:
        StorageError: There are no settings, or `parse` raised ValueError, KeyError or TypeError.
    """
    file = folder / CONFIG
    try:
        return parse(migrate(yaml.safe_load(file.read_text(encoding="utf-8")), str(file)))
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError):
        raise StorageError(f"cannot read the run's settings [{file}]; {remedy}") from None


def read_settings(run: Path) -> dict[str, object]:
    """Return the settings of a run or checkpoint folder by dotted key. Raises StorageError."""
    return read_config(run, lambda tree: dict(flatten(tree)))
