"""No setting is silently ignored, for every kind of data and every preset."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.data.numbered_set import NumberedSet
from tests.image_files import digits, write_digits
from tests.video_files import numbered_frames, write_video
from vidpred.config import Config, find_preset, load_config, preset_folder
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import prepare
from vidpred.errors import ConfigError, DataError
from vidpred.run import plan, train
from vidpred.settings import flatten
from vidpred.training.optimizers import schedule_factor
from vidpred.training.settings import ScheduleSettings

PRESETS = sorted(file.name for file in preset_folder().glob("*.yaml"))
WARNING = "settings that this run does not use: "


@dataclass(frozen=True)
class PreparedSet(NumberedSet):
    """A stand-in for a prepared data set, with the frame sizes, actions and states of a config."""

    config: Config | None = None

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        assert self.config is not None
        data, model = self.config.data, self.config.model
        side, count = max(data.size or 0, data.crop_size or 0, 64), 50
        frames = np.zeros((count, side, side, data.channels), np.uint8)
        rows = [np.arange(count * n, dtype=np.float32).reshape(count, n) if n else None
                for n in (model.action_size, model.state_size)]  # fmt: skip
        for part in range(2):
            yield Clip(f"{item.name}/{part}", "", iter(frames), 10.0, *rows, cuts=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(5):
        write_video(folder / "videos" / f"{number}.mp4", numbered_frames(40, 64, 80, number))
    prepare(NumberedSet(Path("source"), with_actions=False), folder / "prepared", workers=1, progress=False)
    write_digits(folder / "images.npz")
    return folder


def root_for(name: str, config: Config, folder: Path) -> str | None:
    """Return data of the kind that a preset is made for."""
    if config.data.root is None:
        waits = name != "tiny.yaml" and "data.root=FOLDER_OF_VIDEOS" in find_preset(name).read_text()
        return str(folder / "videos") if waits else None
    if config.data.context_frames == 0:
        side = config.data.size or config.data.crop_size
        shape = (400, side, side, *([3] if config.data.channels == 3 else []))
        np.savez(folder / f"{name}.npz", images=np.zeros(shape, np.uint8), labels=np.arange(400) % 10)
        return str(folder / f"{name}.npz")
    if "UCF-101" in config.data.root:
        return str(folder / "videos")
    source = PreparedSet(Path("source"), channels=config.data.channels, config=config)
    prepare(source, folder / f"set for {name}", size=config.data.size, workers=1, progress=False)
    return str(folder / f"set for {name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_presets_use_all_their_settings(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes: dict[str, Any] = {"run": "unused", "training.device": "cpu"}
    if load_config(name).training.init_from:  # that run does not exist here
        changes["training.init_from"] = None
    root = root_for(name, load_config(name), folder)
    plan(load_config(name, {**changes, **({"data.root": root} if root else {})}))
    assert WARNING not in capsys.readouterr().err


VIDEO_KEYS = "video.fps=5 video.skip_cuts=false video.max_frames=1000 video.cache_mb=0 video.on_bad_video=skip"
CHANGES = (
    "augment.vertical_flip=true augment.transpose=true augment.time_reverse=true augment.camera_shake=1 "
    "augment.color_jitter=0.1 augment.max_speed=2 augment.time_warp=0.5"
)
FRAMES = f"{VIDEO_KEYS} {CHANGES} split=time split_fractions=[0.5,0.25,0.25] frame_skip=2 min_motion=0.0001"
OF_KIND: dict[str, tuple[list[str], str]] = {  # kind -> its overrides, and settings that it does not use
    "videos": (["data.root=ROOT/videos", "data.crop_size=16"], ""),
    "prepared": (
        ["data.root=ROOT/prepared", "data.crop_size=8"],
        f"{CHANGES} split=time split_fractions=[0.5,0.25,0.25] video.max_frames=1000 video.cache_mb=0 "
        "video.on_bad_video=skip world.synthetic_share=0.2",
    ),
    "images": (
        ["data.root=ROOT/images.npz", "data.crop_size=8", "data.context_frames=0", "data.channels=1",
         "model.name=mlp", "model.hidden=[8]", "objective.gdl_weight=0"],
        f"{CHANGES} split=time video.fps=5 video.skip_cuts=false video.max_frames=1000 video.on_bad_video=skip "
        "frame_skip=2 min_motion=0.0001 world.synthetic_share=0.2",
    ),
    "world": (["data.crop_size=32"], f"{FRAMES} augment.horizontal_flip=false world.synthetic_share=0.2"),
    "moving things": (["data.world.name=moving_shapes"], f"{FRAMES} augment.horizontal_flip=false"),
    "points": (
        ["data.world.name=eight_gaussians", "data.context_frames=0", "data.channels=1", "model.name=mlp",
         "model.hidden=[8]", "objective.gdl_weight=0"],
        f"{FRAMES} augment.horizontal_flip=false size=64 crop_size=16",
    ),
}  # fmt: skip
CASES = [(kind, f"data.{word}") for kind, (_, words) in OF_KIND.items() for word in words.split()]


def loaded(kind: str, folder: Path, *more: str) -> Config:
    words = [word.replace("ROOT", str(folder)) for word in OF_KIND[kind][0]]
    return load_config(None, ["training.device=cpu", "run=unused", *words, *more])


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_KIND)
def test_a_kind_of_data_as_it_is(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(loaded(kind, folder))
    assert WARNING not in capsys.readouterr().err


def test_a_warm_up_longer_than_the_training_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data.world.name=moving_shapes", "run=unused", "training.device=cpu", "training.schedule.warmup_steps=80"]
    plan(load_config(None, [*words, "training.steps=10"]))
    most = max(schedule_factor(ScheduleSettings(warmup_steps=80), step, 10) for step in range(10))
    assert most == 0.125
    assert f"only reaches {most:.1%} of its value; set training.schedule.warmup_steps=1" in capsys.readouterr().err
    plan(load_config(None, [*words, "training.steps=80"]))
    assert "only reaches" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "word"), CASES)
def test_what_a_kind_of_data_does_not_use_is_an_error(kind: str, word: str, folder: Path) -> None:
    with pytest.raises((ConfigError, DataError), match=re.escape(f"[{word.partition('=')[0]}")):
        plan(loaded(kind, folder, word))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["videos", "images"])
def test_the_share_of_bad_files_is_not_used_where_one_is_an_error(kind: str, folder: Path, tmp_path: Path) -> None:
    for number, image in enumerate(digits()[0][:20]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    words = [f"data.root={tmp_path if kind == 'images' else folder / kind}", "data.max_bad_fraction=0.5"]
    plan(loaded(kind, folder, *words))
    with pytest.raises(ConfigError, match=r"data.max_bad_fraction=0.5\] not used"):
        plan(loaded(kind, folder, *words, "data.video.on_bad_video=error"))


@pytest.mark.slow
@pytest.mark.parametrize("word", [f"data.{word}" for word in [*FRAMES.split(), "augment.horizontal_flip=false"]])
def test_what_videos_use(word: str, folder: Path) -> None:
    plan(loaded("videos", folder, word))


@pytest.mark.parametrize(
    "words",
    [
        ["model.name=motion", "model.widths=[4,4,4]"],
        ["objective.adversarial.weight=0.1", "objective.adversarial.r1_every=4"],
        ["objective.adversarial.r1_weight=1"],
        ["objective.adversarial.balanced=true"],
        ["objective.gdl_weight=0", "objective.gdl_alpha=2"],
        ["model.noise=binary"],
        ["model.num_labels=3"],
        ["discriminator.size=strided"],
        ["training.discriminator.weight_decay=0.1"],
        ["training.generator.momentum=0.9"],
        ["training.generator.name=sgd", "training.generator.betas=[0.5,0.9]"],
        ["training.schedule.shape=constant", "training.schedule.hold=0.5"],
        ["training.validate_every=0", "training.best_by=ssim"],
        ["objective.other_samples_weight=0.1"],
        ["data.timeout_seconds=60"],
        ["training.peer_timeout_seconds=60"],
    ],
)
def test_what_networks_and_losses_do_not_use_is_an_error(words: list[str], folder: Path) -> None:
    key = words[-1].partition("=")[0]
    with pytest.raises(ConfigError, match=re.escape(f"[{key}")):
        plan(loaded("world", folder, *words))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["model.name=motion", "model.refine=true", "model.widths=[4,4,4]"],
        ["objective.adversarial.weight=0.1", "objective.adversarial.r1_weight=1", "objective.adversarial.r1_every=4"],
        ["objective.adversarial.weight=0.1", "discriminator.size=strided", "training.discriminator.weight_decay=0.1"],
        ["objective.gdl_alpha=2"],
        [
            "model.noise_channels=1",
            "model.noise=binary",
            "objective.num_samples=2",
            "objective.other_samples_weight=0.1",
        ],
        ["training.generator.name=sgd", "training.generator.momentum=0.9", "training.schedule.hold=0.2"],
    ],
)  # fmt: skip
def test_what_networks_and_losses_use(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(loaded("world", folder, *words))
    assert WARNING not in capsys.readouterr().err


@pytest.mark.parametrize("word", ["data.split=time", "training.peer_timeout_seconds=60.0"])
def test_training_refuses_before_it_writes(tmp_path: Path, folder: Path, word: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{word}] not used")):
        train(loaded("world", folder, word, f"run={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()


def test_a_preset_or_python_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("data:\n  split: time\n  augment: {time_warp: 0.5}\n")
    plan(load_config(tmp_path / "mine.yaml", {"model.noise": "uniform"}))
    lines = [line for line in capsys.readouterr().err.splitlines() if WARNING in line]
    assert len(lines) == 1
    assert lines[0].partition(WARNING)[2] == (
        "data.split (mine.yaml:2), data.augment.time_warp (mine.yaml:3), model.noise (Python)"
    )


def test_presets_are_dumped_as_they_were_given() -> None:
    """Origins are not part of the dump."""
    one, other = load_config("tiny.yaml"), load_config(find_preset("tiny.yaml"))
    assert one == other
    assert dict(flatten(yaml.safe_load(find_preset("tiny.yaml").read_text()))).keys() <= one.origins.keys()
    assert "origins" not in one.model_dump()
