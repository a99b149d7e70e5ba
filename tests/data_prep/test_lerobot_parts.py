"""LeRobot's splits in every form, and bad episodes that cost only themselves."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.lerobot import LeRobot
from data_prep.lerobot_files import episodes_of_splits
from tests.set_files import episode, find_square, lerobot_set
from vidpred.data.prepared.format import PreparedFrames
from vidpred.data.prepared.pipeline import Summary, prepare
from vidpred.errors import ConfigError, DataError

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"
CAMERA = "videos/observation.images.top"


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ("0:8", "8:10", (range(8), [8, 9])),
        (":8", "8:", (range(8), [8, 9])),
        ("0:80%", "80%:", (range(8), [8, 9])),
        (":80%", "80%:100%", (range(8), [8, 9])),
        ("80%", "20%", (range(8), [8, 9])),
        ("0:3,5:8", "3:5, 8:", ([0, 1, 2, 5, 6, 7], [3, 4, 8, 9])),
        ("0,1,2", "7", ([0, 1, 2], [7])),
        ([0, 2, 4], [9], ([0, 2, 4], [9])),
        (["0:2", "4"], ["80%:"], ([0, 1, 4], [8, 9])),
        ("0:100", "100:", (range(10), [])),
        (":-2", "-2:", (range(8), [8, 9])),
    ],
)
def test_ranges_shares_and_lists(train: Any, test: Any, expected: tuple[Any, Any]) -> None:
    found = episodes_of_splits({"train": train, "test": test}, list(range(10)), Path("info.json"))
    assert (found["train"], found["test"]) == tuple(map(list, expected))


@pytest.mark.parametrize("span", ["first", "0:x", "1.5:3", "a%", "0:1:2"])
def test_what_is_no_range_is_named(span: str) -> None:
    with pytest.raises(DataError, match=rf"cannot read the splits \[info.json: train={span}\]; write ranges such as"):
        episodes_of_splits({"train": span, "test": "8:"}, list(range(10)), Path("info.json"))


@pytest.mark.slow
def test_images_in_parquet_and_several_cameras_are_read(tmp_path: Path) -> None:
    """A second camera has the same episodes as PNG files inside the data file, mirrored."""
    import cv2

    root = lerobot_set(tmp_path / "lerobot")

    def add_images(columns: dict[str, list[Any]]) -> None:
        lengths = [columns["episode_index"].count(number) for number in range(7)]
        frames = np.concatenate([episode(number, length)[0] for number, length in enumerate(lengths)])
        encoded = [cv2.imencode(".png", frame[:, ::-1, ::-1])[1].tobytes() for frame in frames]
        columns["observation.images.wrist"] = [{"bytes": content, "path": None} for content in encoded]

    change(root / DATA, add_images)
    file = root / "meta" / "info.json"
    info = json.loads(file.read_text())
    info["features"]["observation.images.wrist"] = {"dtype": "image", "shape": [32, 32, 3]}
    info["features"]["action"]["names"] = {"motors": ["x", "y"]}
    file.write_text(json.dumps(info))
    wrist, both = "observation.images.wrist", ("observation.images.top", "observation.images.wrist")
    found = {
        name: prepare(LeRobot(source=root, camera=camera), tmp_path / name, workers=1, progress=False)
        for name, camera in (("one", wrist), ("both", both))
    }
    assert found["both"].manifest.channels == 6
    assert found["both"].manifest.action_names == ["x", "y"]
    for split in ("train", "test"):
        alone, stacked = (PreparedFrames(one.target, one.manifest, split) for one in found.values())
        for a, b in zip(alone.clips, stacked.clips, strict=True):
            number = int(a.clip.split("_")[1])
            true, actions, states = episode(number, a.frames)
            assert np.array_equal(alone.frames(a).transpose(0, 2, 3, 1)[:, :, ::-1], true)
            assert np.array_equal(alone.actions(a), actions)
            assert np.array_equal(alone.states(a), states)
            assert np.array_equal(stacked.frames(b)[:, 3:], alone.frames(a))
            assert np.abs(stacked.frames(b)[:, :3, :, ::-1].astype(int) - alone.frames(a)).mean() < 8
    timed = prepare(LeRobot(source=root, camera=wrist, split="time"), tmp_path / "timed", workers=1, progress=False)
    last = PreparedFrames(timed.target, timed.manifest, "test")
    lengths = [24, 20, 26, 22, 24, 24, 21]
    for clip in last.clips:
        number = int(clip.clip[8:14])
        ends = last.frames(clip).transpose(0, 2, 3, 1)[:, :, ::-1]
        assert np.array_equal(ends, episode(number, lengths[number])[0][-clip.frames :])
    change(root / DATA, lambda columns: columns[wrist].__setitem__(3, {"bytes": b"damaged", "path": None}))
    damaged = prepare(LeRobot(source=root, camera=wrist), tmp_path / "damaged", workers=1, progress=False)
    assert [name for name, _ in damaged.skipped] == ["episode_000000"]
    with pytest.raises(
        ConfigError, match="several cameras .*; set camera to one of observation.images.top, observation"
    ):
        LeRobot(source=root).items()


def change(file: Path, edit: Callable[[dict[str, list[Any]]], None]) -> None:
    """Rewrite a Parquet file after an edit of its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = pq.ParquetFile(file).read().to_pydict()
    edit(columns)
    pq.write_table(pa.table(columns), file)


def prepared(folder: Path) -> tuple[Summary, dict[str, str]]:
    """Return the summary, and the reason of each episode that is left out."""
    target = folder / "set"
    summary = prepare(LeRobot(source=folder / "robot", max_bad_fraction=0.5), target, workers=1, progress=False)
    with (target / "left_out.csv").open() as file:
        return summary, dict(list(csv.reader(file))[1:])


def check_squares(folder: Path, summary: Summary) -> None:
    """Check that every frame shows its state."""
    for split in ("train", "validation", "test"):
        source = PreparedFrames(folder / "set", summary.manifest, split)
        for clip in source.clips:
            places = np.stack([find_square(frame) for frame in source.frames(clip)])
            np.testing.assert_allclose(places, source.states(clip)[:, :2], atol=0.6)


def test_the_sets_own_splits_are_used(tmp_path: Path) -> None:
    info = lerobot_set(tmp_path / "robot") / "meta" / "info.json"
    content = json.loads(info.read_text())
    info.write_text(json.dumps({**content, "splits": {"train": ":80%", "test": "80%:"}}))
    summary, bad = prepared(tmp_path)
    splits = {clip.clip: clip.split for clip in summary.clips}
    assert [name for name, split in splits.items() if split == "test"] == ["episode_000006"]
    assert list(splits.values()).count("validation") == 1, "validation clips come from the training split"
    assert not bad
    info.write_text(json.dumps({**content, "splits": {"train": ":5", "test": "4:"}}))
    with pytest.raises(DataError, match=r"episode 4 is in the splits train and test \[.*info.json\]"):
        prepared(tmp_path)


def lose_row(columns: dict[str, list[Any]]) -> None:
    for values in columns.values():
        del values[50]  # of the third episode


def wrong_time(columns: dict[str, list[Any]]) -> None:
    columns[f"{CAMERA}/from_timestamp"][2] += 5.0


def overlapping(columns: dict[str, list[Any]]) -> None:
    columns[f"{CAMERA}/from_timestamp"][2] -= 0.8  # eight frames


def not_a_number(columns: dict[str, list[Any]]) -> None:
    columns["action"][50][0] = float("nan")


@pytest.mark.parametrize(
    ("file", "edit", "why"),
    [
        (DATA, lose_row, "episode 2 has 25 rows in order, not 26"),
        (DATA, not_a_number, "actions that are not finite"),
        (EPISODES, wrong_time, "episode 2 .* does not fit its video"),
        (EPISODES, overlapping, "frames overlap those of the episode before"),
    ],
)
def test_a_bad_episode_costs_only_itself(tmp_path: Path, file: str, edit: Callable[[Any], None], why: str) -> None:
    change(lerobot_set(tmp_path / "robot") / file, edit)
    summary, bad = prepared(tmp_path)
    assert list(bad) == ["episode_000002"]
    assert re.search(why, bad["episode_000002"])
    assert sorted(clip.clip for clip in summary.clips) == [f"episode_{n:06}" for n in (0, 1, 3, 4, 5, 6)]
    check_squares(tmp_path, summary)


def test_times_that_drift_do_not_move_episodes(tmp_path: Path) -> None:
    """Times that are summed up from rounded durations are off by more than a frame after a while."""

    def drift(columns: dict[str, list[Any]]) -> None:
        times = columns[f"{CAMERA}/from_timestamp"]
        columns[f"{CAMERA}/from_timestamp"] = [time + 0.05 * (place % 4) for place, time in enumerate(times)]

    change(lerobot_set(tmp_path / "robot") / EPISODES, drift)
    summary, bad = prepared(tmp_path)
    assert not bad
    assert len(summary.clips) == 7
    check_squares(tmp_path, summary)


def test_lost_frames_at_an_unknown_place_cost_the_video(tmp_path: Path) -> None:
    """The other video of the set is used."""

    def longer(columns: dict[str, list[Any]]) -> None:
        columns["length"][1] += 3
        columns[f"{CAMERA}/from_timestamp"][2:4] = [time + 0.3 for time in columns[f"{CAMERA}/from_timestamp"][2:4]]

    change(lerobot_set(tmp_path / "robot") / EPISODES, longer)
    summary, bad = prepared(tmp_path)
    assert sorted(clip.clip for clip in summary.clips) == [f"episode_{n:06}" for n in (4, 5, 6)]
    (reason,) = bad.values()
    assert "the video has 92 frames, its episodes have 95, and nothing shows which are missing" in reason


@pytest.mark.parametrize(
    "change",
    [
        {"fps": None}, {"fps": "fast"}, {"fps": 0}, {"features": []}, {"features": {"a": 1}}, {"splits": ["train"]},
        {"video_path": "{other}.mp4"}, {"video_path": "/etc/{video_key}"}, {"data_path": "../{chunk_index}"},
        {"codebase_version": 3},
    ],
)  # fmt: skip
def test_impossible_values_of_the_description_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    file = lerobot_set(tmp_path / "robot") / "meta" / "info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=rf"({next(iter(change))}|wrong value of a|could not|float).*info.json"):
        prepared(tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("length", None), ("length", 0), ("from_timestamp", float("nan")), ("file_index", None), ("episode_index", 1)],
)
def test_an_impossible_episode_costs_only_itself(tmp_path: Path, column: str, value: Any) -> None:
    def wrong(columns: dict[str, list[Any]]) -> None:
        name = next(name for name in columns if name.endswith(column) and not name.startswith("data"))
        columns[name] = [*columns[name][:3], value, *columns[name][4:]]

    change(lerobot_set(tmp_path / "robot") / EPISODES, wrong)
    summary, bad = prepared(tmp_path)
    assert sorted(clip.clip for clip in summary.clips) == [f"episode_{n:06}" for n in (0, 1, 2, 4, 5, 6)]
    assert set(bad) == {"row 3 of meta/episodes"}
    check_squares(tmp_path, summary)


@pytest.mark.parametrize("value", [None, [1.0], "x"])
def test_rows_of_actions_that_are_no_numbers_cost_the_episode(tmp_path: Path, value: Any) -> None:
    file = next((lerobot_set(tmp_path / "robot") / "data").rglob("*.parquet"))

    def wrong(columns: dict[str, list[Any]]) -> None:
        if value == "x":
            columns["action"] = ["x" if episode == 2 else "1" for episode in columns["episode_index"]]
        else:
            columns["action"][columns["episode_index"].index(2)] = value

    change(file, wrong)
    summary, bad = prepared(tmp_path)
    assert set(bad) == {"episode_000002"}
    assert len(summary.clips) == 6
