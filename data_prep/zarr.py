"""Zarr arrays of robot episodes, as diffusion policy stores them.

    vidpred prepare zarr pusht_cchi_v7_replay.zarr data/pusht size=64

The arrays data/img (or other images), data/action and data/state hold all episodes one after the other, and
meta/episode_ends where each ends. A .zarr.zip is read too. Row t of the actions leads from frame t to frame t+1. Needs
zarr (the extra `zarr`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from vidpred.data.videos.index import warn_of_folder
from vidpred.errors import ConfigError, DataError, counted, install_extra
from vidpred.files import check_folder, check_regular

from .command import main
from .episodes import EpisodeArrays

MARKS = ("zarr.json", ".zgroup")


class Zarr(EpisodeArrays):
    """One zarr group, or a folder of them."""

    name: ClassVar[str] = "zarr"
    about: ClassVar[str] = "zarr episodes (diffusion policy) with actions and states"
    expects: ClassVar[str] = "a .zarr folder or .zarr.zip file, or a folder of them at any depth"

    def files(self) -> dict[str, Path]:
        if self.source.is_file() or any((self.source / mark).is_file() for mark in MARKS):
            return {self.source.name: self.source}
        return {name: self.source / name for name in sorted(find_groups(self.source))}

    @contextmanager
    def opened(self, path: Path) -> Iterator[Any]:
        try:
            zarr: Any = import_module("zarr")
        except ImportError:
            raise ConfigError(f"zarr arrays need zarr; {install_extra('zarr')}") from None
        with ExitStack() as stack:
            try:
                if path.is_dir():
                    check_folder(path)
                    group = zarr.open_group(str(path), mode="r")
                else:
                    check_regular(path)
                    store = zarr.storage.ZipStore(str(path), mode="r")
                    group = zarr.open_group(store, mode="r")
                    stack.callback(store.close)
            except zarr.errors.BaseZarrError as error:
                raise DataError(f"not a zarr group ({error}) [{path}]") from None
            yield group

    def holes(self, array: Any) -> str:
        missing = array.nchunks - array.nchunks_initialized
        return f"{missing:,} of {counted(array.nchunks, 'chunk')} are not stored and read as black" if missing else ""


def find_groups(root: Path) -> Iterator[str]:
    """Yield the relative paths of all .zarr folders and .zarr.zip files but hidden ones; each link is followed once."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=warn_of_folder, followlinks=True):
        status = os.stat(folder)
        place = Path(folder).relative_to(root)
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in visible if not name.endswith(".zarr")]
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        groups = [name for name in visible if name.endswith(".zarr")]
        yield from ((place / name).as_posix() for name in [*groups, *(name for name in files if _is_zipped(name))])


def _is_zipped(name: str) -> bool:
    return name.endswith(".zarr.zip") and not name.startswith(".")


if __name__ == "__main__":
    main(Zarr.name)
