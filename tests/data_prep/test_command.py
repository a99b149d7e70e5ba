"""`vidpred prepare` and `python -m data_prep.NAME`: help, options, errors, checks, previews, killed runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep import sets
from data_prep.preview import PreviewClip, motion
from tests.image_files import write_digits
from tests.set_files import folder_set, numpy_set, prepare
from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.prepared.format import Manifest, read_index
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, DataError, StorageError, for_command

CHECKOUT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_help_lists_the_sets_without_torch() -> None:
    code = "import sys; from vidpred.commands import app as cli; sys.argv = ['vidpred', 'prepare', '--help']\n"
    code += "try: cli.main()\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'matplotlib', 'pyarrow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    for name, kind in sets().items():
        assert any(line.split() == [name, *kind.about.split()] for line in lines)
        assert kind.name == name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kth"])
def test_the_module_has_the_same_parser(name: str) -> None:
    words = [sys.executable, "-m", f"data_prep.{name}"]
    done = subprocess.run([*words, "--help"], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stderr == ""
    options = {word for word in done.stdout.split() if word.startswith("--")}
    assert options == {word for word in prepare(name, "--help").split() if word.startswith("--")}
    bad = subprocess.run([*words, "nothing", "out"], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert bad.returncode == 3
    assert bad.stderr.strip().splitlines()[-1].startswith("vidpred: error: no such")


@pytest.mark.slow
def test_every_option_is_described() -> None:
    for name, kind in sets().items():
        text = prepare(name, "--help")
        for field, about in kind.model_fields.items():
            assert about.description, f"{name}.{field}"
            if field != "source":
                assert re.search(rf"^{field} ", text, re.MULTILINE), f"{name}.{field}"


@pytest.mark.slow
def test_invalid_arguments_are_rejected(tmp_path: Path) -> None:
    source = folder_set(tmp_path / "clips")
    for words, reason in (
        (("foldr", source), "no set named 'foldr'; did you mean folder?"),
        (("folder", source, "--gpa", "3"), "no option --gpa; did you mean gap=VALUE?"),
        (("folder", source, "gap=-1"), r"\[gap\] .*greater than or equal to 0, got -1 \(command line\)"),
        (("folder", source, "fractions=[0.5,0.6,0.1]"), "add up to 1"),
        (("folder", source, "split=tim"), r"\[split\] input should be 'auto', 'file' or 'time', got 'tim'"),
        (("ucf101", source, "fold=4"), r"\[fold\] input should be 1, 2 or 3, got 4"),
        (("folder", source, "size=64"), r"\[size\] needs --cache"),
        (("folder", source, "gpa=3"), r"unknown key \[gpa\] \(command line\); did you mean gap\?"),
        (("folder", source, "q=3"), r"unknown key \[q\] .*; `vidpred prepare folder --help` lists the keys"),
        (("folder", source, "--size", "64"), r"\[--size\] settings of a set are written KEY=VALUE: size=64"),
        (("kth", source, "--no-sequences"), r"\[--no-sequences\] .*: sequences=false"),
        (("folder", source, "--cache"), "no target folder"),
        (("folder", source, "--json", "x"), "--json needs --check"),
        (("folder", source, "--check", "--preview"), "remove --preview"),
        (("folder", source, tmp_path / "o", "--cache", "size=0"), r"\[size\] .*greater than or equal to 1, got 0"),
        (("numpy", source, tmp_path / "o", "layout=NHW"), r"\[layout\] use each of the letters"),
    ):
        with for_command(True), pytest.raises(ConfigError, match=reason):
            prepare(*words)
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_targets_with_other_contents_are_rejected(tmp_path: Path) -> None:
    source = numpy_set(tmp_path / "arrays")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    with pytest.raises(StorageError, match="not empty and not a prepared data set"):
        prepare("numpy", source, tmp_path / "full")
    prepare("numpy", source, tmp_path / "out", "size=16")
    with pytest.raises(StorageError, match="contains the set 'numpy' prepared with other settings"):
        prepare("numpy", source, tmp_path / "out", "size=32")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write here"):
        prepare("numpy", source, tmp_path / "file" / "out")


def test_arguments_in_any_order(tmp_path: Path) -> None:
    source = numpy_set(tmp_path / "arrays")
    prepare("numpy", "size=16", source, "rate=5", tmp_path / "out", "--workers", 1)
    assert {(clip.height, clip.rate) for clip in read_index(tmp_path / "out")} == {(16, 5.0)}


def test_videos_are_used_in_place(tmp_path: Path) -> None:
    source = folder_set(tmp_path / "clips")
    first = prepare("folder", source)
    assert "6 clips (4 train, 1 validation, 1 test), 144 frames" in first
    assert "nothing to do" not in first
    assert "nothing to do" in prepare("folder", source)
    assert not (source / "splits.csv").exists(), "it would exclude videos that are added later"
    assert "nothing to do" in prepare("folder", source, source)
    assert "nothing to do" not in prepare("folder", source, tmp_path / "deep" / "out")
    manifest = Manifest.load(tmp_path / "deep" / "out")
    assert manifest is not None
    assert manifest.videos == "../../clips"
    splits = [line.split(",") for line in (tmp_path / "deep" / "out" / "splits.csv").read_text().splitlines()]
    assert splits[0] == ["path", "split"]
    assert len(splits) == 7
    assert "nothing to do" in prepare("folder", source, tmp_path / "deep" / "out")
    with pytest.raises(StorageError, match="prepared with other settings"):
        prepare("folder", source, tmp_path / "deep" / "out", "--cache")


def test_a_target_behind_a_link_finds_the_videos(tmp_path: Path) -> None:
    source = folder_set(tmp_path / "clips")
    (tmp_path / "disk" / "deep" / "down").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "deep" / "down")
    prepare("folder", source, tmp_path / "data" / "kept")
    settings = DataSettings(root=str(tmp_path / "data" / "kept"), crop_size=None)
    assert len(build_source(settings, "train", [0, 1]))


def test_a_division_by_time_is_not_kept_in_a_list(tmp_path: Path) -> None:
    source = folder_set(tmp_path / "clips")
    for words in (["split=time"], ["split=time", "fractions=[0.5,0.25,0.25]"]):
        with pytest.raises(ConfigError, match=r"split\] divides videos by time.*; add (--)?cache, or set data.split"):
            prepare("folder", source, tmp_path / "kept", *words)
    prepare("folder", source, tmp_path / "kept")
    assert (tmp_path / "kept" / "splits.csv").is_file()
    for number in (0, 2):
        (source / "part0" / f"{number}.mp4").unlink()
    assert "12 clips (4 train, 4 validation, 4 test)" in prepare("folder", source, tmp_path / "kept")
    settings = DataSettings(root=str(tmp_path / "kept"), crop_size=None)
    assert len(build_source(settings, "train", [0, 1])), "the list named videos that are gone"


@pytest.mark.slow
def test_check_lists_every_file_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_set(tmp_path / "clips")
    whole = (source / "part0" / "0.mp4").read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (source / "page.webm").write_text("<html></html>")
    (source / "EMPTY.AVI").touch()
    (source / "notes.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    code = "import sys; from vidpred.commands import app as cli; sys.argv = ['vidpred', *sys.argv[1:]]; cli.main()"
    words = ["prepare", "folder", str(source), "--check", "--json", str(tmp_path / "check.json")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 3
    assert done.stderr.strip().splitlines()[-1].startswith("vidpred: error: 3 of 9 files are bad")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "check.json"])
    rows = {row["item"]: row for row in json.loads((tmp_path / "check.json").read_text())["files"]}
    assert len(rows) == 9
    assert rows["EMPTY.AVI"]["reason"] == "empty file (0 bytes)"
    assert "HTML page" in rows["page.webm"]["reason"]
    assert rows["cut.mp4"]["ok"] is False
    assert rows["part1/1.mp4"] == {
        "item": "part1/1.mp4", "ok": True, "reason": None, "clips": 1, "frames": 24, "seconds": 0.96,
        "codec": "h264", "width": 48, "height": 40, "notes": [],
    }  # fmt: skip


@pytest.mark.slow
def test_preview_shows_clips_and_motion(tmp_path: Path) -> None:
    source = folder_set(tmp_path / "clips")
    for words in ([tmp_path / "kept"], [tmp_path / "c", "--cache"]):
        assert "preview.png" in prepare("folder", source, *words, "--preview", "--workers", "1")
    for folder in (tmp_path / "kept", tmp_path / "c"):
        image = cv2.imread(str(folder / "preview.png"))
        assert image is not None
        assert min(image.shape[:2]) > 700
        assert image.std() > 10


@pytest.mark.slow
def test_sets_of_images_count_images(tmp_path: Path) -> None:
    source = write_digits(tmp_path / "digits.npz", 60)
    text = prepare("images", source, tmp_path / "set", "channels=1", "--preview", "--workers", "1")
    assert text.startswith("60 images (54 train, 3 validation, 3 test), 0.0 MB [")
    assert cv2.imread(str(tmp_path / "set" / "preview.png")) is not None
    assert prepare("images", source, "--check", "--workers", "1").startswith("all 60 images are good [")


def test_motion_of_a_known_clip() -> None:
    """Measure a clip in which half of the pixels change by 10, and a tenth by 5 more, in every frame."""
    frames = np.zeros((4, 10, 10, 1), np.uint8)
    frames[1::2, :5] = 10
    frames[1::2, :1] += 5
    found = motion(PreviewClip("clip", "train", 4, 25.0, lambda numbers: frames[list(numbers)]))
    assert found.difference == pytest.approx(0.5 * 10 + 0.1 * 5)
    assert found.moving == pytest.approx(0.5)
    assert motion(PreviewClip("one", "train", 1, 25.0, lambda numbers: frames[list(numbers)])).difference == 0


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_killed_run_resumes_with_identical_results(tmp_path: Path) -> None:
    for number in range(40):
        write_video(tmp_path / "clips" / f"{number}.mp4", numbered_frames(100, 96, 128, number))
    words = [sys.executable, "-m", "data_prep.folder", str(tmp_path / "clips")]
    options = ["--cache", "size=80", "--workers", "2"]
    out = tmp_path / "out"
    with subprocess.Popen([*words, str(out), *options], env=ENVIRONMENT, start_new_session=True) as process:
        while process.poll() is None and not list((out / "frames").glob("*.json")):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    done = {path: path.stat().st_mtime_ns for path in (out / "frames").glob("*.json")}
    assert 0 < len(done) < 40
    assert not (out / "prepared.json").exists()
    deadline = time.monotonic() + 20
    while _processes_of_session(process.pid):  # the workers end automatically
        assert time.monotonic() < deadline, "workers of a killed run continue forever"
        time.sleep(0.05)
    text = prepare("folder", tmp_path / "clips", out, *options)
    assert " of 40 items were prepared already" in text
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
    prepare("folder", tmp_path / "clips", tmp_path / "whole", "--cache", "size=80", "--workers", "1")
    assert _tree(out) == _tree(tmp_path / "whole")


def _processes_of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def test_changed_items_are_prepared_again_and_missing_ones_removed(tmp_path: Path) -> None:
    source, out = folder_set(tmp_path / "clips"), tmp_path / "out"
    prepare("folder", source, out, "--cache", "--workers", "1")
    write_video(source / "part0" / "0.mp4", numbered_frames(30, 40, 48, 7))
    (source / "part1" / "1.mp4").unlink()
    text = prepare("folder", source, out, "--cache", "--workers", "1")
    assert "items were prepared already" in text
    frames = {clip.clip: clip.frames for clip in read_index(out)}
    assert frames == {f"part{number % 2}/{number}.mp4": 30 if number == 0 else 24 for number in (0, 2, 3, 4, 5)}
    assert {path.name.split(".")[0] for path in (out / "frames").iterdir()} == {clip.file for clip in read_index(out)}


def test_a_source_without_readable_items_raises(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"x")
    with pytest.raises(DataError, match="none of the 1 items can be prepared"):
        prepare("numpy", tmp_path / "a.npy", tmp_path / "out")
