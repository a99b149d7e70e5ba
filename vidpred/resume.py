"""What a run begins with: its folder, as it was left, and perhaps another run's weights."""

from __future__ import annotations

import sys
from collections.abc import Set
from typing import Any

from torch import nn

from vidpred.checkpoint import RunFolder, find_checkpoint, load_weights, read_config
from vidpred.config import Config, to_yaml
from vidpred.errors import ConfigError, StorageError
from vidpred.files import write_file
from vidpred.models.base import Discriminator, Generator
from vidpred.settings import flatten, with_all_sections

# What may change between the runs of one folder: nothing of it changes what the weights will be.
FREE_ON_RESUME = (
    "run",
    "data.num_workers",
    "data.video.cache_mb",
    "data.video.on_bad_video",
    "data.video.max_pixels",
    "data.video.max_frames",
    "data.video.max_hours",
    "data.timeout_seconds",
    "training.log_every",
    "training.monitor_every",
    "training.validate_every",
    "training.validation_windows",
    "training.image_every",
    "training.tensorboard",
    "training.init_from",
    "checkpoint.every",
    "checkpoint.keep",
)
# Changes the rest of the run, as is wanted when a run is lengthened or its data was moved; said on stderr.
NOTED_ON_RESUME = ("training.steps", "data.root")


def prepare_folder(folder: RunFolder, config: Config, read: Set[str]) -> None:
    """Write the resolved config first; on resume, refuse settings that would make it another run.

    read: the keys that this run reads; the others make no difference.

    Raises ConfigError naming the changed keys or fewer steps than are done, StorageError.
    """
    steps = folder.steps()
    if steps and config.training.steps < steps[-1]:
        raise ConfigError(
            f"[training.steps] {config.training.steps} is below step {steps[-1]}, the newest checkpoint of the run "
            f"[{folder.path}]; set training.steps={steps[-1]} or more, or choose another run="
        )
    if folder.config_file.is_file() and steps:
        before = read_config(folder.path, Config.model_validate, "choose another run=")
        changed = {key: values for key, values in changed_keys(before, config).items() if key in read}
        refused = [f"{key} was {old}, now {new}" for key, (old, new) in changed.items() if key not in NOTED_ON_RESUME]
        if refused:
            raise ConfigError(
                f"the run folder holds a run with other settings [{folder.path}]: {'; '.join(refused)}; "
                "choose another run="
            )
        for key, (old, new) in changed.items():
            print(f"vidpred: resuming with {key} changed: was {old}, now {new}", file=sys.stderr)
    folder.create()
    write_file(folder.config_file, to_yaml(config), "free space or choose another run=")


def changed_keys(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (old, new) for all settings that differ and may not change freely."""
    old, new = (dict(flatten(with_all_sections(config).model_dump(mode="json"))) for config in (before, after))
    return {key: (old[key], new[key]) for key in new if old[key] != new[key] and key not in FREE_ON_RESUME}


def init_from(run: str, generator: Generator, discriminator: Discriminator | None) -> None:
    """Begin with another run's weights. A discriminator made for another patch size keeps its convolutions only: its
    linear layers start afresh. Raises StorageError naming the first parameter of the generator that does not fit."""
    found = find_checkpoint(run)
    try:
        load_weights(generator, generator.weights_from(found.tensors("ema")), str(found.path))
    except StorageError as error:
        reason = str(error).removesuffix("; it is another model's checkpoint")
        raise StorageError(
            f"[training.init_from={run}] {reason}; use the model section, data.context_frames, data.pred_frames and "
            f"data.channels of {found.path / 'config.yaml'}"
        ) from None
    if discriminator is None or not found.has("discriminator"):
        return
    stored, own = found.tensors("discriminator"), discriminator.state_dict()
    fitting = {name: stored[name] for name in own if name in stored and stored[name].shape == own[name].shape}
    if len(fitting) < len(own):
        linear = {name for name, module in discriminator.named_modules() if isinstance(module, nn.Linear)}
        fitting = {
            name: value for name, value in fitting.items() if not any(name.startswith(f"{layer}.") for layer in linear)
        }
    discriminator.load_state_dict({**own, **fitting})
