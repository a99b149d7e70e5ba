"""Zarr arrays of robot episodes, as diffusion policy stores them.

    vidpred prepare zarr pusht_cchi_v7_replay.zarr data/pusht size=64

The arrays data/img (or other images), data/action and data/state hold all episodes one after the other, and
meta/episode_ends where each ends. A .zarr.zip is read too. Row t of the actions leads from frame t to frame t+1. Needs
zarr (pip install 'vidpred[zarr]').
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from vidpred.errors import ConfigError, DataError

from .command import main
from .episodes import EpisodeArrays

MARKS = ("zarr.json", ".zgroup")


class Zarr(EpisodeArrays):
    """One zarr group, or a folder of them."""

    name: ClassVar[str] = "zarr"
    about: ClassVar[str] = "zarr episodes (diffusion policy) with actions and states"
    expects: ClassVar[str] = "a .zarr folder or .zarr.zip file, or a folder of them"

    def files(self) -> dict[str, Path]:
        if self.source.is_file() or any((self.source / mark).is_file() for mark in MARKS):
            return {self.source.name: self.source}
        found = [*self.source.glob("*.zarr"), *self.source.glob("*.zarr.zip")]
        return {path.name: path for path in sorted(found)}

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        try:
            zarr: Any = import_module("zarr")
        except ImportError:
            raise ConfigError("zarr arrays need zarr: pip install 'vidpred[zarr]'") from None
        try:
            if path.is_dir():
                return nullcontext(zarr.open_group(str(path), mode="r"))
            store = zarr.storage.ZipStore(str(path), mode="r")
            group = zarr.open_group(store, mode="r")
            return nullcontext(group)
        except zarr.errors.BaseZarrError as error:
            raise DataError(f"not a zarr group ({error}) [{path}]") from None


if __name__ == "__main__":
    main(Zarr.name)
