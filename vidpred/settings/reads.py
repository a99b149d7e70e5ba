"""A record of the settings that are read, to find those without any effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from vidpred.settings.base import Settings


class Reads:
    """The dotted keys of the settings in a tree that were read during a recording."""

    def __init__(self, root: Settings) -> None:
        self.keys: set[str] = set()
        self._places: dict[int, str] = {}  # id of a section's object -> its dotted prefix
        self._copies: list[Settings] = []  # kept alive so that their ids stay unique
        self._place(root, "")

    def _place(self, section: Settings, prefix: str) -> None:
        self._places[id(section)] = prefix
        for name, value in vars(section).items():
            if isinstance(value, Settings):
                self._place(value, f"{prefix}{name}.")

    def record(self, section: Settings, name: str) -> None:
        """Record that a field of a section was read; sections of other trees are ignored."""
        prefix = self._places.get(id(section))
        if prefix is not None and name in type(section).model_fields:
            self.keys.add(prefix + name)

    def copied(self, section: Settings, copy: Settings) -> None:
        """Count later reads of `copy` as reads of the section."""
        if id(section) in self._places:
            self._place(copy, self._places[id(section)])
            self._copies.append(copy)

    def handed_over(self, section: Settings, names: Iterable[str] | None = None) -> None:
        """Count plain values of a section (None: all) as read, because they will be read later."""
        for name in type(section).model_fields if names is None else names:
            self.record(section, name)


@contextmanager
def recording(root: Settings) -> Iterator[Reads]:
    """Record which settings of a tree are read in the block, except by validation and dumps."""
    reads = Reads(root)
    before = {name: Settings.__dict__.get(name) for name in ("__getattribute__", "model_copy")}
    read, copy = Settings.__getattribute__, Settings.model_copy

    def noting(self: Settings, name: str) -> Any:
        reads.record(self, name)
        return read(self, name)

    def copying(self: Settings, **options: Any) -> Any:
        copied = copy(self, **options)
        reads.copied(self, copied)
        return copied

    setattr(Settings, "__getattribute__", noting)  # noqa: B010
    setattr(Settings, "model_copy", copying)  # noqa: B010
    try:
        yield reads
    finally:
        for name, method in before.items():
            if method is None:
                delattr(Settings, name)
            else:
                setattr(Settings, name, method)
