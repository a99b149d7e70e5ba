"""What an adversary of patches adds to l1 and the gradient difference, on unseen real clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.mathieu_long import CONTEXT, KEPT, Numbers, measure_clip
from vidpred.config import Config, load_config
from vidpred.data.batch import to_float
from vidpred.evaluation.feature_distance import FeatureDistance
from vidpred.inference.predictor import Predictor
from vidpred.models.baselines import CopyLast
from vidpred.models.rollout import rollout

STEPS, MORE = 1500, 1000  # of the shared start with squared error, and of every row after it
ADAM = {"name": "adam", "betas": [0.5, 0.99]}
SHARED: dict[str, Any] = {
    "data.crop_size": 64, "data.size": 96, "data.min_motion": 0.0005, "data.num_workers": 0, "model.size": "release",
    "model.residual": "last_frame", "training.batch_size": 4, "training.generator": {**ADAM, "learning_rate": 4e-4},
    "training.grad_clip_norm": 1.0, "training.ema_decay": 0.995, "training.validate_every": 0,
    "training.image_every": 0, "training.monitor_every": 0, "training.log_every": 50, "checkpoint.keep": 1,
    "checkpoint.every": 250,
}  # fmt: skip
PATCH: dict[str, Any] = {
    "discriminator.name": "patch", "objective.adversarial.loss": "hinge", "objective.adversarial.balanced": True,
    "objective.adversarial.weight": 1.0, "objective.adversarial.start": 250, "objective.adversarial.ramp": 100,
    "objective.adversarial.r1_weight": 0.01, "training.discriminator": {**ADAM, "learning_rate": 1e-3},
}  # fmt: skip
PAPER: dict[str, Any] = {
    "discriminator.size": "strided", "objective.adversarial.weight": 0.0125, "objective.adversarial.r1_weight": 0.1,
    "training.discriminator": {**ADAM, "learning_rate": 1e-3},
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "l2": {"objective.lp_exponent": 2.0, "objective.gdl_weight": 0.0},
    "l1 + GDL": {},
    "l1 + GDL + paper's discriminator": PAPER,
    "l1 + GDL + patches": PATCH,
    "l1 + GDL + patches, weight .5": {**PATCH, "objective.adversarial.weight": 0.5},
    "l1 + GDL + patches of two scales": {**PATCH, "discriminator.scales": 2},
    "l1 + GDL, rollouts of three": {"data.unroll": 3},
    "l1 + GDL + patches, rollouts of three": {**PATCH, "data.unroll": 3, "objective.adversarial.weight": 0.5},
    "l1 + GDL + patches, spectral norm": {
        **PATCH, "discriminator.spectral_norm": True, "objective.adversarial.r1_weight": 0.0,
    },
    "l2 + patches": {**PATCH, "objective.lp_exponent": 2.0, "objective.gdl_weight": 0.0},
}  # fmt: skip


def row_config(row: str, seed: int, frames: Path, folder: Path) -> Config:
    """Return the config of a row, which continues from the shared start; "start" is that start."""
    changes: dict[str, Any] = {**SHARED, "data.root": str(frames / "train"), "run": str(folder / row), "seed": seed}
    if row == "start":
        return load_config("ladder_l2.yaml", {**changes, **ROWS["l2"], "training.steps": STEPS})
    changes |= {
        "training.generator": {**ADAM, "learning_rate": 3e-4}, "training.init_from": str(folder / "start"),
        "training.schedule": {"shape": "cosine", "hold": 0.5, "final": 0.1}, "training.steps": MORE,
    }  # fmt: skip
    return load_config("ladder_gdl_l1.yaml", {**changes, **ROWS[row]})


def predict(run: str, clips: Path) -> dict[str, torch.Tensor]:
    """Return the frames of `KEPT` that a run predicts, `(n, len(KEPT), 3, H, W)` by clip; "copy" copies."""
    found = {}
    predictor = None if run == "copy" else Predictor.load(run, "last", device="cpu")
    with np.load(clips) as windows:
        for clip in windows:
            context = to_float(torch.from_numpy(windows[clip][:, :CONTEXT]))
            frames = (
                predictor.predict(context, max(KEPT)) if predictor else rollout(CopyLast(CONTEXT), context, max(KEPT))
            )
            found[clip] = frames[:, [number - 1 for number in KEPT]]
    return found


def measure(run: str, clips: Path, distance: FeatureDistance) -> dict[str, Numbers]:
    """Return the numbers of a run by `split/clip`."""
    predictions = predict(run, clips)
    with np.load(clips) as windows:
        return {
            clip: measure_clip(predictions[clip], to_float(torch.from_numpy(windows[clip])), distance)
            for clip in windows
        }
