"""The start of a run: checks before it resumes, and weights from another run."""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from typing import Any

from torch import nn

from vidpred.checkpoint import RunFolder, find_checkpoint, load_weights, read_config
from vidpred.config import Config, to_yaml
from vidpred.errors import ConfigError, StorageError
from vidpred.models.base import Discriminator, Generator
from vidpred.settings import flatten, with_all_sections

# Settings that may change on resume because they do not affect the weights.
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
    "training.early_stopping_patience",
    "training.early_stopping_min_delta",
    "training.image_every",
    "training.trackers",
    "training.profile",
    "training.peer_timeout_seconds",
    "training.init_from",
    "checkpoint.every",
    "checkpoint.keep",
)
# Settings that may change on resume, with a note on stderr: a longer run, or data that was moved.
NOTED_ON_RESUME = ("training.steps", "data.root")
SHOWN = 2  # changed settings in a message


def prepare_folder(folder: RunFolder, config: Config, read: Set[str]) -> None:
    """Write the resolved config, or on resume check that it continues the same run.

    Args:
        folder: The run's folder.
        config: The settings.
        read: The keys that the run reads; others may change.

    Raises:
        ConfigError: Settings changed, or the run has more steps already.
        StorageError: The folder cannot be read or written.
    """
    for key, (old, new) in check_resumed(folder, config, read).items():
        print(f"vidpred: resuming with {key} changed: was {old}, now {new}", file=sys.stderr)
    folder.create()
    folder.write_config(to_yaml(config))


def check_resumed(folder: RunFolder, config: Config, read: Set[str]) -> dict[str, tuple[Any, Any]]:
    """Check that settings continue the run of a folder; return those that changed and may. See `prepare_folder`."""
    newest = folder.newest()
    done = 0 if newest is None else newest.step
    if config.training.steps < done:
        raise ConfigError(
            f"[training.steps] {config.training.steps} is below step {done}, the newest checkpoint of the run "
            f"[{folder.path}]; set training.steps={done} or more, or choose another run="
        )
    if newest is not None and (folder.config_file.exists() or newest.has_config):
        before = read_config(folder.path, Config.model_validate, "choose another run=")
        changed = {key: values for key, values in changed_keys(before, config).items() if key in read}
        refused = [f"{key} was {old}, now {new}" for key, (old, new) in changed.items() if key not in NOTED_ON_RESUME]
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        if refused:
            raise ConfigError(
                f"the run has other settings [{folder.path}]: {'; '.join(refused[:SHOWN])}{more}; "
                f"{_ways_on(folder, [key for key in changed if key not in NOTED_ON_RESUME])}"
            )
        return changed
    return {}


def _ways_on(folder: RunFolder, refused: Sequence[str]) -> str:
    """Return what to do about other settings, first what fits them: a long message keeps only that.

    Other settings of the training are meant; other data or networks come from a config that is missing.
    """
    resume = f"to resume it, add --config {folder.config_file}"
    anew = f"to start from its weights, set training.init_from={folder.path} and another run="
    meant = all(key.startswith(("training.", "objective.")) for key in refused)
    return ", or ".join((anew, resume) if meant else (resume, anew))


def changed_keys(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Return (old, new) by dotted key for all settings that differ, except `FREE_ON_RESUME`."""
    old, new = (dict(flatten(with_all_sections(config).model_dump(mode="json"))) for config in (before, after))
    return {key: (old[key], new[key]) for key in new if old[key] != new[key] and key not in FREE_ON_RESUME}


def init_from(run: str, generator: Generator, discriminator: Discriminator | None) -> None:
    """Load the initial weights from another run.

    For another crop size only the discriminator's convolutions are loaded; its linear layers keep their random weights.

    Args:
        run: Run or checkpoint folder, or "pretrained".
        generator: The generator.
        discriminator: The discriminator; None: none.

    Raises:
        StorageError: The run cannot be read, or its generator has other parameters.
    """
    found = find_checkpoint(run)
    try:
        load_weights(generator, generator.weights_from(found.tensors("ema")), str(found.path))
    except StorageError as error:
        reason = str(error).removesuffix("; the checkpoint is of another model")
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
