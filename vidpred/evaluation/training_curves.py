"""The training curves of a comparison page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidpred.checkpoint import read_metrics
from vidpred.inference.load_models import by_name
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page
from vidpred.media.plots import curve_keys, draw_curves


def add_curves(page: Page, predictors: Sequence[Predictor], folder: Path) -> None:
    """Add plots of the logged losses and validation numbers to a page, written to `folder` first; a line per run."""
    folders = {name: predictor.run_folder for name, predictor in by_name(predictors).items()}
    logged = {name: read_metrics(one) for name, one in folders.items() if one is not None}
    keys = curve_keys(logged)
    if not keys:
        return
    draw_curves(folder / "curves.png", logged, keys)
    page.heading("Training")
    page.image(folder / "curves.png", "Numbers that the runs logged during training.")
