"""Settings that were set although the run does not use them."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from vidpred.config.tree import Config
from vidpred.errors import ConfigError, warn
from vidpred.settings import Settings
from vidpred.settings.yaml_files import as_yaml


def report_unused(config: Config, read: Set[str], warning: bool = True) -> None:
    """Report settings that differ from their defaults and are not read by the run.

    Args:
        config: The settings of the run.
        read: The dotted keys that the run reads.
        warning: Warn about settings from presets and from Python, in one line on stderr.

    Raises:
        ConfigError: A setting on the command line is not used by this run.
    """
    unused = {key: value for key, value in changed(config) if key not in read}
    given = [key for key in unused if config.origins.get(key) == "command line"]
    if given:
        named = ", ".join(f"{key}={as_yaml(unused[key])}" for key in given)
        raise ConfigError(f"[{named}] not used by this run; remove {'it' if len(given) == 1 else 'them'}")
    if unused and warning:
        named = ", ".join(f"{key} ({config.origins.get(key, 'given in Python')})" for key in unused)
        warn(f"settings that this run does not use: {named}")
    if warning:
        for text in unreached(config, read):
            warn(text)


def unreached(config: Config, read: Set[str]) -> list[str]:
    """Return a sentence for every learning rate that never reaches its value, because the training ends before."""
    steps, found = config.training.steps, []
    for name in ("schedule", "discriminator_schedule"):
        shape, key = getattr(config.training, name), f"training.{name}.warmup_steps"
        if shape is not None and shape.warmup_steps > steps and key in read:
            found.append(f"[{key}={shape.warmup_steps}, training.steps={steps}] the learning rate only reaches "
                         f"{steps / shape.warmup_steps:.1%} of its value; set {key}={steps // 10}")  # fmt: skip
    return found


def changed(section: Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of every setting that differs from the default of its section's class."""
    for name, field in type(section).model_fields.items():
        value = vars(section)[name]
        if isinstance(value, Settings):
            yield from changed(value, f"{prefix}{name}.")
        elif value != field.default:
            yield prefix + name, list(value) if isinstance(value, tuple) else value
