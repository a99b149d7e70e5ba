"""The configuration of a run: the tree of settings, loaded from a YAML preset and dotted overrides."""

from vidpred.config.explain import describe, explain
from vidpred.config.load import (
    LoadedConfig,
    find_preset,
    load_config,
    load_with_origins,
    preset_folder,
    split_words,
    to_yaml,
)
from vidpred.config.tree import CHOICES, Config
from vidpred.settings.keys import sections_of
from vidpred.settings.yaml_files import as_yaml, parse_text

__all__ = [
    "CHOICES",
    "Config",
    "LoadedConfig",
    "as_yaml",
    "describe",
    "explain",
    "find_preset",
    "load_config",
    "load_with_origins",
    "parse_text",
    "preset_folder",
    "sections_of",
    "split_words",
    "to_yaml",
]
