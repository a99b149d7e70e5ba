"""UCF101 from archives: real RAR and ZIP files, and hostile ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import uuid
import zipfile
from pathlib import Path

import pytest

from data_prep.archives import extract, volumes
from data_prep.ucf101 import MEMBER, split_rows
from tests.rar_files import FOLDER, LINK, archive, member, write_rar, write_volumes
from tests.set_files import prepare as run
from tests.set_files import ucf101_set, ucf101_videos, write_ucf101_lists
from vidpred.errors import ConfigError, DataError
from vidpred.processes import temporary

NAME = "UCF-101/Archery/v_Archery_g01_c01.avi"


def _libarchive_is_here() -> bool:
    try:
        import libarchive
    except (ImportError, AttributeError, OSError, TypeError):
        return False
    return bool(libarchive)


needs_libarchive = pytest.mark.skipif(not _libarchive_is_here(), reason="the system's libarchive is not installed")


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@needs_libarchive
@pytest.mark.parametrize("kind", ["rar", "zip"])
def test_from_the_archive_to_the_official_splits(tmp_path: Path, kind: str) -> None:
    videos = ucf101_set(tmp_path / "made")
    contents = files_below(videos)
    source = tmp_path / f"UCF101.{kind}"
    if kind == "rar":
        write_rar(source, {f"UCF-101/{name}": content for name, content in contents.items()})
    else:
        with zipfile.ZipFile(source, "w") as made:
            for name, content in contents.items():
                made.writestr(f"UCF-101/{name}", content)
    lists = tmp_path / "UCF101TrainTestSplits-RecognitionTask.zip"
    with zipfile.ZipFile(lists, "w") as made:
        for path in (tmp_path / "made" / "ucfTrainTestlist").iterdir():
            made.write(path, f"ucfTrainTestlist/{path.name}")
    target = tmp_path / "data" / "UCF-101"
    text = run("ucf101", str(source), str(target))  # the lists are next to the archive
    assert "16 clips (8 train, 4 validation, 4 test)" in text
    assert {name: content for name, content in files_below(target).items() if name.endswith("avi")} == contents
    again = run("ucf101", str(source), str(target))
    assert "nothing to do" in again
    found = run("ucf101", str(source), "--check", "--json", str(tmp_path / "check.json"))
    assert "all 1 files are good" in found
    assert json.loads((tmp_path / "check.json").read_text())["files"][0]["clips"] == 16


@needs_libarchive
def test_hostile_archives_write_nothing_outside(tmp_path: Path) -> None:
    target = tmp_path / "inside" / "target"
    source = tmp_path / "x.rar"
    for bad, words in (
        (member(f"../../{NAME}", b"x"), "leads outside"),
        (member(f"/{NAME}", b"x"), "leads outside"),
        (member(f"C:/{NAME}", b"x"), "leads outside"),
        (member(f"UCF-101\\..\\..\\..\\{NAME}", b"x"), "leads outside"),
        (member(NAME, b"/etc/passwd", LINK), "link"),
    ):
        source.write_bytes(archive(bad))
        with pytest.raises(DataError, match=words):
            extract(source, target, MEMBER)
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != source]
    source.write_bytes(archive(member("UCF-101", b"", FOLDER), member("UCF-101/run.sh", b"x"), member("x.avi", b"x")))
    with pytest.raises(DataError, match="none of the expected videos"):
        extract(source, target, MEMBER)
    assert not list(target.iterdir())


@needs_libarchive
def test_extraction_resumes_after_a_truncated_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {f"UCF-101/YoYo/v_YoYo_g0{number}_c01.avi": os.urandom(5000) for number in range(1, 5)}
    source, target = write_rar(tmp_path / "UCF101.rar", contents), tmp_path / "target"
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged or truncated archive"):
        extract(source, target, MEMBER)
    assert len(files_below(target)) == 1, "only whole files, and no temporary ones"
    left = target / "YoYo" / f".tmp-{uuid.uuid4().hex}"  # of a killed process
    left.touch()
    os.utime(left, (0, 0))
    monkeypatch.setattr(temporary, "_cleaned", set())  # as in another process
    first = next(target.rglob("*.avi"))
    before = first.stat().st_mtime_ns
    source.write_bytes(whole)
    assert extract(source, target, MEMBER) == 3
    assert first.stat().st_mtime_ns == before
    assert files_below(target) == {name.removeprefix("UCF-101/"): content for name, content in contents.items()}
    assert extract(source, target, MEMBER) == 0


@needs_libarchive
def test_volumes_are_read_as_one_stream(tmp_path: Path) -> None:
    content = os.urandom(30_000)
    first, second = write_volumes(tmp_path, NAME, content, 12_345)
    assert extract(first, tmp_path / "target", MEMBER) == 1
    assert files_below(tmp_path / "target") == {NAME.removeprefix("UCF-101/"): content}
    assert volumes(first) == volumes(second) == [first, second]
    first.rename(tmp_path / "gone")
    with pytest.raises(DataError, match="part 1 of the archive is missing"):
        extract(second, tmp_path / "target", MEMBER)
    for name in ("a.rar", "a.r00", "a.r01", "b.r00", "c.zip.001", "c.zip.002"):
        (tmp_path / name).touch()
    assert [path.name for path in volumes(tmp_path / "a.rar")] == ["a.rar", "a.r00", "a.r01"]
    assert [path.name for path in volumes(tmp_path / "c.zip.001")] == ["c.zip.001", "c.zip.002"]


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rar(tmp_path / "UCF101.rar", {NAME: b"x"})
    write_ucf101_lists(tmp_path / "ucfTrainTestlist")
    words = ["ucf101", str(tmp_path / "UCF101.rar")]
    with pytest.raises(ConfigError, match="an archive needs a TARGET"):
        run(*words)
    monkeypatch.setitem(sys.modules, "libarchive", None)
    with pytest.raises(ConfigError, match=re.escape("pip install '.[archives]'")):
        run(*words, str(tmp_path / "out"))
    shutil.rmtree(tmp_path / "ucfTrainTestlist")
    with pytest.raises(DataError, match="cannot read the official list trainlist01.txt"):
        run(*words, str(tmp_path / "out"))
    assert not (tmp_path / "out" / "Archery").exists()


@pytest.mark.slow
def test_the_folds_keep_groups_together(tmp_path: Path) -> None:
    source = ucf101_set(tmp_path)
    for fold, test in ((1, {1, 2}), (2, {8, 9}), (3, {15})):
        target = tmp_path / f"fold{fold}"
        run("ucf101", str(source), str(target), f"fold={fold}")
        rows = [line.split(",") for line in (target / "splits.csv").read_text().splitlines()[1:]]
        assert len(rows) == len(ucf101_videos())
        groups: dict[str, set[int]] = {}
        for name, split in rows:
            groups.setdefault(split, set()).add(int(name[-10:-8]))
        assert groups["test"] == test
        assert groups["validation"] == {23, 25}
        assert groups["train"] == {1, 2, 8, 9, 15, 22} - test


def test_lists_that_divide_a_group_are_rejected() -> None:
    with pytest.raises(DataError, match="divide group 01 of Archery"):
        split_rows(["Archery/v_Archery_g01_c01.avi"], ["Archery/v_Archery_g01_c02.avi"])
    with pytest.raises(DataError, match="unexpected name in the train list"):
        split_rows(["Archery/other.avi"], [])


@pytest.mark.slow
def test_missing_or_bad_listed_clips_are_reported(tmp_path: Path) -> None:
    source = ucf101_set(tmp_path)
    missing, bad = sorted(source.rglob("*_g02_*.avi"))
    missing.unlink()
    bad.write_bytes(b"")
    write_target = tmp_path / "out"
    text = run("ucf101", str(source), str(write_target))
    assert "14 clips (8 train, 4 validation, 2 test)" in text
    assert "skipped: 2" in text
    assert (write_target / "left_out.csv").read_text().splitlines() == [
        "item,reason",
        'Archery/v_Archery_g02_c01.avi,"listed, but missing"',
        "YoYo/v_YoYo_g02_c01.avi,empty file (0 bytes)",
    ]
