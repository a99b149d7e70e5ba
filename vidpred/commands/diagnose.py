"""Diagnosis of a run from its numbers, checkpoints and exit code, and of a config by a short trial run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vidpred.checkpoint import RunFolder, find_damage, read_config, read_metrics
from vidpred.checkpoint.records import DivergenceRecord, ExitRecord
from vidpred.config import Config, find_preset, load_config
from vidpred.errors import ConfigError, DivergedError, StoppedError, StorageError, counted
from vidpred.media.html_page import Page
from vidpred.media.plots import draw_curves
from vidpred.run import train
from vidpred.training.diagnosis import Diagnosis, checked_titles, diagnose
from vidpred.training.settings import TrainingSettings
from vidpred.training.validation import VALIDATION, validation_settings
from vidpred.version import __version__


@dataclass(frozen=True)
class DoctorReport:
    """The diagnosis of a run: name, lines of metrics.jsonl, findings, number of checkpoints, settings."""

    subject: str
    lines: list[dict[str, float]]
    found: list[Diagnosis]
    checkpoints: int
    config: Config

    @property
    def last_step(self) -> int:
        """The newest step with a line; 0 without lines."""
        return max((int(line["step"]) for line in self.lines), default=0)


@contextmanager
def examine(target: str, overrides: Sequence[str] = (), steps: int = 40) -> Iterator[DoctorReport]:
    """Yield the diagnosis of a run, or of a config after a trial run, whose folder is deleted after the block.

    Args:
        target: A run folder, a preset's name or the path of a YAML file.
        overrides: Settings KEY=VALUE of the trial.
        steps: Number of steps of the trial.

    Raises:
        StorageError: The run cannot be read.
        ConfigError: The trial's settings are wrong.
        DataError: The trial's data cannot be read.
    """
    if Path(target).is_dir():
        if overrides:
            raise ConfigError(f"[{overrides[0]}] the settings of a run are fixed; pass a config to try others")
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
    """Diagnose a run folder. Raises StorageError if it holds no run or its settings cannot be read."""
    folder = RunFolder(run)
    config = read_config(run, Config.model_validate)
    lines = read_metrics(run)
    found = [*diagnose(lines, config), *damaged(folder), *ended_badly(run)]
    return DoctorReport(str(run), lines, found, len(folder.steps()), config)


def try_config(config: Config, name: str, run: Path, steps: int) -> DoctorReport:
    """Train a few steps with the adversary at its full weight from the start, and diagnose that run."""
    changes = config.model_dump(mode="json")
    changes["run"] = str(run)
    changes["training"] |= {
        "steps": steps, "trackers": [], **{name: TrainingSettings.model_fields[name].default for name in VALIDATION},
        **dict.fromkeys(validation_settings(config.data, config.training)[:1], 0),
    }  # fmt: skip
    if config.objective.has_discriminator:
        changes["objective"]["adversarial"] |= {"start": 0, "ramp": 0}
    if not config.model.fitted:  # such models have no loop
        changes["training"] |= {"log_every": 1, "monitor_every": max(1, steps // 10), "image_every": 0}
        changes["checkpoint"]["every"] = steps
    try:
        train(Config.model_validate(changes))
    except DivergedError:
        pass  # `ended_badly` reports it
    except StoppedError:
        raise StoppedError("the trial was stopped; its files are deleted") from None
    lines = read_metrics(run)
    found = [*diagnose(lines, config), *ended_badly(run)]
    return DoctorReport(f"{name}, a trial of {steps} steps", lines, found, 0, config)


def damaged(folder: RunFolder) -> list[Diagnosis]:
    """Find checkpoints that differ from their manifests, and those that a resumed run set aside."""
    problems = [problem for step in folder.steps() if (problem := find_damage(folder.folder(step)))]
    if folder.checkpoints.is_dir():
        problems += [f"{aside.name}: set aside as damaged" for aside in sorted(folder.checkpoints.glob("*.corrupt"))]
    return [
        Diagnosis(
            "a damaged checkpoint", "serious", problem, "it cannot be loaded; training resumes from the previous one",
            "check the disk; delete the folder, and resume the run to write it again",
        )
        for problem in problems
    ]  # fmt: skip


def ended_badly(run: Path) -> list[Diagnosis]:
    """Find records of divergence, and of a last process that ended with an error."""
    found = []
    for file in sorted(run.glob("diverged-step-*.json")):
        try:
            record = DivergenceRecord.read(file)
            losses = ", ".join(f"{key}={value}" for key, value in record.losses.items())
            observed = f"{record.network} at step {record.step}: {losses}, gradient norm {record.gradient_norm}"
        except (OSError, ValueError):
            observed = f"{file.name}, which cannot be read"
        found.append(
            Diagnosis(
                "a run that diverged", "serious", observed, "the training stopped there to protect its checkpoints",
                "lower the network's learning rate or set training.grad_clip_norm=1",
            )
        )  # fmt: skip
    try:
        ending = ExitRecord.read(run / "exit.json")
    except (OSError, ValueError):
        return found
    code, message = ending.code, ending.message
    if code not in (0, DivergedError.exit_code, StoppedError.exit_code):
        observed = f"exit code {code}: {message}"
        found.append(
            Diagnosis(
                "a run that failed", "serious", observed, "it is incomplete", "fix the cause; the same command resumes"
            )
        )
    return found


def describe(report: DoctorReport) -> str:
    """Return the diagnosis as text for the terminal."""
    texts = [
        f"{finding.severity}: {finding.title}\n  observed  {finding.observed}\n  why       {finding.why}\n"
        f"  try       {finding.remedy}"
        for finding in report.found
    ]
    return "\n\n".join([summary(report), *texts, describe_checks(report)])


def summary(report: DoctorReport) -> str:
    """Return one line: the subject, and the numbers of findings and steps."""
    count = len(report.found)
    what = counted(count, "finding") if count else "nothing found"
    return f"{report.subject}: {what} in {counted(report.last_step, 'step')}"


def describe_checks(report: DoctorReport) -> str:
    """Return which checks ran, and which had no numbers to read."""
    checked, unchecked = checked_titles(report.lines, report.config)
    read = f"{counted(len(report.lines), 'line')} of numbers and {counted(report.checkpoints, 'checkpoint')}"
    text = f"checked {read} for: {', '.join(checked)}"
    if unchecked:
        text += f"\nno numbers for: {', '.join(unchecked)}"
    return text


def write_page(output: Path, report: DoctorReport) -> None:
    """Write an HTML page with the findings and plots of the logged numbers. Raises StorageError."""
    page = Page("Diagnosis", lead=summary(report))
    logged = {report.subject: report.lines}
    logged_keys = {key for line in report.lines for key in line if "/" in key}
    with tempfile.TemporaryDirectory() as name:
        for number, finding in enumerate(report.found):
            page.heading(f"{finding.severity}: {finding.title}")
            for word, text in (("Observed", finding.observed), ("Why", finding.why), ("Try", finding.remedy)):
                page.text(f"{word}: {text}.")
            keys = [key for key in finding.keys if key in logged_keys]
            if keys:
                draw_curves(Path(name) / f"{number}.png", logged, keys)
                page.image(Path(name) / f"{number}.png", "The numbers behind this finding, against the step.")
        page.heading("Checks")
        for line in describe_checks(report).splitlines():
            page.text(f"{line[0].upper()}{line[1:]}.")
        if logged_keys:
            draw_curves(Path(name) / "all.png", logged, sorted(logged_keys))
            page.image(Path(name) / "all.png", "All logged numbers, against the step.")
    page.write(output, f"vidpred {__version__}")
