"""The base of every settings class: unknown keys refused, values fixed after loading."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of the settings sections. Each section stands directly above the class or function that takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())
