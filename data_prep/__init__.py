"""One script a data set: what its items are and how an item is read. `vidpred prepare --help` lists them.

A new set is one file here, with a class below `DataSet`, and one line of `SETS`; or a package of its own with an entry
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
}


def sets() -> dict[str, type[DataSet]]:
    """Return all sets by name, those of other packages last. Imported when asked for, so that `python -m
    data_prep.NAME` runs its module once."""
    from vidpred.plugins import plugged_in

    from .base import DataSet

    homes = {name: place.split(":") for name, place in SETS.items()}
    known = {name: getattr(import_module(f"{__name__}.{module}"), kind) for name, (module, kind) in homes.items()}
    return known | plugged_in("vidpred.data_sets", DataSet, known)
