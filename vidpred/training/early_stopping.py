"""Early stopping: the end of a run whose validation metric has stopped rising."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidpred.training.settings import TrainingSettings


class EarlyStopping:
    """Counts validations in a row that did not improve the metric of `training.best_by`.

    Checkpoints store the count, so a resumed run ends at the same step as an uninterrupted one.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.patience, self.min_delta = settings.early_stopping_patience, settings.early_stopping_min_delta
        self.metric = settings.best_by
        self.best: float | None = None  # the value that the next ones have to exceed
        self.best_step = self.waited = 0

    def update(self, step: int, value: float) -> None:
        """Count a validation after `step` steps with `value` of the metric: a rise above min_delta, or a wait."""
        if self.best is None or value > self.best + self.min_delta:
            self.best, self.best_step, self.waited = value, step, 0
        else:
            self.waited += 1

    @property
    def exhausted(self) -> bool:
        """Whether the run ends, because enough validations have passed without a rise."""
        return self.patience is not None and self.waited >= self.patience

    def describe(self) -> str:
        """Return why the run ends, for a message."""
        margin = f" by more than {self.min_delta:g}" if self.min_delta else ""
        times = "validation" if self.waited == 1 else f"{self.waited} validations"
        return (
            f"{self.metric} was {self.best:.4g} at step {self.best_step} and has not risen{margin} in the last {times} "
            f"[training.early_stopping_patience={self.patience}]"
        )

    def state(self) -> dict[str, Any]:
        """Return the best value, its step and the validations since, for a checkpoint."""
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned; empty, as in a checkpoint of an earlier version, changes nothing."""
        if state:
            self.best, self.best_step, self.waited = state["best"], state["best_step"], state["waited"]
