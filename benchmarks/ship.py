"""Ship the weights of a finished run with the package. Run: python -m benchmarks.ship RUN [NAME].

NAME (default: motion) is a key of `ABOUT`; "pretrained:NAME" then loads the weights. The result is an ordinary
checkpoint folder with only the averaged weights: safetensors, the settings, and a manifest with sizes and sha256.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import yaml

from benchmarks.harness import commit
from vidpred.checkpoint import MANIFEST, SHIPPED, find_checkpoint, find_damage, hash_file, read_config
from vidpred.errors import ConfigError
from vidpred.inference.hub import DATA_STATE
from vidpred.inference.predictor import Predictor
from vidpred.planning.inputs import trained_size

MOST_BYTES = 5_000_000
DEFAULT = SHIPPED.name
ABOUT = {  # name -> training data, credits
    DEFAULT: (
        "the world of moving things, and the train clips of benchmarks/real_clips.py (CC0, CC BY, BSD-3-Clause)",
        "Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org; Kivy's cityCC0.mpg; Pose2Sim's demo",
    ),
    "pusht": ("episodes of gym_pusht/PushT-v0 under vidpred's scripted policy", "gym-pusht (Apache-2.0)"),
    "block_push": ("episodes of block_push under vidpred's random policy", "none needed"),
}


def ship(run: str, name: str = DEFAULT, *, weights: Path = SHIPPED.parent) -> None:
    """Replace the shipped weights of a name by those of a run's last checkpoint. Raises ConfigError."""
    if name not in ABOUT:
        raise ConfigError(f"no such weights [{name}]; choose from {', '.join(ABOUT)}")
    found, folder = find_checkpoint(run, "last"), weights / name
    size = trained_size(Predictor.load(found.path, device="cpu"))
    data = {key: found.state[key] for key in DATA_STATE if key in found.state}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(found.path / "ema.safetensors", folder)
    tree = read_config(found.path, dict)
    tree["run"] = f"runs/{name}"  # independent of the folder of the training
    if tree["training"].get("init_from"):
        tree["training"]["init_from"] = "runs/blend"
    if name != DEFAULT:  # planning scales frames to the size of the training's, whose data are not shipped
        tree["data"] |= {"root": f"data/{name}", "size": min(size) if isinstance(size, tuple) else size}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    state = {**data, "step": found.step, "commit": commit(), **dict(zip(("data", "credits"), ABOUT[name], strict=True))}
    (folder / "state.json").write_text(json.dumps(state, indent=1))
    write_manifest(folder, found.step)
    total = sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())
    assert total < MOST_BYTES, f"{weights} has {total} bytes, more than {MOST_BYTES}"
    print(f"{folder}: all shipped weights have {total} bytes")


def write_manifest(folder: Path, step: int) -> None:
    """Write sizes and sha256 of a checkpoint folder's files."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))
    assert find_damage(folder) is None


if __name__ == "__main__":
    ship(sys.argv[1], *sys.argv[2:3])
