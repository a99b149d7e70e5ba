"""Plug-ins: classes that other installed packages add by entry points."""

from __future__ import annotations

from collections.abc import Callable, Container
from importlib.metadata import entry_points
from typing import TypeVar

from vidpred.errors import warn

Kind = TypeVar("Kind")


def plugged_in(
    group: str, base: type[Kind], taken: Container[str] = (), add: Callable[[type[Kind]], None] | None = None
) -> dict[str, type[Kind]]:
    """Load the plug-ins of a group.

    A plug-in that cannot be loaded is skipped, with one warning line on stderr.

    Args:
        group: The group of entry points, such as "vidpred.data_sets".
        base: The required base class.
        taken: Reserved names.
        add: Called with each class; raises ValueError for an unusable one.

    Returns:
        The classes by name of their entry point, sorted.
    """
    found: dict[str, type[Kind]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        try:
            kind = point.load()
            if not (isinstance(kind, type) and issubclass(kind, base)):
                raise TypeError(f"not a subclass of {base.__name__}")
            if point.name in taken:
                raise ValueError("the name is taken")
            if add is not None:
                add(kind)
            found[point.name] = kind
        except Exception as error:  # modules of other packages may raise anything
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            where = f"{point.dist.name if point.dist else '?'}, {group}: {point.value}"
            warn(f"skipped the plug-in {point.name}: {reason} [{where}]; fix or uninstall it")
    return found
