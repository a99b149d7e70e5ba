"""Prepared data sets whose files are cut short, swapped or changed: one line, never a wrong frame or a dead process."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.numbered_set import NumberedSet
from vidpred.data.prepared.format import FRAMES, INDEX, MANIFEST, Manifest
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.prepared.windows import prepared_source
from vidpred.data.settings import DataSettings
from vidpred.errors import DataError, StorageError
from vidpred.processes import folder_lock


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "set"
    prepare(NumberedSet(Path("source"), num_items=4), folder, workers=1, progress=False)
    return folder


def source(folder: Path) -> Any:
    flip = {"horizontal_flip": False}
    return prepared_source(
        DataSettings.model_validate({"root": str(folder), "augment": flip, "crop_size": 8}), "train", range(5)
    )


def changed_clip(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return a function that changes the first clip of the training split, without a checksum to find that."""

    def apply(folder: Path) -> None:
        clips = [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]
        change(clips[0])
        (folder / INDEX).write_text("".join(json.dumps(clip) + "\n" for clip in clips))
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps({**manifest, "index_crc32": None}))

    return apply


def changed_manifest(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))

    return apply


def frames(folder: Path, suffix: str = ".u8") -> Path:
    clip = json.loads((folder / INDEX).read_text().splitlines()[0])
    return folder / FRAMES / f"{clip['file']}{suffix}"


def as_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "frames cut": lambda folder: os.truncate(frames(folder), 1000),
    "frames gone": lambda folder: frames(folder).unlink(),
    "frames as a pipe": lambda folder: as_pipe(frames(folder)),
    "frames with more bytes": lambda folder: os.truncate(frames(folder), frames(folder).stat().st_size + 1),
    "actions cut": lambda folder: os.truncate(frames(folder, ".actions.f32"), 10),
    "offset": changed_clip(lambda clip: clip.update(offset=clip["offset"] + 1)),
    "first": changed_clip(lambda clip: clip.update(first=clip["first"] + 1)),
    "fewer frames": changed_clip(lambda clip: clip.update(frames=clip["frames"] - 1)),
    "more frames": changed_clip(lambda clip: clip.update(frames=10**12)),
    "negative frames": changed_clip(lambda clip: clip.update(frames=-1)),
    "height": changed_clip(lambda clip: clip.update(height=2 * clip["height"])),
    "text as a number": changed_clip(lambda clip: clip.update(offset="0")),
    "truth as a number": changed_clip(lambda clip: clip.update(first=True)),
    "cuts of text": changed_clip(lambda clip: clip.update(cuts=["1"])),
    "a file outside": changed_clip(lambda clip: clip.update(file="../frames/x")),
    "a class": changed_clip(lambda clip: clip.update(label=7)),
    "no rate": changed_clip(lambda clip: clip.update(rate=float("nan"))),
    "another channel": changed_clip(lambda clip: clip.update(channels=2)),
    "no field": changed_clip(lambda clip: clip.pop("width")),
    "another split, as a flipped bit makes it": lambda folder: (folder / INDEX).write_text(
        (folder / INDEX).read_text().replace('"split": "train"', '"split": "test"', 1)
    ),
    "index as a pipe": lambda folder: as_pipe(folder / INDEX),
    "deep index": lambda folder: (folder / INDEX).write_text("[" * 100_000 + "\n"),
    "manifest as a pipe": lambda folder: as_pipe(folder / MANIFEST),
    "manifest of numbers": lambda folder: (folder / MANIFEST).write_text("3"),
    "no statistics": changed_manifest(statistics={}),
    "short statistics": changed_manifest(statistics={"actions": {"mean": [0.0], "deviation": [1.0]}}),
    "huge actions": changed_manifest(action_size=10**9),
    "text for channels": changed_manifest(channels="3"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_one_line_that_names_the_file(whole: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    shutil.copytree(whole, folder)
    assert len(source(folder)) > 0
    DAMAGE[name](folder)
    with pytest.raises(DataError, match=r"prepare the set again \[.*\]$") as caught:
        source(folder)
    assert len(str(caught.value).replace(str(folder), "")) < 200


@pytest.mark.parametrize("suffix", [".u8", ".actions.f32", ".states.f32"])
def test_files_that_are_cut_while_they_are_read(whole: Path, tmp_path: Path, suffix: str) -> None:
    """Reading a map beyond the end of its file would end the process by SIGBUS, without a word."""
    folder = tmp_path / "set"
    shutil.copytree(whole, folder)
    windows = source(folder)
    windows.draw([0, 1], [0, 1], 0)
    os.truncate(frames(folder, suffix), 0)
    with pytest.raises(DataError, match=rf"cut short or removed; prepare the set again \[.*{re.escape(suffix)}\]"):
        windows.draw([0, 1], [0, 1], 0)  # of the map that is there already


def test_a_set_that_is_replaced_while_it_is_read(whole: Path, tmp_path: Path) -> None:
    """Also by one of the same sizes, whose frames a training would take for the first ones."""
    folder = tmp_path / "set"
    shutil.copytree(whole, folder)
    windows = source(folder)
    windows.draw([0], [0], 0)
    folder.rename(tmp_path / "before")
    shutil.copytree(whole, folder)
    for file in (folder / FRAMES).iterdir():
        os.utime(file, ns=(0, 0))
    with pytest.raises(DataError, match=r"changed while it was used; start again \[.*\.u8\]"):
        windows.draw([0], [0], 0)


def test_a_damaged_set_is_prepared_again(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "set"
    shutil.copytree(whole, folder)
    for file in (frames(folder), folder / MANIFEST, folder / INDEX):
        os.truncate(file, 10)
    prepare(NumberedSet(Path("source"), num_items=4), folder, workers=1, progress=False)
    assert "warning: cannot read the manifest" in capsys.readouterr().err
    for file in whole.rglob("*.*"):
        assert (folder / file.relative_to(whole)).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("missing", [[MANIFEST], [MANIFEST, "left_out.csv"], [MANIFEST, "left_out.csv", INDEX]])
def test_a_killed_preparation_goes_on(whole: Path, tmp_path: Path, missing: list[str]) -> None:
    folder = tmp_path / "set"
    shutil.copytree(whole, folder)
    for name in missing:
        (folder / name).unlink()
    left = [place / ".tmp-00000000-1-2-0123456789abcdef0123456789abcdef" for place in (folder, folder / FRAMES)]
    for file in left:
        file.touch()  # just now, on another machine, which would hold the lock if it ran
    summary = prepare(NumberedSet(Path("source"), num_items=4), folder, workers=1, progress=False)
    assert (summary.reused, summary.written) == (4, 0)
    assert Manifest.load(folder) == Manifest.load(whole)
    assert not any(file.exists() for file in left)


def test_leftovers_of_another_machine_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may be written just now: they stay, are named, and do not stop the preparation."""
    monkeypatch.setattr(folder_lock, "fcntl", None)
    left = tmp_path / ".tmp-00000000-1-2-0123456789abcdef0123456789abcdef"
    left.touch()
    prepare(NumberedSet(Path("source"), num_items=4), tmp_path, workers=1, progress=False)
    assert f"1 temporary file [{left}]; remove what none writes" in capsys.readouterr().err
    assert left.exists()


def test_a_folder_of_others_is_refused_and_unchanged(tmp_path: Path) -> None:
    for name in ("frames/a.png", "left_out.txt"):
        target = tmp_path / name.partition(".")[0].replace("/", "-")
        file = target / name
        file.parent.mkdir(parents=True)
        file.touch()
        with pytest.raises(StorageError, match="not empty and not a prepared data set"):
            prepare(NumberedSet(Path("source"), num_items=4), target, workers=1, progress=False)
        assert [path for path in target.rglob("*") if path.is_file()] == [file]


def zeros_at_the_end(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-8] + bytes(8))


REPAIRED: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: os.truncate(file, 4),
    "gone": lambda file: file.unlink(),
    "longer": lambda file: os.truncate(file, file.stat().st_size + 4),
    "a pipe": as_pipe,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "without its end": zeros_at_the_end,
}


@pytest.mark.parametrize("how", REPAIRED)
@pytest.mark.parametrize("suffix", [".u8", ".actions.f32", ".states.f32", ".json"])
def test_every_part_is_repaired_and_named(
    whole: Path, tmp_path: Path, suffix: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(whole, folder)
    damaged = frames(folder, suffix)
    REPAIRED[how](damaged)
    summary = prepare(NumberedSet(Path("source"), num_items=4), folder, workers=1, progress=False)
    assert (summary.reused, summary.written, summary.skipped) == (3, 1, [])
    named = capsys.readouterr().err.splitlines()
    assert [line for line in named if str(damaged) in line] == ([] if (suffix, how) == (".json", "gone") else named)
    for file in whole.rglob("*.*"):
        assert (folder / file.relative_to(whole)).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("suffix", ["", ".u8", ".actions.f32", ".states.f32"])
def test_records_of_earlier_versions(whole: Path, tmp_path: Path, suffix: str) -> None:
    """They have no checksums: sizes are compared with those of the manifest."""
    folder = tmp_path / "set"
    shutil.copytree(whole, folder)
    for file in (folder / FRAMES).glob("*.json"):
        record = json.loads(file.read_text().splitlines()[0])
        del record["files"]
        file.write_text(json.dumps(record))
    if suffix:
        os.truncate(frames(folder, suffix), 40)
    summary = prepare(NumberedSet(Path("source"), num_items=4), folder, workers=1, progress=False)
    assert (summary.written, summary.skipped) == (1 if suffix else 0, [])
