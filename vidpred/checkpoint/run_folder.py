"""The run folder, which the main process of a run writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from vidpred.checkpoint.records import BestRecord
from vidpred.checkpoint.verified import (
    CONFIG,
    STEP_NAME,
    Checkpoint,
    read_state,
    save_tensors,
    write_manifest,
)
from vidpred.errors import StorageError, warn
from vidpred.files import atomic_write, check_writable, make_folder, write_file
from vidpred.processes.temporary import remove

REMEDY = "free space or choose another run="
TensorFiles = Mapping[str, Mapping[str, Tensor]]

_folders: dict[str, os.stat_result] = {}  # in which this process trains


def is_gone(path: Path) -> bool:
    """Return whether the run folder at `path` in which this process trains was moved, deleted or replaced."""
    return _is_another(path, _folders.get(os.path.abspath(path)))


def _is_another(path: Path, began: os.stat_result | None) -> bool:
    try:
        return began is not None and not os.path.samestat(path.stat(), began)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # of a network file system, for a while
        return False


class RunFolder:
    """The files of a run, which only the main process writes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self._config: str | None = None  # the settings as written, for every checkpoint
        self._began: os.stat_result | None = None

    @property
    def config_file(self) -> Path:
        """The file with the run's settings."""
        return self.path / CONFIG

    def create(self) -> None:
        """Create the folder and check that it is writable. Raises StorageError."""
        try:
            make_folder(self.checkpoints)
            check_writable(self.checkpoints)
            self.remember()
        except OSError as error:
            raise StorageError(
                f"cannot write the run folder [{self.path}]: {error.strerror}; choose another run="
            ) from None

    def remember(self) -> None:
        """Remember which folder it is; `is_gone` then notices another one in its place."""
        with suppress(OSError):
            self._began = _folders[os.path.abspath(self.path)] = self.path.stat()

    def check_in_place(self) -> None:
        """Check that the folder is where it was, before anything writes to a second one. Raises StorageError."""
        if not _is_another(self.path, self._began):
            return
        raise StorageError(
            f"the run folder was moved or removed while it trained [{self.path}]; repeat the command with run= set "
            "to where it is now"
        )

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint folder, ascending; the folders may be damaged."""
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
        with atomic_write(final, REMEDY, durable=True) as temporary:
            self._check_space(files)
            temporary.mkdir()
            for name, tensors in files.items():
                save_tensors(tensors, temporary / f"{name}.safetensors")
            (temporary / "state.json").write_text(json.dumps({**state, **mark, "step": step}, indent=1))
            if self._config is not None:
                (temporary / CONFIG).write_text(self._config, encoding="utf-8")
            elif self.config_file.is_file():
                shutil.copy(self.config_file, temporary / CONFIG)
            write_manifest(temporary, step)
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
            warn(error)

    def _check_space(self, files: TensorFiles) -> None:
        needed = sum(
            tensor.numel() * tensor.element_size() for tensors in files.values() for tensor in tensors.values()
        )
        free = shutil.disk_usage(self.checkpoints).free
        if free < 1.1 * needed:
            raise OSError(28, f"{needed >> 20} MB needed, {free >> 20} MB free")

    def marked(self) -> int | None:
        """Return the step of the best checkpoint so far, also if that is damaged; None without one."""
        best = self.best()
        with suppress(OSError, ValueError):
            record = BestRecord.read(self.path / "best.json")
            if record.step in self.steps() and (best is None or record.value > best["value"]):
                return record.step  # its own record of that cannot be read
        return None if best is None else best["step"]

    def best(self) -> dict[str, Any] | None:
        """Return {"step", "metric", "value"} of the best intact checkpoint so far; None without one."""
        states = {}
        for step in self.steps():
            with suppress(OSError, ValueError):  # damaged
                states[step] = read_state(self.folder(step))
        records = [{**state["best"], "step": step} for step, state in states.items() if "best" in state]
        with suppress(OSError, ValueError):  # of runs whose checkpoints do not contain it
            record = BestRecord.read(self.path / "best.json")
            if record.step in states:
                records.append(record.model_dump())
        return max(records, key=lambda record: (record["value"], -record["step"]), default=None)

    def newest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint or None; rename damaged ones to step-N.corrupt, with a warning."""
        steps = self.steps()
        for step in reversed(steps):
            try:
                return Checkpoint(self.folder(step))
            except StorageError as error:
                problem = str(error).partition(";")[0]
                then = "using the previous one" if step != steps[0] else "no other one is left, so the run starts anew"
                warn(f"{problem}; {self._set_aside(step)}{then}")
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
