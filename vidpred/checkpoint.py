"""The run folder and its checkpoints: safetensors and JSON with a sha256 manifest, written atomically.

runs/mine/
  config.yaml            the resolved settings, written before anything else
  metrics.jsonl          one line every training.log_every steps
  images/                context, true frames, prediction, difference
  checkpoints/step-500/  config.yaml, a .safetensors per network and optimizer, state.json, manifest.json
  last.json, best.json   the step of the checkpoint, for other programs

A checkpoint is written under a temporary name, flushed to disk, then renamed. Its state.json also has the metric if it
is the best checkpoint so far, so that saving and marking are one act. No file contains a pickle. All contents are
untrusted: hashes protect against damage, not against whoever wrote the files.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from vidpred.errors import StorageError
from vidpred.files import atomic_write, check_writable, parse_json, read_bytes, read_json, write_file
from vidpred.processes.temporary import remove
from vidpred.settings import flatten, migrate, parse_yaml

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
REMEDY = "free space or choose another run="
PRETRAINED = "pretrained"  # the name of the shipped weights, accepted in place of a run folder
SHIPPED = Path(__file__).parent / "weights" / "motion"
STEP_NAME = re.compile(r"step-(0|[1-9][0-9]{0,17})")
MOST_JSON_BYTES, MOST_CONFIG_BYTES = 64 << 20, 1 << 20
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
    if not _is_step(state.get("step")) or (match and state["step"] != int(match[1])):
        raise ValueError("a wrong step")
    classes = state.get("classes") or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes that are no names")
    if not isinstance(state.get("own_generator") or "", str) or not _is_step(state.get("processes") or 0):
        raise ValueError("values of wrong types")
    if "best" in state and not _is_mark(state["best"]):
        raise ValueError("a wrong metric")
    schedule, stopping = state.get("schedule") or {}, state.get("early_stopping") or {}
    if not isinstance(schedule, dict) or not isinstance(stopping, dict):
        raise ValueError("values of wrong types")
    limits = schedule.get("limits", {})
    numbers = [*(limits.values() if isinstance(limits, dict) else [limits]), schedule.get("growth", 0)]
    counts = [
        schedule.get("steps", 1) - 1 if _is_step(schedule.get("steps", 1)) else -1,
        *(stopping.get(name, 0) for name in ("best_step", "waited")),
    ]
    if stopping and (stopping.keys() != {"best", "best_step", "waited"} or not _is_number(stopping["best"] or 0)):
        raise ValueError("a wrong metric")
    scalers = state.get("scalers") or {}
    if not isinstance(scalers, dict) or not all(isinstance(scaler, dict) for scaler in scalers.values()):
        raise ValueError("values of wrong types")
    numbers += [value for scaler in scalers.values() for value in scaler.values()]
    if not all(map(_is_number, numbers)) or not all(map(_is_step, counts)):
        raise ValueError("numbers of wrong types")
    return state


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _is_mark(value: Any) -> bool:
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


def write_manifest(folder: Path, step: int) -> None:
    """Write the manifest of the files that are in a checkpoint folder."""
    files = {file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))


class RunFolder:
    """The files of a run, which only the main process writes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self._config: str | None = None  # the settings as written, for every checkpoint

    @property
    def config_file(self) -> Path:
        """The file with the run's settings."""
        return self.path / CONFIG

    def create(self) -> None:
        """Create the folder and check that it is writable. Raises StorageError."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            check_writable(self.checkpoints)
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

    def write_config(self, text: str) -> None:
        """Write the run's settings, of which every checkpoint stores a copy. Raises StorageError."""
        write_file(self.config_file, text, REMEDY)
        self._config = text

    def save(
        self,
        step: int,
        files: TensorFiles,
        state: Mapping[str, Any],
        keep: int,
        best: tuple[str, float] | None = None,
    ) -> Path:
        """Write the checkpoint of a step, then delete all except the newest `keep` and the best.

        Args:
            step: Number of steps done.
            files: Tensors by name, for each network and optimizer.
            state: Further entries of state.json.
            keep: Number of newest checkpoints to keep.
            best: Name and value of the metric by which this is the best checkpoint so far; None: it is not.

        Returns:
            The checkpoint's folder.

        Raises:
            StorageError: The checkpoint cannot be written.
        """
        final = self.folder(step)
        mark = {} if best is None else {"best": {"metric": best[0], "value": best[1]}}
        try:
            with atomic_write(final, REMEDY, durable=True) as temporary:
                self._check_space(files)
                temporary.mkdir()
                for name, tensors in files.items():
                    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                    safetensors.torch.save_file(plain, temporary / f"{name}.safetensors")
                (temporary / "state.json").write_text(json.dumps({**state, **mark, "step": step}, indent=1))
                if self._config is not None:
                    (temporary / CONFIG).write_text(self._config, encoding="utf-8")
                elif self.config_file.is_file():
                    shutil.copy(self.config_file, temporary / CONFIG)
                write_manifest(temporary, step)
        except SafetensorError as error:
            why = str(error).removeprefix("Error while serializing: ").removeprefix("I/O error: ")
            raise StorageError(f"cannot write [{final}]: {why}; {REMEDY}") from None
        self._note("last.json", {"step": step})
        record = self.best()
        if best is not None:
            self._note("best.json", {"step": step, **mark["best"]})
        for old in self.steps()[:-keep]:
            if record is None or old != record["step"]:
                shutil.rmtree(self.folder(old), ignore_errors=True)
        return final

    def _note(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file that repeats what checkpoints contain; without it nothing is lost."""
        try:
            write_file(self.path / name, json.dumps(content), "training goes on", durable=True)
        except StorageError as error:
            print(f"vidpred: warning: {error}", file=sys.stderr)

    def _check_space(self, files: TensorFiles) -> None:
        needed = sum(
            tensor.numel() * tensor.element_size() for tensors in files.values() for tensor in tensors.values()
        )
        free = shutil.disk_usage(self.checkpoints).free
        if free < 1.1 * needed:
            raise OSError(28, f"{needed >> 20} MB needed, {free >> 20} MB free")

    def best(self) -> dict[str, Any] | None:
        """Return {"step", "metric", "value"} of the best checkpoint so far; None without one."""
        states = {}
        for step in self.steps():
            with suppress(OSError, ValueError):  # damaged
                states[step] = read_state(self.folder(step))
        records = [{**state["best"], "step": step} for step, state in states.items() if "best" in state]
        with suppress(OSError, ValueError):  # of runs whose checkpoints do not contain it
            record = read_json(self.path / "best.json", MOST_JSON_BYTES)
            if _is_mark(record) and _is_step(record.get("step")) and record["step"] in states:
                records.append(record)
        return max(records, key=lambda record: (record["value"], -record["step"]), default=None)

    def newest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint; rename damaged ones to step-N.corrupt, with a line on stderr."""
        steps = self.steps()
        for step in reversed(steps):
            try:
                return Checkpoint(self.folder(step))
            except StorageError as error:
                problem = str(error).partition(";")[0]
                then = "using the previous one" if step != steps[0] else "no other one is left, so the run starts anew"
                print(f"vidpred: warning: {problem}; {self._set_aside(step)}{then}", file=sys.stderr)
        return None

    def _set_aside(self, step: int) -> str:
        """Rename a damaged checkpoint; return for the warning what prevented that."""
        aside = self.folder(step).with_name(f"step-{step}.corrupt")
        try:
            remove(aside)
            self.folder(step).rename(aside)
        except OSError as error:  # it is damaged at the next start as well
            return f"it cannot be renamed ({error.strerror}); "
        return ""


def is_pretrained(name: str | Path) -> bool:
    """Return whether a name is that of shipped weights, "pretrained" or "pretrained:NAME", and no folder has it."""
    return str(name).partition(":")[0] == PRETRAINED and not Path(name).exists()


def pretrained(name: str = PRETRAINED) -> Checkpoint:
    """Return the verified weights that come with the package.

    Args:
        name: "pretrained", or "pretrained:NAME" for a folder next to `SHIPPED`.

    Raises:
        StorageError: There are no such weights, or they are damaged.
    """
    model = name.partition(":")[2]
    folder = SHIPPED.parent / model if model else SHIPPED
    known = sorted(found.name for found in SHIPPED.parent.glob("*") if (found / MANIFEST).is_file())
    if model and model not in known:
        choices = ", ".join(f"{PRETRAINED}:{one}" for one in known)
        raise StorageError(f"the vidpred package has no such weights [{name}]; there are {choices}")
    damage = find_damage(folder)
    if damage is not None:
        raise StorageError(f"the weights of the vidpred package are damaged [{damage}]; reinstall it")
    return Checkpoint(folder)


def find_checkpoint(path: str | Path, which: str = "best") -> Checkpoint:
    """Return a checkpoint.

    Args:
        path: A run folder, a checkpoint folder, or the package's weights, see `pretrained`.
        which: In a run folder: "best" (the newest one if the run has not chosen yet), "last" or "step-N".

    Raises:
        StorageError: There is no such checkpoint, or it is damaged.
    """
    if is_pretrained(path):
        return pretrained(str(path))
    path = Path(path)
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
    """Load all weights strictly; for arguments and errors see `check_weights`."""
    check_weights(module, tensors, where)
    module.load_state_dict(dict(tensors))


def check_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Check that weights are those of a network, which may be on the meta device.

    Args:
        module: The network.
        tensors: Its weights by name.
        where: The source of the weights, for the message.

    Raises:
        StorageError: A parameter is missing, has another shape or type, or is not finite; the message names it.
    """
    own = module.state_dict()
    for name in [*own, *(name for name in tensors if name not in own)]:
        if name not in tensors or name not in own:
            side = "checkpoint" if name not in tensors else "model"
            raise StorageError(f"the {side} has no parameter {name} [{where}]; the checkpoint is of another model")
        if own[name].shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
            raise StorageError(f"parameter {name} is {shapes} [{where}]; the checkpoint is of another model")
        if own[name].is_floating_point() != tensors[name].is_floating_point() or tensors[name].is_complex():
            raise StorageError(
                f"parameter {name} is {tensors[name].dtype} [{where}]; the checkpoint is of another model"
            )
        if not _is_finite(tensors[name]) and (own[name].is_meta or _is_finite(own[name])):
            raise StorageError(f"parameter {name} has values that are not finite [{where}]; use another checkpoint")


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors "index.name"; its hyperparameters are in the config."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], where: str = "") -> None:
    """Restore an optimizer's state from `pack_optimizer`.

    Every tensor gets the memory layout of its parameter: fused optimizers traverse both in memory order, so a
    contiguous state of a channels-last parameter would pair the wrong elements.

    Args:
        optimizer: The optimizer.
        tensors: Its state.
        where: The source of the state, for the message.

    Raises:
        StorageError: The state does not belong to this optimizer, or is not finite.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = _state_names(optimizer)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        number = int(index) if re.fullmatch("[0-9]{1,9}", index) else len(parameters)
        shape = torch.Size() if name == "step" else parameters[number].shape if number < len(parameters) else None
        if name not in names or value.shape != shape or not value.is_floating_point() or not _is_finite(value):
            raise StorageError(f"the state {key} does not fit the optimizer [{where}]; use another checkpoint")
        if value.dim():
            value = torch.empty_like(parameters[number], dtype=value.dtype).copy_(value)
        state.setdefault(number, {})[name] = value
    if any(part.keys() != names for part in state.values()):
        raise StorageError(f"a part of the optimizer's state is missing [{where}]; use another checkpoint")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _state_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """Return what an optimizer stores for each parameter that it has updated."""
    momentum = {"momentum_buffer"} if optimizer.defaults.get("momentum") else set()
    if isinstance(optimizer, torch.optim.SGD):
        return momentum
    averages = {"square_avg"} if isinstance(optimizer, torch.optim.RMSprop) else {"exp_avg", "exp_avg_sq"}
    return {"step", *averages, *momentum}


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Return the complete lines of a run's metrics.jsonl; none if there is no such file."""
    lines: list[dict[str, float]] = []
    try:
        content = read_bytes(run / "metrics.jsonl").decode(errors="replace")
    except OSError:
        return lines
    for text in content.splitlines():
        try:
            line = parse_json(text)
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
        StorageError: There are no settings, or `parse` raised ValueError, KeyError or TypeError. A run folder's own
            are replaced by the copy in its newest intact checkpoint then.
    """
    try:
        return _parse_config(folder / CONFIG, parse)
    except UNUSABLE_CONFIG:
        run = RunFolder(folder)
        for step in reversed(run.steps()):
            with suppress(*UNUSABLE_CONFIG):
                found = _parse_config(run.folder(step) / CONFIG, parse)
                if find_damage(run.folder(step)) is None:
                    print(
                        f"vidpred: warning: cannot read the run's settings [{folder / CONFIG}]; using the copy of "
                        f"step-{step}",
                        file=sys.stderr,
                    )
                    return found
        raise StorageError(f"cannot read the run's settings [{folder / CONFIG}]; {remedy}") from None


UNUSABLE_CONFIG = (OSError, ValueError, KeyError, TypeError, AttributeError)


def _parse_config(file: Path, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    tree = parse_yaml(read_bytes(file, MOST_CONFIG_BYTES).decode("utf-8"))
    return parse(migrate(tree, str(file)))


def read_settings(run: Path) -> dict[str, object]:
    """Return the settings of a run or checkpoint folder by dotted key. Raises StorageError."""
    return read_config(run, lambda tree: dict(flatten(tree)))
