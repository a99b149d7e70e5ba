"""Ship the weights of a finished run with the package. Run: python -m benchmarks.ship RUN.

The result is an ordinary checkpoint folder with only the averaged weights: safetensors, the settings, and a manifest
with sizes and sha256.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import yaml

from benchmarks.harness import commit
from vidpred.checkpoint import MANIFEST, SHIPPED, find_checkpoint, find_damage, hash_file, read_config

MOST_BYTES = 5_000_000
ABOUT = {
    "data": "the world of moving things, and the train clips of benchmarks/real_clips.py (CC0, CC BY, BSD-3-Clause)",
    "credits": "Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org; Kivy's cityCC0.mpg; Pose2Sim's demo",
}


def ship(run: str, folder: Path = SHIPPED) -> None:
    """Replace the shipped weights by those of a run's last checkpoint."""
    found = find_checkpoint(run, "last")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(found.path / "ema.safetensors", folder)
    tree = read_config(found.path, dict)
    tree["run"] = "runs/motion"  # independent of the folder of the training
    if tree["training"].get("init_from"):
        tree["training"]["init_from"] = "runs/blend"
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    state = {"step": found.step, "commit": commit(), **ABOUT}
    (folder / "state.json").write_text(json.dumps(state, indent=1))
    write_manifest(folder, found.step)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < MOST_BYTES, f"{folder} has {size} bytes, more than {MOST_BYTES}"
    print(f"{folder}: {size} bytes")


def write_manifest(folder: Path, step: int) -> None:
    """Write sizes and sha256 of a checkpoint folder's files."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))
    assert find_damage(folder) is None


if __name__ == "__main__":
    ship(sys.argv[1])
