"""Checkpoints by the name of a run folder, of a checkpoint folder, or of the shipped weights."""

from __future__ import annotations

from pathlib import Path

from vidpred.checkpoint.run_folder import RunFolder
from vidpred.checkpoint.verified import MANIFEST, STEP_NAME, Checkpoint, find_damage
from vidpred.errors import StorageError

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
