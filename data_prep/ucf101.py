"""UCF101: 13,320 videos of 101 actions, from the extracted videos or from the downloaded archive.

    vidpred prepare ucf101 UCF101.rar data/UCF-101 lists=UCF101TrainTestSplits-RecognitionTask.zip
    vidpred prepare ucf101 data/UCF-101 lists=data/ucfTrainTestlist
    vidpred prepare ucf101 data/UCF-101 data/ucf101-64 size=64 --cache

The clips of one group come from one source video, so groups are never divided: the official test list of the fold is
the test set, and the validation set consists of whole groups of the official training list.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from vidpred.data.prepared.frame_writer import Item
from vidpred.data.splits import Part, whole_clips
from vidpred.errors import ConfigError, DataError
from vidpred.files import read_bytes

from .archives import extract, is_archive, read_archive
from .command import main
from .videos import VideoSet

NAME = re.compile(r"v_(?P<action>\w+)_g(?P<group>\d\d)_c\d\d\.avi")
MEMBER = re.compile(r"(?:\./)?(?:UCF-101/)?(?P<path>(?P<action>\w+)/v_(?P=action)_g\d\d_c\d\d\.avi)")
VALIDATION_GROUPS = {"23", "24", "25"}  # in the training list of every fold
LISTS = "ucfTrainTestlist/{trainlist,testlist}0{1,2,3}.txt"


class Ucf101(VideoSet):
    """Soomro, Zamir & Shah, "UCF101: a dataset of 101 human actions classes from videos in the wild", 2012."""

    name: ClassVar[str] = "ucf101"
    about: ClassVar[str] = "UCF101, extracted or as UCF101.rar, with its official splits"
    expects: ClassVar[str] = f"UCF-101/<Class>/v_<Class>_gXX_cYY.avi (or UCF101.rar) and {LISTS}"

    lists: Path | None = Field(
        None, description="The folder ucfTrainTestlist, or the .zip file of it. null: next to the videos."
    )
    fold: Literal[1, 2, 3] = Field(1, description="One of the three official splits.")

    @cached_property
    def _rows(self) -> dict[str, str]:
        train, test = (self._read_list(f"{kind}list{self.fold:02}.txt") for kind in ("train", "test"))
        return split_rows(train, test)

    def listed(self) -> set[str]:
        return set(self._rows)

    def parts(self, lengths: Mapping[str, int]) -> list[Part]:
        parts = whole_clips(lengths, self._rows)
        if not parts:
            raise self.absent(f"found none of the {len(self._rows)} listed clips")
        return parts

    def candidates(self) -> list[Item]:
        archive = is_archive(self.source)
        return [Item(self.source.name, (str(self.source),))] if archive else super().candidates()

    def look(self, item: Item) -> dict[str, Any]:
        path = Path(item.files[0])
        return read_archive(path, MEMBER) if is_archive(path) else super().look(item)

    def unpacked(self, target: Path | None) -> Self:
        if not is_archive(self.source):
            return self
        if target is None:
            raise ConfigError(f"an archive needs a TARGET to extract to [{self.source}]; for example data/UCF-101")
        _ = self._rows  # detect a wrong list before extracting 7 GB
        extract(self.source, target, MEMBER, progress=True)
        return self.model_copy(update={"source": target, "lists": self._lists})

    @property
    def _lists(self) -> Path:
        if self.lists is not None:
            return self.lists
        folder = self.source.parent / "ucfTrainTestlist"
        archive = self.source.parent / "UCF101TrainTestSplits-RecognitionTask.zip"
        return archive if archive.is_file() and not folder.is_dir() else folder

    def _read_list(self, name: str) -> list[str]:
        """Read the paths of an official list ("Class/v_Class_g01_c01.avi", in training lists followed by a label)."""
        lists = self._lists
        try:
            if lists.is_file():
                with zipfile.ZipFile(lists) as archive:
                    (member,) = [found for found in archive.namelist() if Path(found).name == name]
                    text = archive.read(member).decode()
            else:
                text = read_bytes(lists / name).decode()
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            why = getattr(error, "strerror", None) or f"no {name} in it"
            raise DataError(f"cannot read the official list {name} [{lists}]: {why}; expected {LISTS}") from None
        return [line.split()[0] for line in text.splitlines() if line.strip()]


def split_rows(train: list[str], test: list[str]) -> dict[str, str]:
    """Return the split of every listed clip; the validation split consists of whole groups of the training list.

    Raises:
        DataError: A name does not belong to UCF101, or the lists divide a group.
    """
    rows: dict[str, str] = {}
    groups: dict[tuple[str, str], str] = {}
    for official, paths in (("train", train), ("test", test)):
        for path in paths:
            match = NAME.fullmatch(Path(path).name)
            if match is None:
                raise DataError(f"unexpected name in the {official} list [{path}]; expected v_<Class>_gXX_cYY.avi")
            group = match["action"], match["group"]
            if groups.setdefault(group, official) != official:
                raise DataError(f"the lists divide group {group[1]} of {group[0]}, whose clips show one scene [{path}]")
            held_out = official == "train" and match["group"] in VALIDATION_GROUPS
            rows[path] = "validation" if held_out else official
    return rows


if __name__ == "__main__":
    main(Ucf101.name)
