"""The run folder and its checkpoints: safetensors and JSON with a sha256 manifest, written whole or not at all.

runs/mine/
  config.yaml            the resolved settings, written before anything else
  metrics.jsonl          one line every training.log_every steps
  images/              context, truth, prediction, difference
  checkpoints/step-500/  config.yaml, one .safetensors a network and optimizer, state.json, manifest.json
  last.json, best.json   which step; replaced atomically

A checkpoint is written under a temporary name, flushed to disk, then renamed. No file holds a pickle.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
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
MEND = "free space or choose another run="
PRETRAINED = "pretrained"  # the name of the shipped weights, wherever a run is asked for
SHIPPED = Path(__file__).parent / "weights" / "motion"
STEP_NAME = re.compile(r"step-(\d+)")
Parsed = TypeVar("Parsed")
TensorFiles = Mapping[str, Mapping[str, Tensor]]


class Checkpoint:
    """One verified checkpoint folder."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError unless every file of the manifest is there with its size and sha256."""
        self.path = path
        problem = find_damage(path)
        if problem:
            raise StorageError(f"damaged checkpoint [{problem}]; use another one of the run")
        self.state: dict[str, Any] = json.loads((path / "state.json").read_text())
        self.step: int = self.state["step"]

    def has(self, name: str) -> bool:
        return (self.path / f"{name}.safetensors").is_file()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one network or optimizer, on the CPU. Raises StorageError."""
        try:
            return safetensors.torch.load_file(self.path / f"{name}.safetensors")
        except (OSError, SafetensorError) as error:
            raise StorageError(f"cannot read the checkpoint [{self.path / name}.safetensors]: {error}") from None


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, as "step-8/generator.safetensors: reason", or None."""
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
    digest = sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class RunFolder:
    """A run's files. Only the main process writes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"

    @property
    def config_file(self) -> Path:
        return self.path / CONFIG

    def create(self) -> None:
        """Make the folder and check that it can be written, before any work is done. Raises StorageError."""
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
        """Steps that have a checkpoint folder, ascending; whether they are whole is not checked."""
        if not self.checkpoints.is_dir():
            return []
        matches = (STEP_NAME.fullmatch(entry.name) for entry in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def folder(self, step: int) -> Path:
        return self.checkpoints / f"step-{step}"

    def save(self, step: int, files: TensorFiles, state: Mapping[str, Any], keep: int) -> Path:
        """Write the checkpoint of a step, then drop all but the newest `keep` and the best. Raises StorageError."""
        final = self.folder(step)
        try:
            with atomic_write(final, MEND, durable=True) as temporary:
                self._check_space(files)
                temporary.mkdir()
                for name, tensors in files.items():
                    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                    safetensors.torch.save_file(plain, temporary / f"{name}.safetensors")
                (temporary / "state.json").write_text(json.dumps({**state, "step": step}, indent=1))
                if self.config_file.is_file():
                    shutil.copy(self.config_file, temporary / CONFIG)
                manifest = {
                    file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)}
                    for file in sorted(temporary.iterdir())
                }
                (temporary / MANIFEST).write_text(json.dumps({"step": step, "files": manifest}, indent=1))
        except SafetensorError as error:
            raise StorageError(f"cannot write [{final}]: {error}; {MEND}") from None
        write_file(self.path / "last.json", json.dumps({"step": step}), MEND, durable=True)
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
        """{"step", "metric", "value"} of the best checkpoint so far."""
        try:
            record = json.loads((self.path / "best.json").read_text())
            return record if isinstance(record["step"], int) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def mark_best(self, step: int, metric: str, value: float) -> None:
        record = {"step": step, "metric": metric, "value": value}
        write_file(self.path / "best.json", json.dumps(record), MEND, durable=True)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint. Damaged ones are set aside as step-N.corrupt with a line on stderr."""
        for step in reversed(self.steps()):
            problem = find_damage(self.folder(step))
            if problem is None:
                return Checkpoint(self.folder(step))
            aside = self.folder(step).with_name(f"step-{step}.corrupt")
            shutil.rmtree(aside, ignore_errors=True)
            self.folder(step).rename(aside)
            print(f"vidpred: warning: corrupt [{problem}]; the one before it is used", file=sys.stderr)
        return None


def pretrained() -> Checkpoint:
    """The weights that come with the package, their hashes checked. Raises StorageError."""
    damage = find_damage(SHIPPED)
    if damage is not None:
        raise StorageError(f"the weights that come with vidpred are damaged [{damage}]; install it again")
    return Checkpoint(SHIPPED)


def find_checkpoint(path: str | Path, which: str = "best") -> Checkpoint:
    """A checkpoint by run folder and name ("best", "last", "step-500"), or by its own folder; "pretrained", where there
    is no such folder, is the one that comes with the package. Raises StorageError.

    "best" falls back to the newest one where a run has not chosen yet.
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
        raise StorageError(f"{missing} [{path}]; train one with: vidpred train --config tiny.yaml run={path}")
    best = run.best()
    if which == "best" and best and best["step"] in steps:
        return Checkpoint(run.folder(best["step"]))
    if which in ("best", "last"):
        return Checkpoint(run.folder(steps[-1]))
    match = STEP_NAME.fullmatch(which)
    if match is None or int(match[1]) not in steps:
        known = ", ".join(f"step-{step}" for step in steps)
        raise StorageError(f"no checkpoint {which} [{path}]; there are best, last, {known}")
    return Checkpoint(run.folder(int(match[1])))


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load all weights strictly. Raises StorageError naming the first parameter that differs, and both shapes."""
    own = module.state_dict()
    for name in [*own, *(name for name in tensors if name not in own)]:
        if name not in tensors or name not in own:
            side = "checkpoint" if name not in tensors else "model"
            raise StorageError(f"the {side} has no parameter {name} [{where}]; it is another model's checkpoint")
        if own[name].shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
            raise StorageError(f"parameter {name} is {shapes} [{where}]; it is another model's checkpoint")
    module.load_state_dict(dict(tensors))


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors "index.name"; its hyper-parameters are in the config."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `pack_optimizer`.

    Every tensor gets the memory layout of its parameter: fused optimizers walk both in the order of memory, so that a
    plain layout beside a channels-last parameter would pair the wrong elements.
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
    """The lines of a run's metrics.jsonl, but for one that is still being written; none where there is no such file."""
    file = run / "metrics.jsonl"
    lines: list[dict[str, float]] = []
    for text in file.read_text().splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "step" in line:
            lines.append(line)
    return lines


def read_config(folder: Path, parse: Callable[[dict[str, Any]], Parsed], mend: str = "is it a run folder?") -> Parsed:
    """Return what `parse` makes of the settings of a run or checkpoint folder, a mapping of sections under
    the names of today.

    Raises:
        StorageError: There are no settings, or `parse` finds them wrong (ValueError, KeyError, TypeError). The message
            ends with `mend`.
    """
    file = folder / CONFIG
    try:
        return parse(migrate(yaml.safe_load(file.read_text(encoding="utf-8")), str(file)))
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError):
        raise StorageError(f"cannot read the run's settings [{file}]; {mend}") from None


def read_settings(run: Path) -> dict[str, object]:
    """Return the settings of a run or checkpoint folder by dotted key. Raises StorageError."""
    return read_config(run, lambda tree: dict(flatten(tree)))
