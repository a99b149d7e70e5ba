"""Build settings with subsections from flat names."""

from __future__ import annotations

from typing import Any

from vidpred.data.settings import DataSettings
from vidpred.settings import Settings
from vidpred.training.objectives import ObjectiveSettings


def nested(kind: type[Settings], values: dict[str, Any]) -> dict[str, Any]:
    """Move values into the subsections of `kind` that they belong to."""
    defaults = {"video": DataSettings().video_settings, "augment": DataSettings().augment_settings,
                "world": DataSettings().world_settings, "adversarial": ObjectiveSettings().adversary}  # fmt: skip
    tree: dict[str, Any] = {}
    for name, value in values.items():
        homes = [section for section in defaults if section in kind.model_fields
                 and name in type(defaults[section]).model_fields and name not in kind.model_fields]  # fmt: skip
        (tree.setdefault(homes[0], {}) if homes else tree)[name] = value
    return tree


def data_settings(**values: Any) -> DataSettings:
    return DataSettings.model_validate(nested(DataSettings, values))


def objective_settings(**values: Any) -> ObjectiveSettings:
    return ObjectiveSettings.model_validate(nested(ObjectiveSettings, values))
