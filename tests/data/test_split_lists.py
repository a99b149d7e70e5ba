"""Lists of splits are read as people and spreadsheets write them; what names no file is an error."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.data.build import record_splits
from vidpred.data.settings import DataSettings
from vidpred.data.split_lists import by_listing
from vidpred.errors import DataError

FILES = ["walk/one.mp4", "walk/two.mp4", "run/über.mp4", "run/four, five.mp4", "run/v1.2.mkv"]
EXPECTED = dict(zip(FILES, ["train", "validation", "test", "train", "train"], strict=True))
PLAIN = (
    'walk/one.mp4,train\nwalk/two.mp4,validation\nrun/über.mp4,test\n"run/four, five.mp4",train\nrun/v1.2.mkv,train\n'
)
SAME = {
    "plain": PLAIN.encode(),
    "header": b"Path,Split\n" + PLAIN.encode(),
    "byte-order mark": PLAIN.encode("utf-8-sig"),
    "byte-order mark and header": b"\xef\xbb\xbfpath,split\r\n" + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "UTF-16, big-endian, without a mark": PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "Windows line endings": PLAIN.replace("\n", "\r\n").encode(),
    "old Mac line endings": PLAIN.replace("\n", "\r").encode(),
    "no final line ending": PLAIN.rstrip().encode(),
    "decomposed accents": normalize("NFD", PLAIN).encode(),
    "spaces": PLAIN.replace(",t", " , t").replace("\n", "  \n\n").encode(),
    "no quotes": PLAIN.replace('"', "").encode(),
    "empty columns": PLAIN.replace("\n", ",,\n").encode(),
    "semicolons": PLAIN.replace('"run/four, five.mp4"', "run/four, five.mp4").replace(",t", ";t").replace(
        ",v", ";v").encode(),
    "tabs": PLAIN.replace('"', "").replace(",t", "\tt").replace(",v", "\tv").encode(),
    "other words": PLAIN.replace(",train", ",Training").replace(",validation", ",val").replace(",te", ",TE").encode(),
    "no suffixes": PLAIN.replace(".mp4", "").replace(".mkv", "").encode(),
    "no folders": PLAIN.replace("walk/", "").replace("run/", "").encode(),
    "neither": PLAIN.replace("walk/", "").replace("run/", "").replace(".mp4", "").replace(".mkv", "").encode(),
    "folders above": PLAIN.replace("walk/", "/data/clips/walk/").replace("run/", "/data/clips/run/").encode(),
    "Windows separators": PLAIN.replace("/", "\\").encode(),
    "leading dots": PLAIN.replace("walk/", "./walk/").encode(),
    "upper case": PLAIN.replace("run/v", "RUN/V").encode(),
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME)
def test_every_way_of_writing_a_list_gives_the_same_splits(tmp_path: Path, kind: str) -> None:
    listing = tmp_path / "splits.csv"
    listing.write_bytes(SAME[kind])
    assert by_listing(listing, FILES) == EXPECTED
    decomposed = [normalize("NFD", name) for name in FILES]  # as an HFS+ disk stores names
    assert by_listing(listing, decomposed) == dict(zip(decomposed, EXPECTED.values(), strict=True))


def test_arrays_are_listed_with_or_without_suffix(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("a.npz,train\nb,test\n")
    assert by_listing(tmp_path / "splits.csv", ["a", "b"]) == {"a": "train", "b": "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("walk/on.mp4,train\n", r"^1 of 1 row names no file .*csv\]: row 1: walk/on.mp4 \(nearest: walk/one.mp4\);"),
        ("one.avi,train\ntwo,test", r"^1 of 2 rows name no file .*: row 1: one.avi \(nearest: walk/one.mp4\); correct"),
        (
            PLAIN + "".join(f"jump/three{n}.mp4,test\n" for n in range(5)),
            r"^5 of 10 rows name no file .*: row 6: jump/three0.mp4; row 7: .*; row 8: [^;]*; and 2 more; correct",
        ),
        ("one.mp4,train\nwalk/one.mp4,test", r"^row 2 gives walk/one.mp4 a second split"),
        ("one.mp4,train\none.mp4,tset", r"^row 2 is not path,train"),
        ("one.mp4", r"^row 1 is not path,train"),
        ("path,split\n", r"names no file that can be used"),
        ("", r"names no file that can be used"),
        ("a\0b,train\n" + 200_000 * "x", r"not a CSV file"),
        ("\n,train\n", r"no file of the source"),
        ("..,train\n", r"no file of the source"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        by_listing(tmp_path / "splits.csv", FILES)


def test_a_name_in_two_folders_needs_its_folder(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("one,train\n")
    with pytest.raises(DataError, match=r"row 1 names one, which fits a/one.mp4 and b/one.mp4 .*write whole paths"):
        by_listing(tmp_path / "splits.csv", ["a/one.mp4", "b/one.mp4"])
    assert by_listing(tmp_path / "splits.csv", ["one.mp4", "b/one.mp4"]) == {"one.mp4": "train"}


def test_rows_of_damaged_videos_are_no_typos(tmp_path: Path) -> None:
    """A list may name a video that cannot be read; a video that is not listed is not used."""
    root = tmp_path / "clips"
    for number in range(3):
        write_video(root / f"{number}.mp4", numbered_frames(12, 32, 32, first=number))
    (root / "bad.mp4").write_bytes(b"\x00" * 200)
    (root / "splits.csv").write_bytes(b"\xef\xbb\xbf0,train\r\n1,test\r\nBAD,train\r\n")
    settings = DataSettings(root=str(root), max_bad_fraction=0.5)
    recorded = record_splits(settings)
    assert recorded is not None
    assert {part.clip: part.split for part in recorded.parts} == {"0.mp4": "train", "1.mp4": "test"}
    (root / "splits.csv").write_text("0,train\n1,test\n7,train\n")
    with pytest.raises(DataError, match=r"row 3: 7"):
        record_splits(settings)
