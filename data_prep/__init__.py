"""One script a data set: what its items are and how an item is read. `vidpred prepare --help` lists them.

A new set is one file here, with a class below `DataSet`, and one line in `sets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import DataSet


def sets() -> dict[str, type[DataSet]]:
    """All sets by name. Imported when asked for, so that `python -m data_prep.NAME` runs its module once."""
    from . import bair, folder, frames, images, kth, lerobot, moving_mnist, numpy, ucf101

    return {
        "folder": folder.Folder,
        "frames": frames.Frames,
        "images": images.Images,
        "numpy": numpy.Numpy,
        "ucf101": ucf101.Ucf101,
        "kth": kth.Kth,
        "bair": bair.Bair,
        "moving_mnist": moving_mnist.MovingMnist,
        "lerobot": lerobot.LeRobot,
    }
