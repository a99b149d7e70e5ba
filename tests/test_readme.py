"""Everything in the README runs: its commands in order, in one folder, and its Python."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.video_files import numbered_frames, write_video

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()
BLOCKS = re.findall(r"^```(console|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PROGRAMS = {
    "vidpred": [sys.executable, "-m", "vidpred"],
    "accelerate": [sys.executable, "-m", "accelerate.commands.accelerate_cli"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for number in range(5):
        write_video(folder / "clips" / f"{number}.mp4", numbered_frames(40, 64, 80, first=number * 40))
    write_video(folder / "clip.mp4", numbered_frames(30, 64, 80))
    return folder


def test_readme_runs(folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    assert len(BLOCKS) >= 7
    for kind, text in BLOCKS:
        if kind == "python":
            commands = [[sys.executable, "-c", text]]
        else:
            words = [shlex.split(line) for line in text.splitlines() if line.strip()]
            commands = [[*PROGRAMS[first], *rest] for first, *rest in words]
        for command in commands:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
            )
            assert done.returncode == 0, f"{' '.join(command)[:200]}\n{done.stderr[-2000:]}"
    for name in ("prediction.mp4", "side_by_side.mp4", "metrics.json", "metrics.png", "runs/again", "runs/average"):
        assert (folder / name).exists(), f"{name} was not made"


def test_two_processes_were_two(folder: Path) -> None:
    """The accelerate line of the README started two processes, on CPUs too."""
    state = next((folder / "runs" / "two" / "checkpoints").glob("step-300/state.json")).read_text()
    assert '"processes": 2' in state


def test_files_that_the_readme_points_to_are_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (CHECKOUT / target).exists(), f"{target} is missing"


def test_make_targets_are_there() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
