"""One runnable script a data set: scans it once and writes its official splits beside it."""

from __future__ import annotations

from pathlib import Path

from vidpred.errors import ConfigError


def run_preparation(name: str, source: Path, splits: Path | None) -> str:
    """Run a data set's script by name; returns its summary. Raises vidpred's errors."""
    from data_prep import folder, ucf101

    scripts = {"folder": folder.prepare, "ucf101": ucf101.prepare}
    if name not in scripts:
        raise ConfigError(f"no preparation named {name!r}; there are {', '.join(scripts)}")
    return scripts[name](source, splits)
