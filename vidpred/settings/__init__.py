"""The base of settings classes, bounded YAML, former names of settings, and a record of the settings that are read."""

from vidpred.settings.base import Settings, absent_at_defaults, flatten, with_all_sections, with_home
from vidpred.settings.bounded_yaml import YamlError, dump_yaml, parse_with_nodes, parse_yaml
from vidpred.settings.reads import Reads, recording
from vidpred.settings.renamed import MOVED, assign, migrate, moved_to, renamed_value

__all__ = [
    "MOVED",
    "Reads",
    "Settings",
    "YamlError",
    "absent_at_defaults",
    "assign",
    "dump_yaml",
    "flatten",
    "migrate",
    "moved_to",
    "parse_with_nodes",
    "parse_yaml",
    "recording",
    "renamed_value",
    "with_all_sections",
    "with_home",
]
