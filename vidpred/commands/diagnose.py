"""What is wrong with a run: its numbers, its checkpoints, how it ended; and with a config, by a short trial."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpred.checkpoint import RunFolder, find_damage, read_config, read_metrics
from vidpred.config import Config, find_preset, load_config
from vidpred.errors import ConfigError, DivergedError, StoppedError, StorageError
from vidpred.media.html_page import Page
from vidpred.media.plots import draw_curves
from vidpred.run import train
from vidpred.training import diagnosis as numbers
from vidpred.training.diagnosis import Diagnosis, checked_titles
from vidpred.version import __version__


@dataclass(frozen=True)
class DoctorReport:
    """What was examined and found. subject names it; lines are those of its metrics.jsonl."""

    subject: str
    lines: list[dict[str, float]]
    found: list[Diagnosis]
    checkpoints: int

    @property
    def last_step(self) -> int:
        return max((int(line["step"]) for line in self.lines), default=0)


def diagnose(lines: Sequence[Mapping[str, Any]], config: Config) -> list[Diagnosis]:
    """What is wrong according to the lines of a metrics.jsonl, the gravest first."""
    frames = config.data.lead - 1 + config.data.future_frames
    return numbers.diagnose(lines, config.objective, config.training, frames)


@contextmanager
def examine(target: str, overrides: Sequence[str] = (), steps: int = 40) -> Iterator[DoctorReport]:
    """The diagnosis of a run folder, or of a config (a preset's name, a YAML file's path) after a trial of `steps`.

    The trial's folder lasts as long as the block. Raises StorageError where a run cannot be read, ConfigError and
    DataError where a trial cannot begin.
    """
    if Path(target).is_dir():
        if overrides:
            raise ConfigError(f"[{overrides[0]}] a run has its settings; give a config to try others")
        yield examine_run(Path(target))
        return
    try:
        find_preset(target)
    except ConfigError:
        if Path(target).suffix in (".yaml", ".yml"):
            raise
        raise StorageError(f"no such run folder, config file or preset [{target}]; see vidpred doctor --help") from None
    config = load_config(target, overrides)
    with tempfile.TemporaryDirectory() as folder:
        yield try_config(config, target, Path(folder) / "trial", steps)


def examine_run(run: Path) -> DoctorReport:
    """Raises StorageError where the folder holds no run or its settings cannot be read."""
    folder = RunFolder(run)
    config = read_config(run, Config.model_validate)
    lines = read_metrics(run)
    found = [*diagnose(lines, config), *damaged(folder), *ended_badly(run)]
    return DoctorReport(str(run), lines, found, len(folder.steps()))


def try_config(config: Config, name: str, run: Path, steps: int) -> DoctorReport:
    """Train a few steps on the config's data, the adversary at its whole weight at once, and examine that run."""
    changes = config.model_dump(mode="json")
    changes["run"] = str(run)
    changes["training"] |= {
        "steps": steps, "log_every": 1, "monitor_every": max(1, steps // 10), "validate_every": 0, "image_every": 0,
        "tensorboard": False,
    }  # fmt: skip
    if config.objective.has_discriminator:
        changes["objective"]["adversarial"] |= {"start": 0, "ramp": 0}
    changes["checkpoint"]["every"] = steps
    try:
        train(Config.model_validate(changes))
    except DivergedError:
        pass  # `ended_badly` reports it
    except StoppedError:
        raise StoppedError("the trial was stopped; nothing of it is kept") from None
    lines = read_metrics(run)
    found = [*diagnose(lines, config), *ended_badly(run)]
    return DoctorReport(f"{name}, a trial of {steps} steps", lines, found, 0)


def damaged(folder: RunFolder) -> list[Diagnosis]:
    """Checkpoints that are not what was written, as their manifests tell; those that a resumed run set aside."""
    problems = [problem for step in folder.steps() if (problem := find_damage(folder.folder(step)))]
    if folder.checkpoints.is_dir():
        problems += [f"{aside.name}: set aside as damaged" for aside in sorted(folder.checkpoints.glob("*.corrupt"))]
    return [
        Diagnosis(
            "a damaged checkpoint", "serious", problem, "it cannot be loaded; training resumes from the one before it",
            "look after the disk; delete the folder, and resume the run to write it again",
        )
        for problem in problems
    ]  # fmt: skip


def ended_badly(run: Path) -> list[Diagnosis]:
    """A run that diverged or whose last process ended with an error."""
    found = []
    for file in sorted(run.glob("diverged-step-*.json")):
        try:
            record = json.loads(file.read_text())
            losses = ", ".join(f"{key}={value}" for key, value in record["losses"].items())
            observed = (
                f"{record['network']} at step {record['step']}: {losses}, gradient norm {record['gradient_norm']}"
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            observed = f"{file.name}, which cannot be read"
        found.append(
            Diagnosis(
                "a run that diverged", "serious", observed, "the training stopped there to keep the checkpoints good",
                "lower the network's learning rate or set training.grad_clip_norm=1",
            )
        )  # fmt: skip
    try:
        record = json.loads((run / "exit.json").read_text())
        code, message = int(record["code"]), str(record["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return found
    if code not in (0, DivergedError.exit_code, StoppedError.exit_code):
        observed = f"exit code {code}: {message}"
        found.append(
            Diagnosis(
                "a run that failed", "serious", observed, "it is not done", "mend the cause; the same command resumes"
            )
        )
    return found


def describe(diagnosis: DoctorReport) -> str:
    """The diagnosis for the terminal."""
    texts = [
        f"{finding.severity}: {finding.title}\n  observed  {finding.observed}\n  why       {finding.why}\n"
        f"  try       {finding.remedy}"
        for finding in diagnosis.found
    ]
    return "\n\n".join([summary(diagnosis), *texts, about_looking(diagnosis)])


def summary(diagnosis: DoctorReport) -> str:
    count = len(diagnosis.found)
    what = "nothing found" if count == 0 else "1 finding" if count == 1 else f"{count} findings"
    return f"{diagnosis.subject}: {what} in {diagnosis.last_step} steps"


def about_looking(diagnosis: DoctorReport) -> str:
    """What was looked at, and what could not be."""
    seen, unseen = checked_titles(diagnosis.lines)
    text = f"looked at {len(diagnosis.lines)} lines of numbers and {diagnosis.checkpoints} checkpoints for: "
    text += ", ".join(seen)
    if unseen:
        text += f"\nno numbers for: {', '.join(unseen)}"
    return text


def write_page(output: Path, diagnosis: DoctorReport) -> None:
    """The diagnosis with the numbers that show it, and all others. Raises StorageError."""
    page = Page("What is wrong with it", lead=summary(diagnosis))
    logged = {diagnosis.subject: diagnosis.lines}
    known = {key for line in diagnosis.lines for key in line if "/" in key}
    with tempfile.TemporaryDirectory() as name:
        for number, finding in enumerate(diagnosis.found):
            page.heading(f"{finding.severity}: {finding.title}")
            for word, said in (("Observed", finding.observed), ("Why", finding.why), ("Try", finding.remedy)):
                page.text(f"{word}: {said}.")
            keys = [key for key in finding.keys if key in known]
            if keys:
                draw_curves(Path(name) / f"{number}.png", logged, keys)
                page.image(Path(name) / f"{number}.png", "The numbers that show it, against the step.")
        page.heading("Looked at")
        for line in about_looking(diagnosis).splitlines():
            page.text(f"{line[0].upper()}{line[1:]}.")
        if known:
            draw_curves(Path(name) / "all.png", logged, sorted(known))
            page.image(Path(name) / "all.png", "All numbers that were logged, against the step.")
    page.write(output, f"vidpred {__version__}")
