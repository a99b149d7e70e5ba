"""The settings of one config as text."""

from __future__ import annotations

from vidpred.config.load import LoadedConfig
from vidpred.config.yaml_files import as_yaml
from vidpred.settings import flatten


def describe(loaded: LoadedConfig) -> str:
    """The resolved config, a line a value, with where it came from."""
    values = {key: as_yaml(value) for key, value in flatten(loaded.config.model_dump(mode="json"))}
    left = max(len(f"{key}: {value}") for key, value in values.items())
    return "\n".join(f"{f'{key}: {value}':<{left}}  # {loaded.origins[key]}" for key, value in values.items())
