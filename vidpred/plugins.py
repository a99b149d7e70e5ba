"""Entries that other installed packages add to the package's tables, by entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from importlib.metadata import entry_points
from typing import TypeVar

Kind = TypeVar("Kind")


def plugged_in(
    group: str, base: type[Kind], taken: Container[str] = (), add: Callable[[type[Kind]], None] | None = None
) -> dict[str, type[Kind]]:
    """Load the classes that installed packages add to a table.

    A plug-in that cannot be loaded is left out, with one warning line on stderr.

    Args:
        group: The group of entry points, such as "vidpred.data_sets".
        base: The class that each of them has to derive from.
        taken: Names that a plug-in cannot have.
        add: Called with each class; raises ValueError for one that cannot be used.

    Returns:
        Name of the entry point -> class, by name.
    """
    found: dict[str, type[Kind]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        try:
            kind = point.load()
            if not (isinstance(kind, type) and issubclass(kind, base)):
                raise TypeError(f"it is no class below {base.__name__}")
            if point.name in taken:
                raise ValueError("the name is taken")
            if add is not None:
                add(kind)
            found[point.name] = kind
        except Exception as error:  # whatever the module of another package raises
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            where = f"{point.dist.name if point.dist else '?'}, {group}: {point.value}"
            warning = f"the plug-in {point.name} is left out: {reason} [{where}]; mend or uninstall it"
            print(f"vidpred: warning: {warning}", file=sys.stderr)
    return found
