"""The numbers of a run: metrics.jsonl, experiment trackers, and a progress bar."""

from __future__ import annotations

import json
import math
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vidpred.checkpoint import read_metrics
from vidpred.errors import StorageError, warn
from vidpred.files import append_text, write_file
from vidpred.training.trackers import Trackers

REMEMBERED_LINES = 1000


class Tracker:
    """A writer of the run's numbers, active on the main process only. `lines` are the newest lines, as written."""

    def __init__(
        self, folder: Path, steps: int, first_step: int, active: bool, trackers: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Open the log, and drop lines beyond `first_step`, which a killed run may have left.

        Args:
            folder: The run's folder.
            steps: Number of steps of the run.
            first_step: Number of steps that are done already.
            active: Whether this process writes.
            trackers: Names of experiment trackers that receive the numbers, too.
            settings: The run's settings by dotted key, for the trackers.
        """
        self.active = active
        self._warnings: set[str] = set()
        self.lines: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_LINES)
        if not active:
            return
        self._path = folder / "metrics.jsonl"
        self._drop_later_lines(first_step)
        self._bar = tqdm(
            total=steps, initial=first_step, unit="step", file=sys.stderr, dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 30,
        )  # fmt: skip
        self._trackers = Trackers(trackers, folder, first_step, settings or {}, self.warn)

    def _drop_later_lines(self, first_step: int) -> None:
        if not self._path.is_file():
            return
        kept = [line for line in read_metrics(self._path.parent) if line["step"] <= first_step]
        try:
            write_file(self._path, "".join(f"{json.dumps(line)}\n" for line in kept), "training goes on")
        except StorageError as error:
            warn(error)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write a step's line of metrics.jsonl, floats at 6 significant digits, without NaN and inf."""
        if not self.active:
            return
        finite = {key: value for key, value in values.items() if not isinstance(value, float) or math.isfinite(value)}
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in finite.items()}
        self.lines.append({"step": step, **rounded})
        try:
            append_text(self._path, json.dumps(self.lines[-1]) + "\n")
        except OSError as error:
            self.warn(f"cannot write [{self._path}]: {error.strerror}; its lines are lost while training goes on")
        self._trackers.log(step, rounded)

    def show(self, step: int, image: np.ndarray, video: np.ndarray | None = None) -> None:
        """Pass an image `(H, W, 3)` uint8 and a video `(T, H, W, 3)` uint8 of a step to the experiment trackers."""
        if self.active:
            self._trackers.log_image(step, "training/samples", image)
            if video is not None:
                self._trackers.log_video(step, "training/prediction", video)

    def advance(self, shown: Mapping[str, float]) -> None:
        """Advance the progress bar by one step, and show a few numbers next to it."""
        if self.active:
            if shown:
                self._bar.set_postfix({key: f"{value:.3g}" for key, value in shown.items()}, refresh=False)
            self._bar.update()

    def warn(self, text: str, subject: str | None = None) -> None:
        """Print a warning once: training never ends because of a log or an image.

        Args:
            text: The warning.
            subject: What it is about, if that was enough to be warned about once; None: the text.
        """
        if (subject or text) not in self._warnings:
            self._warnings.add(subject or text)
            self.print(f"vidpred: warning: {text}")

    def print(self, text: str) -> None:
        """Print a line on stderr above the progress bar."""
        if self.active:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Finish the experiment trackers and close the progress bar."""
        if self.active:
            self._trackers.close()
            self._bar.close()


def describe_validation(numbers: Mapping[str, float]) -> str:
    """Return a validation's numbers as text, with the gains over baselines in dB behind their metric."""
    texts = []
    for name in (name for name in numbers if "_over_" not in name):
        gains = [
            f"{gain:+.2f} over {key.removeprefix(f'{name}_over_').replace('_', ' ')}"
            for key, gain in numbers.items()
            if key.startswith(f"{name}_over_")
        ]
        texts.append(f"{name} {numbers[name]:.4g}" + (f" ({', '.join(gains)})" if gains else ""))
    return ", ".join(texts)
