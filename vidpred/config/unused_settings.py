"""Settings that a run would not read."""

from __future__ import annotations

from vidpred.config.tree import Config
from vidpred.config.yaml_files import as_yaml
from vidpred.errors import ConfigError
from vidpred.settings import flatten, with_all_sections
from vidpred.training.game import AdversarialSettings

# Settings that nothing reads in some runs. Of videos, the embedded two-way world has no files, cuts or frames to spare.
VIDEOS_ONLY = (
    "data.video.on_bad_video", "data.frame_skip", "data.min_motion", "data.video.skip_cuts", "data.split",
    "data.split_fractions", "data.split_file", "data.video.cache_mb", "data.video.fps", "data.video.max_pixels",
    "data.video.max_frames", "data.video.max_hours", "data.augment.vertical_flip", "data.augment.transpose",
    "data.augment.time_reverse", "data.augment.camera_shake", "data.augment.color_jitter", "data.augment.max_speed",
    "data.augment.time_warp", "data.world.synthetic_share",
)  # fmt: skip
# Pictures from noise have no truth to be compared with, one by one.
FRAMES_ONLY = (
    "data.min_motion", "model.action_size", "model.state_size", "training.validate_every",
    "training.validation_windows", "training.best_by", "objective.num_samples",
)  # fmt: skip
READ_BY_FITTING = ("training.steps", "training.device", "training.tensorboard", "training.batch_size")
ADVERSARY_ONLY = ("discriminator.", "training.discriminator")
OPTIMIZER_IGNORES = {"sgd": "betas", "rmsprop": "betas", "adam": "momentum", "adamw": "momentum"}


def refuse_ignored(config: Config) -> None:
    """Raises ConfigError for settings that are not at their defaults though this run would not read them.

    Asked where a run begins, not where a config is loaded: a preset may wait for its data.root.
    """
    values, defaults = (dict(flatten(with_all_sections(c).model_dump(mode="json"))) for c in (config, Config()))
    ignored: dict[str, list[str]] = {}  # why -> keys
    if values["data.root"] is not None:
        ignored["with data.root"] = ["data.world.name"]
    else:
        ignored["without data.root (a folder of videos)"] = list(VIDEOS_ONLY)
        points = config.data.has_points
        if points:
            name = config.data.world_settings.name
            ignored[f"in data.world.name={name}"] = ["data.size", "data.crop_size", "data.augment.horizontal_flip"]
        side, patch = values["data.size"], values["data.crop_size"]
        if config.data.world_settings.name == "motion":
            side = patch or side
        if config.objective.has_discriminator and not points and side not in (None, patch):
            raise ConfigError(
                f"[data.crop_size={patch}] no patches are cut from an embedded world, and an adversary judges one "
                f"size; set data.crop_size={side} or data.root"
            )
    if not config.objective.has_discriminator:
        game = [f"objective.adversarial.{name}" for name in AdversarialSettings.model_fields]
        ignored["without an adversary (objective.adversarial.weight)"] = [
            *game, *(key for key in values if key.startswith(ADVERSARY_ONLY))
        ]  # fmt: skip
    if not config.data.context_frames:
        watched = config.data.has_points  # what of it is covered can be measured
        ignored["without known frames (data.context_frames)"] = [
            key for key in FRAMES_ONLY if not (watched and key == "training.validate_every")
        ]
    if config.model.fitted:
        ignored[f"for model.name={config.model.name}, which is fitted at once"] = [
            key for key in values if key.startswith(("objective.", "training.")) and key not in READ_BY_FITTING
        ]
    for section, kind in (("model", config.model), ("discriminator", config.discriminator)):
        if not kind.takes_labels:
            ignored[f"for {section}.name={kind.name}, which takes no labels"] = [f"{section}.num_labels"]
    if not config.model.noise_channels:
        ignored["without noise (model.noise_channels)"] = ["model.noise"]
    if config.objective.num_samples == 1:
        ignored["with one draw (objective.num_samples)"] = ["objective.other_samples_weight"]
    for network in ("generator", "discriminator"):
        optimizer = values[f"training.{network}.name"]
        if optimizer in OPTIMIZER_IGNORES:
            key = f"training.{network}.{OPTIMIZER_IGNORES[optimizer]}"
            ignored.setdefault(f"with the optimizer {optimizer}", []).append(key)
    for why, keys in ignored.items():
        # A section that is left out by default has a default only as a whole.
        changed = [key for key in keys if key in values and values[key] != defaults.get(key)]
        if changed:
            shown = ", ".join(f"{key}={as_yaml(values[key])}" for key in changed)
            remedy = " ".join(f"{key}={as_yaml(defaults.get(key))}" for key in changed)
            raise ConfigError(f"[{shown}] has no meaning {why}; leave it out or set {remedy}")
