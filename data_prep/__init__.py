"""Preparation scripts, one per data set, which find and read its items. `vidpred prepare --help` lists them.

A new set is either a file here with a subclass of `DataSet` and a line in `SETS`, or a separate package with an entry
point in the group `vidpred.data_sets`. CONTRIBUTING.md shows both.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import DataSet

SETS = {  # name -> module:class
    "folder": "folder:Folder",
    "frames": "frames:Frames",
    "images": "images:Images",
    "numpy": "numpy:Numpy",
    "ucf101": "ucf101:Ucf101",
    "kth": "kth:Kth",
    "bair": "bair:Bair",
    "moving_mnist": "moving_mnist:MovingMnist",
    "lerobot": "lerobot:LeRobot",
    "hdf5": "hdf5:Hdf5",
    "zarr": "zarr:Zarr",
}


def sets() -> dict[str, type[DataSet]]:
    """Return all sets by name, those of other packages last.

    The modules are imported here and not at the top, so that `python -m data_prep.NAME` runs its module once.
    """
    from vidpred.plugins import plugged_in

    from .base import DataSet

    places = {name: place.split(":") for name, place in SETS.items()}
    builtin = {name: getattr(import_module(f"{__name__}.{module}"), kind) for name, (module, kind) in places.items()}
    return builtin | plugged_in("vidpred.data_sets", DataSet, builtin)
