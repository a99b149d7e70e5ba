"""Evaluate runs on the windows of a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vidpred.data.build import SPLITS, build_source
from vidpred.errors import ConfigError
from vidpred.evaluation.learned import Learned
from vidpred.evaluation.measures import PROTOCOLS
from vidpred.evaluation.protocols import (
    Evaluation,
    evaluate_models,
    known_frames,
    with_baselines,
)
from vidpred.inference.predictor import Predictor
from vidpred.models.build import count_parameters
from vidpred.models.conditions import check_conditions
from vidpred.models.noise import noise_channels
from vidpred.version import __version__


def evaluate(
    run: str | Path,
    steps: int = 8,
    split: str = "test",
    windows: int | None = 200,
    root: str | None = None,
    checkpoint: str = "best",
    samples: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """`evaluate_predictors` for one run folder."""
    predictor = Predictor.load(run, checkpoint)
    return evaluate_predictors([predictor], steps, split, windows, root, samples=samples, seed=seed)


def evaluate_predictors(
    predictors: Sequence[Predictor],
    steps: int = 8,
    split: str = "test",
    windows: int | None = 200,
    root: str | None = None,
    progress: bool = False,
    protocol: str = "plain",
    samples: int | None = None,
    seed: int = 0,
    learned: Learned | None = None,
) -> Evaluation:
    """Measure predictors on the whole frames of a split of the first one's data, the baselines beside.

    windows: at most so many, evenly spread over the split (None: all). root: other videos than the run's, read with
    its settings. protocol: plain, mathieu2016 or openstl. samples: draw so many futures from the runs that take noise,
    and report best, mean and worst of them and their spread; seed: of the noise. learned: LPIPS, FID and FVD, which it
    keeps. Raises ConfigError where none takes noise, for an unknown split or protocol and for runs that differ in
    data.channels, data.frame_skip or data.rate, DataError where it has no window long enough.
    """
    if split not in SPLITS:
        raise ConfigError(f"no such split [--split {split}]; choose from {', '.join(SPLITS)}")
    for predictor in predictors:
        predictor.check_known_frames()
    for key in ("channels", "frame_skip", "rate"):
        found = sorted({getattr(predictor.data, key) for predictor in predictors}, key=str)
        if len(found) > 1:
            raise ConfigError(f"the runs differ in their frames [data.{key}: {found}]; evaluate them one by one")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"no such protocol [--protocol {protocol}]; choose from {', '.join(PROTOCOLS)}")
    if samples is not None and not any(noise_channels(predictor.generator) for predictor in predictors):
        predictors[0].check_samples(samples, "--samples ")
    models = with_baselines({n: p.generator for n, p in zip(named(predictors), predictors, strict=True)}, steps)
    data = predictors[0].data if root is None else predictors[0].data.model_copy(update={"root": root})
    # Each model sees the newest known frames that it needs.
    offsets = range(known_frames(models) + steps)
    source = build_source(data, split, offsets, progress=progress)
    for predictor in predictors:
        check_conditions(predictor.generator, source)
    return evaluate_models(
        models, source, steps, windows, progress, PROTOCOLS[protocol], device=predictors[0].device,
        samples=samples, seed=seed, learned=learned,
    )  # fmt: skip


def named(predictors: Sequence[Predictor]) -> list[str]:
    """The predictors' names, told apart by a number where they are not."""
    names = [predictor.name for predictor in predictors]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({place})" for place, name in enumerate(names, 1)]


def about_evaluation(predictors: Sequence[Predictor], split: str, root: str | None) -> dict[str, Any]:
    """What evaluation numbers belong to."""
    return {
        "runs": [{"name": p.name, "step": p.step, "parameters": count_parameters(p.generator)} for p in predictors],
        "data": root or predictors[0].data.root or "the embedded two-way world",
        "split": split,
        "versions": {"vidpred": __version__, "torch": torch.__version__},
    }
