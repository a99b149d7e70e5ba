"""Recorded episodes match the environment, are resumable and extensible, also with Gymnasium environments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

from data_prep.lerobot import LeRobot
from tests.command_line import run_vidpred
from vidpred.data.prepared.format import Manifest, PreparedFrames
from vidpred.data.prepared.pipeline import prepare
from vidpred.errors import ConfigError, StorageError
from vidpred.planning import record as module
from vidpred.planning.envs.block_push import BlockPushState, advance, paint
from vidpred.planning.envs.registry import make_env
from vidpred.planning.lerobot_export import write_lerobot
from vidpred.planning.record import Recording, record, record_lerobot


def recorded(folder: Path, episodes: int, **change: Any) -> Any:
    return record(Recording("block_push", episodes, size=16, **change), folder, workers=1, progress=False)


def test_actions_lead_from_frame_to_frame(tmp_path: Path) -> None:
    """Replayed from the recorded states, every action leads to the next state, and every state renders its frame."""
    recorded(tmp_path / "set", 10)
    manifest = Manifest.load(tmp_path / "set")
    assert manifest is not None
    assert (manifest.action_size, manifest.state_size, manifest.settings["frame_size"]) == (2, 4, 16)
    counts = {}
    for split in ("train", "validation", "test"):
        prepared = PreparedFrames(tmp_path / "set", manifest, split)
        counts[split] = len(prepared.clips)
        for clip in prepared.clips:
            states, actions = prepared.states(clip).astype(np.float64), prepared.actions(clip)
            assert len(actions) == len(states) == 41 or len(states) < 41
            now = BlockPushState(states[:, :2], states[:, 2:])
            after = advance(now, actions)
            np.testing.assert_allclose(after.values()[:-1], states[1:], atol=1e-5)
            frames = prepared.frames(clip).transpose(0, 2, 3, 1).astype(int)
            assert np.abs(paint(now, 16) - frames).max() <= 1, "rounding of states to float32"
    assert counts == {"train": 8, "validation": 1, "test": 1}


@pytest.mark.slow
def test_more_episodes_do_not_change_the_first_ones(tmp_path: Path) -> None:
    first = recorded(tmp_path / "set", 20)
    assert (first.written, first.reused) == (1, 0)
    more = recorded(tmp_path / "set", 45)
    assert (more.written, more.reused) == (2, 1)
    assert [clip for clip in more.clips if clip.clip < "episode 000020"] == first.clips
    assert recorded(tmp_path / "set", 45).written == 0
    whole = recorded(tmp_path / "whole", 45)
    for clip in whole.clips:
        a, b = (PreparedFrames(folder, whole.manifest, clip.split) for folder in (tmp_path / "set", tmp_path / "whole"))
        assert np.array_equal(a.frames(clip), b.frames(clip))
    with pytest.raises(StorageError, match="prepared with other settings"):
        recorded(tmp_path / "set", 45, seed=1)
    with pytest.raises(ConfigError, match=r"no such policy \[policy=clever\]; choose from random, scripted"):
        recorded(tmp_path / "other", 45, policy="clever")


class Lamp(gymnasium.Env[np.ndarray, Any]):
    """An image with the brightness of the sum of actions; the goal is 200."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(0, 255, (1,), np.float32)

    def __init__(self, discrete: bool = False, render_mode: str | None = None) -> None:
        self.render_mode, self.discrete, self.level = render_mode, discrete, 0.0
        box = gymnasium.spaces.Box(np.array([[-20.0], [0.0]]), np.array([[20.0], [1.0]]), dtype=np.float64)
        self.action_space = gymnasium.spaces.Discrete(3) if discrete else box  # type: ignore[assignment]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.level = float(self.np_random.integers(150, 195))
        return np.array([self.level], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        change = 10.0 * (int(action) - 1) if self.discrete else float(action[0, 0])
        self.level = float(np.clip(self.level + change, 0, 255))
        reached = abs(self.level - 200) < 5
        return np.array([self.level], np.float32), 0.0, reached, False, {}

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.full((24, 32, 3), round(self.level), np.uint8)


@pytest.fixture(autouse=True)
def lamps() -> Iterator[None]:
    for name, discrete in (("Lamp-v0", False), ("Switch-v0", True)):
        gymnasium.register(name, entry_point=Lamp, max_episode_steps=12, kwargs={"discrete": discrete})
    yield
    for name in ("Lamp-v0", "Switch-v0", "Rig-v0"):
        gymnasium.registry.pop(name, None)


@pytest.mark.parametrize(("name", "size"), [("Lamp-v0", 2), ("Switch-v0", 3)])
def test_gymnasium_environments_are_recorded(tmp_path: Path, name: str, size: int) -> None:
    summary = record(Recording(name, 10, size=12), tmp_path / "set", workers=1, progress=False)
    assert (summary.manifest.action_size, summary.manifest.state_size) == (size, 1)
    prepared = PreparedFrames(tmp_path / "set", summary.manifest, "train")
    for clip in prepared.clips:
        assert (clip.height, clip.width) == (12, 16)
        levels, actions = prepared.states(clip)[:, 0], prepared.actions(clip)[:-1]
        change = actions[:, 0] if name == "Lamp-v0" else 10 * (actions.argmax(1) - 1)
        np.testing.assert_allclose(levels[1:], np.clip(levels[:-1] + change, 0, 255), atol=1e-3)
        np.testing.assert_allclose(prepared.frames(clip)[:, 0, 0, 0], np.round(levels), atol=0.5)
    assert {clip.frames for clip in summary.clips} != {13}, "no episode ended early, so that ends are not tested"


class Rig(Lamp):
    """A Lamp filmed by two cameras of different sizes, as nested observations with a state."""

    observation_space = gymnasium.spaces.Dict({  # type: ignore[assignment]
        "pixels": gymnasium.spaces.Dict({
            "top": gymnasium.spaces.Box(0, 255, (24, 32, 3), np.uint8),
            "wrist": gymnasium.spaces.Box(0, 255, (12, 16, 3), np.uint8),
        }),
        "level": gymnasium.spaces.Box(0, 255, (1,), np.float32),
    })  # fmt: skip

    def _seen(self) -> dict[str, Any]:
        top = self.render()
        return {"pixels": {"top": top, "wrist": 255 - top[::2, ::2]}, "level": np.array([self.level], np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self._seen(), super().reset(seed=seed)[1]

    def step(self, action: Any) -> Any:
        result = super().step(action)
        return self._seen(), *result[1:]


@pytest.mark.slow
def test_several_cameras_are_recorded_trained_on_and_planned_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    gymnasium.register("Rig-v0", entry_point=Rig, max_episode_steps=12)
    cameras = ["--camera", "pixels/top", "--camera", "pixels/wrist"]
    words = ["record", "set", "--env", "Rig-v0", "--episodes", "12", "--size", "16", "--workers", "1"]
    assert run_vidpred(*words, *cameras) == 0
    manifest = Manifest.load(tmp_path / "set")
    assert manifest is not None
    assert (manifest.channels, manifest.state_size, manifest.action_size) == (6, 1, 2)
    prepared = PreparedFrames(tmp_path / "set", manifest, "train")
    for clip in prepared.clips:
        frames, levels = prepared.frames(clip).astype(int), prepared.states(clip)[:, 0]
        assert np.array_equal(frames[:, 3:], 255 - frames[:, :3])
        np.testing.assert_allclose(frames[1:, 0, 0, 0], np.round(levels[1:]), atol=0.5)
    tiny = ["training.steps=2", "training.batch_size=2", "training.validation_windows=2", "training.image_every=1"]
    tiny += [
        "data.channels=6",
        "data.crop_size=null",
        "model.widths=[4,8,8]",
        "training.log_every=1",
        "data.unroll=2",
        "run=run",
    ]
    assert run_vidpred("train", "--config", "block_push.yaml", "data.root=set", *tiny) == 0
    Image.new("RGB", (32, 24), (200, 200, 200)).save("goal.png")
    plan = ["plan", "--run", "run", "--env", "Rig-v0", "--episodes", "1", "--video", "plan.gif", "--goal", "goal.png"]
    assert run_vidpred(*plan, "--goal", "goal.png", *cameras) == 0
    assert (tmp_path / "plan.gif").stat().st_size > 0
    capsys.readouterr()
    for given, message in (
        ([], "the model takes (..., 6, H, W): 2 color cameras"),
        (cameras, "1 image of the goal [--goal], but 2 cameras"),
        (["--camera", "front"], "no image of the observations [--camera front]; choose from pixels/top, pixels/wrist"),
    ):
        assert run_vidpred(*plan, *given) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_lerobot_set_has_the_same_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    recording = Recording("block_push", 11, size=32, steps=6)
    assert "11 episodes" in record_lerobot(recording, tmp_path / "lerobot", workers=1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["lerobot"], "temporary files are left"
    record(recording, tmp_path / "direct", workers=1, progress=False)
    found = LeRobot(source=tmp_path / "lerobot")
    again = prepare(found, tmp_path / "again", workers=1, progress=False)
    one, other = (Manifest.load(tmp_path / name) for name in ("direct", "again"))
    assert one is not None
    assert other is not None
    assert one.action_names == other.action_names == ["disc x", "disc y"]
    assert one.statistics == other.statistics
    counts = {}
    for split in ("train", "validation", "test"):
        direct, read = PreparedFrames(tmp_path / "direct", one, split), PreparedFrames(tmp_path / "again", other, split)
        counts[split] = len(read.clips)
        for a, b in zip(direct.clips, read.clips, strict=True):
            assert np.array_equal(direct.actions(a), read.actions(b))
            assert np.array_equal(direct.states(a), read.states(b))
            difference = direct.frames(a).astype(int) - read.frames(b)
            assert np.abs(difference).mean() < 6, "beyond what video encoding changes"
    assert counts == {"train": 9, "validation": 1, "test": 1}
    assert again.skipped == []
    with pytest.raises(ConfigError, match="exists already"):
        record_lerobot(recording, tmp_path / "lerobot")
    late = tmp_path / "late"

    def write_late(*given: Any) -> int:
        late.mkdir()
        (late / "precious.txt").touch()
        return write_lerobot(*given)

    monkeypatch.setattr(module, "write_lerobot", write_late)
    with pytest.raises(StorageError, match="appeared meanwhile"):
        record_lerobot(recording, late, workers=1, progress=False)
    assert [file.name for file in late.iterdir()] == ["precious.txt"]


def test_unknown_environments_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no such environment \[env=Moon-v7\]"):
        make_env("Moon-v7")
    with pytest.raises(ConfigError, match="defines no goal"):
        make_env("Lamp-v0").cost(None)
