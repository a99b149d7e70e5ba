"""Settings that were renamed since earlier versions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from vidpred.settings.base import flatten

MOVED = {  # old dotted key -> new
    "data.step": "data.lead",
    "data.patch_size": "data.crop_size",
    "data.movement_threshold": "data.min_motion",
    "data.labelled": "data.labeled",
    "data.labelled_share": "data.labeled_share",
    "data.workers": "data.num_workers",
    "data.on_bad_video": "data.video.on_bad_video",
    "data.max_pixels": "data.video.max_pixels",
    "data.max_frames": "data.video.max_frames",
    "data.max_hours": "data.video.max_hours",
    "data.rate": "data.video.fps",
    "data.skip_cuts": "data.video.skip_cuts",
    "data.memory_mb": "data.video.cache_mb",
    "data.flip": "data.augment.horizontal_flip",
    "data.flip_vertical": "data.augment.vertical_flip",
    "data.transpose": "data.augment.transpose",
    "data.reverse": "data.augment.time_reverse",
    "data.shake": "data.augment.camera_shake",
    "data.colour": "data.augment.color_jitter",
    "data.speed": "data.augment.max_speed",
    "data.wander": "data.augment.time_warp",
    "data.world": "data.world.name",
    "data.synthetic_share": "data.world.synthetic_share",
    "model.patch": "model.cell_size",
    "model.spots": "model.spatial_actions",
    "model.normalise": "model.normalize",
    "model.most_images": "model.max_images",
    "model.evaluations": "model.euler_steps",
    "model.maps": "model.feature_maps",
    "discriminator.deviation_group": "discriminator.minibatch_std_group",
    "objective.draws": "objective.num_samples",
    "objective.other_draws_weight": "objective.other_samples_weight",
    "objective.adversarial": "objective.adversarial.loss",
    "objective.adversarial_weight": "objective.adversarial.weight",
    "objective.adversarial_start": "objective.adversarial.start",
    "objective.adversarial_ramp": "objective.adversarial.ramp",
    "objective.feature_matching_weight": "objective.adversarial.feature_matching_weight",
    "objective.class_weight": "objective.adversarial.class_weight",
    "objective.real_label": "objective.adversarial.real_label",
    "objective.r1_weight": "objective.adversarial.r1_weight",
    "objective.r1_every": "objective.adversarial.r1_every",
    "objective.gradient_penalty_weight": "objective.adversarial.gradient_penalty_weight",
    "objective.drift_weight": "objective.adversarial.drift_weight",
    "objective.weight_clip": "objective.adversarial.weight_clip",
    "objective.wrong_pairs": "objective.adversarial.wrong_pairs",
    "objective.discriminator_steps": "objective.adversarial.discriminator_steps",
    "training.clip_norm": "training.grad_clip_norm",
    "training.picture_every": "training.image_every",
    "training.tensorboard": "training.trackers",
    "training.start_from": "training.init_from",
}
VALUES: dict[str, dict[Any, Any]] = {  # dotted key -> old value -> new
    "data.world.name": {"two_way": "forking_ball", "motion": "moving_shapes"},
    "model.name": {"mixture": "gaussian_mixture"},
    "training.trackers": {True: ["tensorboard"], False: []},
}
SECTIONS = {key for key in MOVED if any(new.startswith(f"{key}.") for new in MOVED.values())}  # values once


def moved_to(key: str, value: Any = None) -> str | None:
    """Return the new name of a renamed setting; None for any other key.

    Args:
        key: A dotted key.
        value: Its value, which distinguishes a former setting from a section that has its name now.
    """
    if key in SECTIONS and (value is None or isinstance(value, Mapping)):
        return None
    return MOVED.get(key)


def renamed_value(key: str, value: Any) -> Any:
    """Return the new name of a renamed value of the setting `key`; None for any other value."""
    return VALUES.get(key, {}).get(value) if isinstance(value, str | bool) else None


def assign(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a value in nested dictionaries by its dotted key, creating missing sections."""
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(tree.get(section), dict):
            tree[section] = {}
        tree = tree[section]
    tree[name] = value


def migrate(tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the stored settings of a run under their current names, with one note on stderr if names changed.

    Args:
        tree: The settings, nested.
        where: The file that contains them.
    """
    current: dict[str, Any] = {}
    for key, value in flatten(tree):
        new = moved_to(key, value) or key
        renamed = renamed_value(new, value)
        if new != key or renamed is not None:
            _note(where)
        assign(current, new, value if renamed is None else renamed)
    return current


@cache
def _note(where: str) -> None:
    print(f"vidpred: translated settings that were renamed since an earlier version [{where}]", file=sys.stderr)
