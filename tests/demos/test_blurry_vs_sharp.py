"""The script runs with its documented command, on a tiny setting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demos import blurry_vs_sharp
from vidpred import Predictor

CHECKOUT = Path(blurry_vs_sharp.__file__).parent.parent


@pytest.mark.slow
def test_two_steps(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demos.blurry_vs_sharp", "--output", str(tmp_path / "out"), "--steps", "2"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, last = done.stdout.splitlines()
    for name, line in zip(blurry_vs_sharp.PRESETS, lines, strict=True):
        assert line.startswith(f"{name}: ")
        assert "% sharp" in line
        assert line.endswith("512 forks")
    for preset in blurry_vs_sharp.PRESETS.values():
        assert Predictor.load(tmp_path / "out" / Path(preset).stem).step == 2
    image = np.asarray(Image.open(last.removeprefix("look at ")))
    assert image.std() > 10, "the image is empty"
