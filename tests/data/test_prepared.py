"""Prepared data sets: frames equal the source; resuming; crops, flips and actions are aligned."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.numbered_set import HEIGHT, WIDTH, NumberedSet, numbered_clip
from tests.settings_for_tests import data_settings
from vidpred.data.build import build_source
from vidpred.data.prepared.format import FRAMES, Manifest, PreparedFrames, read_index
from vidpred.data.prepared.frame_writer import Clip
from vidpred.data.prepared.pipeline import check, prepare
from vidpred.data.prepared.windows import PreparedWindows
from vidpred.data.resize import with_channels
from vidpred.data.settings import DataSettings
from vidpred.data.sources import TrainingSamples, evaluation_offsets, training_offsets
from vidpred.data.splits import split_by_hash
from vidpred.errors import DataError, StorageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "prepared"
    prepare(NumberedSet(Path("source")), folder, workers=1, progress=False)
    return folder


def settings(folder: Path, **changes: object) -> DataSettings:
    values = {"root": str(folder), "crop_size": None, "horizontal_flip": False, "context_frames": 3, "pred_frames": 2}
    return data_settings(**{**values, **changes})


def source(folder: Path, split: str = "train", **changes: object) -> PreparedWindows:
    chosen = settings(folder, **changes)
    built = build_source(chosen, split, training_offsets(chosen))
    assert isinstance(built, PreparedWindows)
    return built


def number(clip: str) -> int:
    item, part = clip.removeprefix("folder/item ").split("/")
    return 2 * int(item) + int(part)


@pytest.mark.slow
def test_prepared_frames_equal_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    prepare(NumberedSet(Path("source")), folder, workers=2, progress=False)
    manifest = Manifest.load(folder)
    assert manifest is not None
    assert (manifest.name, manifest.action_size, manifest.state_size, manifest.channels) == ("numbered", 2, 3, 3)
    names = []
    for split in ("train", "validation", "test"):
        prepared = PreparedFrames(folder, manifest, split)
        for clip in prepared.clips:
            names.append(clip.clip)
            count = 10 if clip.clip.endswith("/0") else 13
            frames = prepared.frames(clip)
            assert np.array_equal(frames.transpose(0, 2, 3, 1), numbered_clip(number(clip.clip), count))
            with pytest.raises(ValueError, match="read-only"):
                frames[0] = 0
            assert np.array_equal(prepared.actions(clip)[:, 1], np.arange(count))
            assert (prepared.actions(clip)[:, 0] == number(clip.clip)).all()
            assert np.array_equal(prepared.states(clip)[:, 2], -np.arange(count))
    assert len(names) == len(set(names)) == 12


def test_statistics_cover_the_training_split(folder: Path) -> None:
    manifest = Manifest.load(folder)
    assert manifest is not None
    train = [clip for clip in read_index(folder) if clip.split == "train"]
    times = np.concatenate([np.arange(clip.frames) for clip in train])
    assert manifest.statistics["actions"]["mean"][1] == pytest.approx(times.mean())
    assert manifest.statistics["actions"]["deviation"][1] == pytest.approx(times.std())


def test_a_second_run_only_prepares_damaged_items(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in (folder / FRAMES).iterdir()}
    summary = prepare(NumberedSet(Path("source")), folder, workers=1, progress=False)
    assert summary.reused == 6
    assert {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in (folder / FRAMES).iterdir()} == before
    victim = sorted((folder / FRAMES).glob("*.u8"))[2]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert prepare(NumberedSet(Path("source")), folder, workers=1, progress=False).reused == 5
    assert {file.name: file.read_bytes() for file in (folder / FRAMES).iterdir()} == {
        n: b for n, (_, b) in before.items()
    }


def test_another_set_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="contains the set 'numbered' prepared with other settings"):
        prepare(NumberedSet(Path("source"), num_items=5), folder, workers=1, progress=False)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(StorageError, match="not empty and not a prepared data set"):
        prepare(NumberedSet(Path("source")), tmp_path, workers=1, progress=False)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_unreadable_items_are_skipped_completely(tmp_path: Path) -> None:
    """Skip the whole item even if its first clip was readable."""
    summary = prepare(NumberedSet(Path("source"), bad=(1,)), tmp_path / "set", workers=1, progress=False)
    assert summary.skipped == [("folder/item 1", "broken on purpose")]
    assert "skipped: 1" in summary.text()
    assert not any("item 1/" in clip.clip for clip in read_index(tmp_path / "set"))
    assert not list((tmp_path / "set" / FRAMES).glob("*item-1*"))
    assert "folder/item 1,broken on purpose" in (tmp_path / "set" / "left_out.csv").read_text()
    with pytest.raises(DataError, match="none of the 2 items can be prepared .*broken on purpose"):
        prepare(NumberedSet(Path("s"), num_items=2, bad=(0, 1)), tmp_path / "none", workers=1, progress=False)


def test_check_writes_nothing(tmp_path: Path) -> None:
    rows = check(NumberedSet(tmp_path, num_items=3, bad=(2,)), workers=1, progress=False)
    assert [row["ok"] for row in rows] == [True, True, False]
    assert rows[0] == {"item": "folder/item 0", "ok": True, "reason": None, "clips": 2, "frames": 23, "seconds": 2.3}
    assert rows[2]["reason"] == "broken on purpose"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "changes", [{}, {"lead": 2}, {"frame_skip": 2}, {"lead": 2, "frame_skip": 2, "pred_frames": 1}]
)
def test_samples_and_their_actions(folder: Path, changes: dict[str, int]) -> None:
    """Check that frames, actions and states of a sample match: action i leads from frame i of the window to i+1."""
    windows = source(folder, **changes)
    skip, lead = changes.get("frame_skip", 1), changes.get("lead", 1)
    samples = TrainingSamples(windows, seed=3)
    (batch,) = samples.__getitems__(list(range(len(windows))))
    seen = set()
    assert batch.actions is not None
    assert batch.states is not None
    for row in range(len(windows)):
        clip, first = int(batch.states[row, 0, 1]), int(batch.states[row, 0, 0])
        seen.add((clip, first))
        whole = torch.from_numpy(numbered_clip(clip, 13)).permute(0, 3, 1, 2)
        assert torch.equal(batch.context[row], whole[first : first + 2 * skip + 1 : skip])
        start = first + (2 + lead) * skip
        count = batch.future.shape[1]
        assert torch.equal(batch.future[row], whole[start : start + (count - 1) * skip + 1 : skip])
        frames = 2 + lead + count
        times = first + skip * torch.arange(frames)
        assert torch.equal(batch.states[row, :, 0], times.float())
        assert batch.actions.shape[1:] == (frames - 1, 2 * skip)
        for part in range(skip):
            assert torch.equal(batch.actions[row, :, 2 * part + 1], (times[:-1] + part).float())
            assert (batch.actions[row, :, 2 * part] == clip).all()
    assert len(seen) == len(windows), "every window is drawn once per epoch"


def test_batches_equal_single_samples(tmp_path: Path) -> None:
    """Check that a batch equals the samples of its positions drawn separately, including crops and flips."""
    prepare(NumberedSet(Path("source"), with_actions=False), tmp_path / "set", workers=1, progress=False)
    samples = TrainingSamples(source(tmp_path / "set", crop_size=8, horizontal_flip=True), seed=5)
    (batch,) = samples.__getitems__(list(range(40, 100)))
    mirrored = 0
    for row, position in enumerate(range(40, 100)):
        alone = samples[position]
        assert torch.equal(alone.context[0], batch.context[row])
        assert torch.equal(alone.future[0], batch.future[row])
        # Columns differ by 3 from left to right, unless mirrored.
        step = (batch.context[row, 0, 0, 0, 1].int() - batch.context[row, 0, 0, 0, 0].int()) % 256
        mirrored += int(step == 253)
        assert step in (3, 253)
    assert 15 < mirrored < 45
    assert batch.positions.tolist() == list(range(40, 100))


def test_all_crops_are_equally_likely(tmp_path: Path) -> None:
    class Places(NumberedSet):
        def clips(self, item, size):  # type: ignore[no-untyped-def]
            frame = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH, 1).repeat(3, 2)
            yield Clip("places", "train", [frame] * 5, 10.0)

    prepare(Places(Path("source"), 1), tmp_path / "set", workers=1, progress=False)
    drawn = source(tmp_path / "set", crop_size=8).draw([0] * 4500, list(range(4500)), seed=0)
    corners = np.bincount(drawn.context[:, 0, 0, 0, 0].numpy(), minlength=HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    counts = corners[: HEIGHT - 7, : WIDTH - 7]
    assert counts.sum() == 4500
    assert ((counts - 100) ** 2 / 100).sum() < 90, "chi squared of 44 degrees of freedom"


def test_crops_with_motion_are_preferred(tmp_path: Path) -> None:
    class Halves(NumberedSet):
        def clips(self, item, size):  # type: ignore[no-untyped-def]
            for clip in super().clips(item, size):
                frames = np.stack(list(clip.frames))
                frames[:, :, : WIDTH // 2] = 7
                yield Clip(clip.name, clip.split, frames, clip.rate, cuts=())

    prepare(Halves(Path("source"), with_actions=False), tmp_path / "set", workers=1, progress=False)

    def still(threshold: float) -> float:
        windows = source(tmp_path / "set", crop_size=8, min_motion=threshold)
        batch = windows.draw([0] * 200, list(range(200)), seed=0)
        return float((batch.context[:, 2] == batch.future[:, 0]).flatten(1).all(1).float().mean())

    assert still(0.0) > 0.05
    assert still(1e-4) == 0


def test_images_have_no_motion(folder: Path) -> None:
    any_crop, moving = (source(folder, context_frames=0, pred_frames=1, min_motion=least) for least in (0.0, 1.0))
    windows, positions = list(range(8)), list(range(100, 108))
    batch = any_crop.draw(windows, positions, 0)
    assert batch.actions is not None
    assert batch.actions.shape == (8, 0, any_crop.action_size), "of single frames, between which there is none"
    expected = batch.future
    assert torch.equal(moving.draw(windows, positions, 0).future, expected), "of these windows, not of others"


def test_evaluation_windows(folder: Path) -> None:
    chosen = settings(folder)
    windows = build_source(chosen, "test", evaluation_offsets(chosen, 7))
    assert len(windows) == 2 * (1 + 4)
    for index in range(len(windows)):
        frames = windows.window(index)
        assert frames.shape == (10, HEIGHT, WIDTH, 3)
        clip = number(windows.clip_name(index))
        assert any(np.array_equal(frames, numbered_clip(clip, 13)[first : first + 10]) for first in range(4))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 8}, "prepared at the size of the source, not data.size=8 .*prepare it again with size=8"),
        ({"channels": 1}, "set data.channels=3"),
        ({"horizontal_flip": True}, "contradict the actions .*data.augment.horizontal_flip=false"),
        ({"split_file": "a.csv"}, "has its own splits"),
        ({"context_frames": 20}, "no train window: 4 clips, the longest shot has 13 of the 22 frames needed"),
        ({"crop_size": 14}, "smaller than data.crop_size=14"),
    ],
)
def test_settings_that_contradict_the_set(folder: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        source(folder, **changes).draw([0], [0], 0)


def test_scaled_and_gray(tmp_path: Path) -> None:
    gray = NumberedSet(Path("source"), channels=1)
    summary = prepare(gray, tmp_path / "set", size=9, workers=1, progress=False)
    assert {(clip.height, clip.width, clip.channels) for clip in summary.clips} == {(9, 12, 1)}
    windows = source(tmp_path / "set", size=9, channels=1)
    frames = windows.window(0)
    clip = numbered_clip(number(windows.clip_name(0)), 13)
    means = with_channels(clip[0], 1).mean() - frames[0].mean()
    assert abs(means) < 2, "area averaging keeps the mean"


def test_damaged_files_are_named(tmp_path: Path) -> None:
    prepare(NumberedSet(Path("source"), num_items=3), tmp_path / "set", workers=1, progress=False)
    index = tmp_path / "set" / "index.jsonl"
    whole = index.read_text()
    index.write_text(whole.replace('"frames"', '"fames"', 1))
    with pytest.raises(DataError, match=r"line 1 is not a clip .*prepare the set again .*index.jsonl"):
        source(tmp_path / "set")
    index.write_text(whole)
    for file in (tmp_path / "set" / FRAMES).glob("*.u8"):
        file.unlink()
    with pytest.raises(DataError, match="a file of the prepared data set is missing"):
        source(tmp_path / "set").window(0)
    manifest = json.loads((tmp_path / "set" / "prepared.json").read_text())
    (tmp_path / "set" / "prepared.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(DataError, match="unsupported format or version"):
        source(tmp_path / "set")


def test_adding_clips_hardly_changes_a_split_by_hash() -> None:
    names = [f"clip {number}" for number in range(200)]
    before, after = split_by_hash(names, (0.7, 0.1, 0.2)), split_by_hash([*names, "one more"], (0.7, 0.1, 0.2))
    counts = [list(before.values()).count(split) for split in ("train", "validation", "test")]
    assert counts == [140, 20, 40]
    assert sum(before[name] != after[name] for name in names) <= 2
