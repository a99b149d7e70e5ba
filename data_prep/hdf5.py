"""HDF5 files of robot episodes: robomimic, LIBERO, ManiSkill, ALOHA, stable-worldmodel.

    vidpred prepare hdf5 low_dim_image.hdf5 data/lift camera=agentview_image
    vidpred prepare hdf5 pusht_expert.h5 data/pusht size=64

An episode is a group (data/demo_0 with obs/<camera>, actions and states), a range of rows (pixels, action, ep_offset,
ep_len), or a file. Lists in the group mask (train, valid, test) are the splits; without a test list, valid is the test
set. Row t of the actions leads from frame t to frame t+1. Needs h5py (the extra `hdf5`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from vidpred.data.videos.index import find_files
from vidpred.errors import ConfigError, install_extra
from vidpred.files import check_regular

from .command import main
from .episodes import EpisodeArrays

SUFFIXES = (".h5", ".hdf5", ".he5")


class Hdf5(EpisodeArrays):
    """One HDF5 file, or a folder of them."""

    name: ClassVar[str] = "hdf5"
    about: ClassVar[str] = "HDF5 episodes (robomimic, stable-worldmodel, ALOHA) with actions and states"
    expects: ClassVar[str] = "an .h5 or .hdf5 file, or a folder of them at any depth"

    def files(self) -> dict[str, Path]:
        if self.source.is_file():
            return {self.source.name: self.source}
        names = find_files(self.source) if self.source.is_dir() else []
        return {name: self.source / name for name in names if name.lower().endswith(SUFFIXES)}

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        try:
            h5py: Any = import_module("h5py")
        except ImportError:
            raise ConfigError(f"HDF5 files need h5py; {install_extra('hdf5')}") from None
        with suppress(ImportError):
            import_module("hdf5plugin")  # more kinds of compression, where it is installed
        check_regular(path)
        found: AbstractContextManager[Any] = h5py.File(path, "r")
        return found


if __name__ == "__main__":
    main(Hdf5.name)
