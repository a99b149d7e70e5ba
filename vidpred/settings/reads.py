"""Which settings are read: the difference between a setting that has an effect and one that is decoration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from vidpred.settings.base import Settings


class Reads:
    """The dotted keys of a tree of settings that were read while it was recorded."""

    def __init__(self, root: Settings) -> None:
        self.keys: set[str] = set()
        self._places: dict[int, str] = {}  # of every section's object
        self._copies: list[Settings] = []  # kept, so that no other object takes their place in memory
        self._place(root, "")

    def _place(self, section: Settings, prefix: str) -> None:
        self._places[id(section)] = prefix
        for name, value in vars(section).items():
            if isinstance(value, Settings):
                self._place(value, f"{prefix}{name}.")

    def note(self, section: Settings, name: str) -> None:
        """Note that a field of a section was read; sections of other trees do not count."""
        prefix = self._places.get(id(section))
        if prefix is not None and name in type(section).model_fields:
            self.keys.add(prefix + name)

    def copied(self, section: Settings, copy: Settings) -> None:
        """Let reads of a copy count as reads of the section."""
        if id(section) in self._places:
            self._place(copy, self._places[id(section)])
            self._copies.append(copy)

    def handed_over(self, section: Settings, names: Iterable[str] | None = None) -> None:
        """Count plain values of a section (all: None) as read, because they are read later."""
        for name in type(section).model_fields if names is None else names:
            self.note(section, name)


@contextmanager
def recording(root: Settings) -> Iterator[Reads]:
    """Record which settings of a tree are read within the block. Validation and dumps do not count."""
    reads = Reads(root)
    before = {name: Settings.__dict__.get(name) for name in ("__getattribute__", "model_copy")}
    read, copy = Settings.__getattribute__, Settings.model_copy

    def noting(self: Settings, name: str) -> Any:
        reads.note(self, name)
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
