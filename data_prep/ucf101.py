"""UCF101: scan the extracted videos and write the official split 1 beside them as splits.csv.

    python -m data_prep.ucf101 data/UCF-101 --splits data/ucfTrainTestlist

The clips of one group come from one source video, so groups are never divided: the official test list stays the test
set, and the validation set is made of whole groups of the official training list.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
from pathlib import Path

from vidpred.checkpoint import write_atomically
from vidpred.data.index import require_videos
from vidpred.errors import DataError

NAME = re.compile(r"v_(?P<action>\w+)_g(?P<group>\d\d)_c\d\d\.avi")
VALIDATION_GROUPS = {"23", "24", "25"}  # of the 18 groups in the training list of split 1
LAYOUT = "UCF-101/<Class>/v_<Class>_gXX_cYY.avi and ucfTrainTestlist/{trainlist01,testlist01}.txt"


def read_list(file: Path) -> list[str]:
    """The paths of an official list ("Class/v_Class_g01_c01.avi", in training lists followed by a label)."""
    try:
        return [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read the official list [{file}]: {error.strerror}; expected {LAYOUT}") from None


def split_rows(train: list[str], test: list[str]) -> list[tuple[str, str]]:
    """(path, split) of every listed clip; the validation split takes whole groups. Raises DataError for a bad name."""
    rows = [(path, "test") for path in test]
    for path in train:
        match = NAME.fullmatch(Path(path).name)
        if match is None:
            raise DataError(f"not a UCF101 name in the training list [{path}]; expected {LAYOUT}")
        rows.append((path, "validation" if match["group"] in VALIDATION_GROUPS else "train"))
    return rows


def prepare(source: Path, splits: Path | None = None) -> str:
    """Write `source`/splits.csv and scan the videos; returns a summary. Raises DataError."""
    lists = splits or source.parent / "ucfTrainTestlist"
    rows = split_rows(read_list(lists / "trainlist01.txt"), read_list(lists / "testlist01.txt"))
    videos = {video.path for video in require_videos(source, "skip", progress=True)}
    found = [row for row in rows if row[0] in videos]
    if not found:
        raise DataError(f"none of the {len(rows)} listed clips is here [{source}]; expected {LAYOUT}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "split"), *rows])
    write_atomically(source / "splits.csv", text.getvalue().encode())
    counts = {split: sum(row[1] == split for row in found) for split in ("train", "validation", "test")}
    listed = ", ".join(f"{count} {split}" for split, count in counts.items())
    return f"{listed} clips; {len(rows) - len(found)} listed clips are missing or bad [{source / 'splits.csv'}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder UCF-101")
    parser.add_argument("--splits", type=Path, help="the folder ucfTrainTestlist (default: beside the videos)")
    options = parser.parse_args()
    print(prepare(options.source, options.splits))


if __name__ == "__main__":
    main()
