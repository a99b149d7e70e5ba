"""All commands (console) and Python code (python) in the README and the guides run in order, in one folder.

Other blocks are not run: `text` is output, `bash` takes long or needs data that is not available, and only the targets
of `make` are checked.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image_files import write_digits
from tests.video_files import numbered_frames, write_video
from vidpred.commands import app

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()
GUIDE = CHECKOUT / "docs" / "guide"
PAGES = (
    "quickstart",
    "your-videos",
    "data-sets",
    "predict",
    "stream",
    "evaluate",
    "compare",
    "plan",
    "images",
    "scale",
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# The paper's model takes 500,000 steps: the tests use the same command and files with a small model and two steps.
SMALLER = {
    "train --config motion_sharp.yaml data.root=clips run=runs/sharp": ["training.steps=2"],
    "train --config tiny.yaml data.root=clips run=runs/mine": ["training.steps=40"],
    "--standalone --nproc_per_node 2 -m vidpred train --config tiny.yaml data.root=clips run=runs/two": [
        "training.steps=10",
    ],
    "train --config ucf101.yaml": [
        "model.size=release", "discriminator.size=strided", "training.steps=2", "training.batch_size=2",
    ],
    "train --config tiny.yaml data.root=clips run=runs/noise model.noise_channels=1 objective.num_samples=2": [
        "training.steps=2",
    ],
    "record data/block_push --env block_push --episodes 1000 --size 32": ["--episodes", "6", "--steps", "12"],
    "train --config block_push.yaml data.root=data/block_push": [
        "training.steps=2", "training.batch_size=2", "training.validation_windows=1",
    ],
    "plan --run runs/block_push --env block_push --episodes 50 --json plan.json --video plan.mp4": [
        "--episodes", "1", "--num-samples", "4", "--iterations", "1",
    ],
    "train --config block_push.yaml data.root=data/from_hdf5 run=runs/from_hdf5": [
        "training.steps=2", "training.batch_size=2", "training.validation_windows=1",
    ],
    "evaluate --run runs/mine --json metrics.json --plot metrics.png": ["--windows", "3"],
    "evaluate --run runs/mine": ["--windows", "2"],
    "compare runs/mine pretrained --frames 4 --output compare.html": ["--windows", "2"],
    "complete --run runs/digits --hole 8,8,12,12 --samples 2 --count 2 --output completed.png": ["--steps", "3"],
    "train --config dcgan_mnist.yaml data.root=digits.npz run=runs/digits "
    "model.width=16 discriminator.width=16 training.batch_size=32 training.steps=2000": [
        "training.steps=2", "training.batch_size=8", "model.width=8", "discriminator.width=8", "data.size=28",
    ],
}  # fmt: skip
PROGRAMS = {
    "vidpred": [sys.executable, "-m", "vidpred"],
    "torchrun": [sys.executable, "-m", "torch.distributed.run"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for number in range(5):
        write_video(folder / "clips" / f"{number}.mp4", numbered_frames(40, 64, 80, first=number * 40))
    write_video(folder / "clip.mp4", numbered_frames(30, 64, 80))
    write_ucf101(folder / "data")
    write_digits(folder / "digits.npz")
    return folder


def write_ucf101(data: Path) -> None:
    """Write a few clips in the layout of the data set, with its official lists."""
    names = {group: f"Archery/v_Archery_g{group:02}_c01.avi" for group in (1, 8, 9, 25)}
    for group, name in names.items():
        write_video(data / "UCF-101" / name, numbered_frames(12, 60, 80, first=group), "mpeg4")
    lists = data / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("3 Archery\n")
    (lists / "trainlist01.txt").write_text("".join(f"{names[group]} 3\n" for group in (8, 9, 25)))
    (lists / "testlist01.txt").write_text(f"{names[1]}\n")


def commands_of(kind: str, text: str) -> list[list[str]]:
    """Return the commands of a block, without `make`, which would run these tests again."""
    if kind == "python":
        return [["python", text]]
    if kind not in ("console", ""):
        return []
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    if all(line.startswith("make ") for line in lines):
        return []
    commands = []
    for line in filter(None, lines):
        first, *rest = shlex.split(line)
        commands.append([*PROGRAMS[first], *rest, *SMALLER.get(" ".join(rest), [])])
    return commands


def run(command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> int:
    """Run a command, vidpred and Python code in this process to save the imports; return its exit code."""
    monkeypatch.chdir(folder)
    if command[0] == "python":
        exec(command[1], {"__name__": "__main__"})
        return 0
    if command[:3] == PROGRAMS["vidpred"]:
        monkeypatch.setattr("sys.argv", ["vidpred", *command[3:]])
        try:
            app.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0
    return subprocess.run(command, cwd=folder, env=environment, timeout=240, check=False).returncode


def run_blocks(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, done: set[str]) -> None:
    """Run a page's blocks, except commands that an earlier page has run."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    for kind, block in BLOCK.findall(text):
        for command in commands_of(kind, block):
            words = " ".join(command)
            if words not in done:
                assert run(command, folder, monkeypatch, environment) == 0, words[:200]
                done.add(words)


def test_readme_and_guides_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: set[str] = set()
    run_blocks(README, folder, monkeypatch, done)
    assert len(done) >= 7
    for page in PAGES:
        run_blocks((GUIDE / f"{page}.md").read_text(), folder, monkeypatch, done)
    for name in (
        "future.mp4",
        "prediction.mp4",
        "both.mp4",
        "futures.mp4",
        "metrics.json",
        "metrics.png",
        "compare.html",
        "doctor.html",
        "plan.json",
        "plan.mp4",
        "digits.png",
        "completed.png",
        "runs/again",
        "runs/average",
    ):
        assert (folder / name).exists(), f"{name} was not made"
    assert {page.stem for page in GUIDE.glob("*.md")} == {
        *PAGES,
        "deploy",
        "extend",
        "reliability",
        "tour",
        "troubleshooting",
    }  # without blocks to run
    assert (folder / "data" / "UCF-101" / "splits.csv").read_text().count(",train") == 2
    assert (folder / "runs" / "ucf101" / "checkpoints" / "step-2").is_dir()


def test_two_processes_were_two(folder: Path) -> None:
    """The guide's torchrun command starts two processes, on CPUs too."""
    state = next((folder / "runs" / "two" / "checkpoints").glob("step-10/state.json")).read_text()
    assert '"processes": 2' in state


def test_files_that_the_readme_points_to_are_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (CHECKOUT / target).exists(), f"{target} is missing"


def test_make_targets_are_there() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = re.findall(r"`make (\w+)`", README)
    assert "demo" in targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
