"""Checkpoints by the name of a run folder, of a checkpoint folder, or of the shipped weights."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from vidpred.checkpoint.run_folder import RunFolder
from vidpred.checkpoint.verified import MANIFEST, STEP_NAME, Checkpoint, find_damage
from vidpred.errors import StorageError, warn

ROLES = ("best", "last")
PRETRAINED = "pretrained"  # the name of the shipped weights, accepted in place of a run folder
SHIPPED = Path(__file__).parents[1] / "weights" / "motion"


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
        which: In a run folder: "best" (the newest one if the run has not chosen yet), "last" or "step-N". Instead of a
            damaged "best" or "last", the newest intact one is used, with a warning.

    Raises:
        StorageError: There is no such checkpoint, or it is damaged.
    """
    if is_pretrained(path):
        return pretrained(str(path))
    path = Path(path)
    if os.path.lexists(path / MANIFEST):
        return Checkpoint(path)
    run = RunFolder(path)
    steps = run.steps()
    if not steps:
        missing = "no such run folder" if not path.exists() else "no checkpoint in the run folder"
        raise StorageError(f"{missing} [{path}]; train a model with: vidpred train --config tiny.yaml run={path}")
    if which in ROLES:
        return _newest_intact(run, run.marked() if which == "best" else None)
    match = STEP_NAME.fullmatch(which)
    if match is None or int(match[1]) not in steps:
        names = ", ".join(f"step-{step}" for step in steps)
        raise StorageError(f"no checkpoint {which} [{path}]; there are best, last, {names}")
    return Checkpoint(run.folder(int(match[1])))


def _newest_intact(run: RunFolder, wanted: int | None) -> Checkpoint:
    """Return the checkpoint of a step (None: the newest); if it is damaged the newest intact one, with a warning."""
    steps = run.steps()
    first = steps[-1] if wanted is None else wanted
    problem = None
    for step in [first, *(step for step in reversed(steps) if step != first)]:
        try:
            found = Checkpoint(run.folder(step))
        except StorageError as error:
            problem = problem or error
            continue
        if problem is not None:
            _warn(f"{str(problem).partition(';')[0]}; using step-{step}, the newest intact one [{run.path}]")
        return found
    raise StorageError(f"{str(problem).partition(';')[0]}; no checkpoint of the run is intact [{run.path}]")


_warn = cache(warn)  # once, although commands look several times
