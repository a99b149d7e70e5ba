"""Any folder of videos, at any depth.

vidpred prepare folder clips                            scan it once, so that training starts immediately
vidpred prepare folder clips data/clips size=64 --cache   decode it once into frames that load fast
"""

from __future__ import annotations

from typing import ClassVar

from vidpred.data.videos.index import find_videos

from .base import DividedSet
from .command import main
from .videos import VideoSet


class Folder(DividedSet, VideoSet):
    """Videos of all supported containers and codecs."""

    name: ClassVar[str] = "folder"
    about: ClassVar[str] = "any folder of videos, at any depth"
    expects: ClassVar[str] = "video files, at any depth; a splits.csv or folders train, validation, test are used"

    def unusable(self) -> list[str]:
        return find_videos(self.source)

    def writes_splits(self) -> bool:
        # vidpred.data.build divides a plain folder in the same way; a list would exclude videos that are added later.
        given = self.model_fields_set & {"splits", "split", "fractions"}
        return bool(given) or any((self.source / name).is_dir() for name in ("train", "test"))


if __name__ == "__main__":
    main(Folder.name)
