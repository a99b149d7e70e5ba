"""Ten steps of the presets for predictors and R3GAN, on one process, on two, and in bfloat16.

Clips for the presets of KTH and BAIR are a camera's view of frames of real clips: with actions of as many components as
BAIR's, and the size of BAIR's frames, which the small variants have for KTH, too.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from benchmarks.experiments.base import Experiment, real_clips, weights_difference
from benchmarks.markdown import grid
from benchmarks.predictors import PREDICTORS, QUIET, clips, preset_of, small_settings
from benchmarks.results import Result
from data_prep.base import DataSet
from vidpred.checkpoint import read_metrics
from vidpred.config import load_config
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.videos.read_video import read_video

NAME = "presets, ten steps"
KTH_AND_BAIR = f"{NAME}, KTH and BAIR"
STEPS, IMAGES = 10, 200
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
TRAININGS = {  # name -> how Python is started, settings
    "one process": ([], ["training.precision=float32"]),
    "two processes": (LAUNCHER, ["training.precision=float32"]),
    "bfloat16": ([], ["training.precision=bfloat16"]),
}
OTHERS = ("two processes", "bfloat16")
IMAGE_PRESETS = ("r3gan_32.yaml", "r3gan_64.yaml", "few_images.yaml")
KTH_PRESETS = ("convlstm_kth.yaml", "simvp_kth.yaml", "simvp_gsta_kth.yaml", "predrnn_v2_kth.yaml")
BAIR_PRESETS = ("predrnn_v2_bair.yaml", "voxel_flow_bair.yaml", "flow_matching_bair.yaml")
CAMERA_CLIPS, CLIP_FRAMES, SIDE = 40, 30, 64


class MovingCamera(DataSet):
    """Clips of a camera that moves over frames of real videos; its actions: shifts right and down, zoom, rotation."""

    name: ClassVar[str] = "moving_camera"
    about: ClassVar[str] = "a camera that moves over frames of real videos"
    expects: ClassVar[str] = "videos"

    with_actions: bool = True

    def items(self) -> list[Item]:
        videos = sorted(str(path) for path in self.source.iterdir())
        return [Item(f"{n:02}", (videos[n % len(videos)],), "train", detail={"frame": n}) for n in range(CAMERA_CLIPS)]

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        number = item.detail["frame"]
        image = (read_video(item.files[0], start=number, stop=number + 1, size=(2 * SIDE, 3 * SIDE))[0]
                 .permute(1, 2, 0).mul(255).byte().numpy())  # fmt: skip
        actions = np.random.default_rng(number).normal(size=(CLIP_FRAMES, 4)) * (2.0, 2.0, 0.02, 0.03)
        moved = np.cumsum(np.vstack([np.zeros(4), actions[:-1]]), axis=0)
        frames = [view(image, *place) for place in moved]
        clip = Clip(item.name, "train", frames, 10.0, cuts=())
        yield replace(clip, actions=actions, states=moved) if self.with_actions else clip


def view(image: np.ndarray, right: float, down: float, zoom: float, rotation: float) -> np.ndarray:
    """Return a camera's view of an image: from its center, moved, enlarged by exp(zoom), rotated by radians."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 + right, height / 2 + down), math.degrees(rotation), math.exp(zoom))
    matrix[:, 2] += (SIDE / 2 - width / 2 - right, SIDE / 2 - height / 2 - down)
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)


def images(folder: Path) -> Path:
    """Write frames of real clips as images, unless they are there."""
    if not folder.is_dir():
        from torchvision.utils import save_image  # lazily: torchvision imports torch's compiler, which takes seconds

        folder.mkdir(parents=True)
        frames = [frame for file in sorted(Path(real_clips()).iterdir()) for frame in read_video(file, size=(64, 64))]
        for number, frame in enumerate(frames[:: len(frames) // IMAGES][:IMAGES]):
            save_image(frame, folder / f"{number:03d}.png")
    return folder


def ten_steps(folder: Path, seed: int) -> dict[str, Any]:
    """Train every preset's small variant ten steps in three ways; return how far the weights are from each other."""
    moving_mnist, photos = clips(folder / "moving_mnist"), images(folder / "images")
    presets: dict[str, Path | None] = {preset_of(name): moving_mnist for name in PREDICTORS}
    presets |= {**dict.fromkeys(IMAGE_PRESETS, photos), "gaussians_r3gan.yaml": None}
    return {"presets": {preset: differences(folder / preset, preset, root, seed) for preset, root in presets.items()}}


def ten_steps_of_kth_and_bair(folder: Path, seed: int) -> dict[str, Any]:
    """Do the same with the presets of KTH and BAIR, on clips of a moving camera."""
    found: dict[str, Any] = {}
    for data_set, channels, presets in (("KTH", 1, KTH_PRESETS), ("BAIR", 3, BAIR_PRESETS)):
        camera = MovingCamera(source=Path(real_clips()), channels=channels, with_actions=data_set == "BAIR")
        prepare(camera, root := folder / f"clips for {data_set}", SIDE, workers=1, progress=False)
        found |= {preset: differences(folder / preset, preset, root, seed) for preset in presets}
    return {"presets": found}


def differences(folder: Path, preset: str, root: Path | None, seed: int) -> dict[str, float]:
    """Return the differences of a preset's trainings from that on one process; finished trainings are kept.

    Raises:
        CalledProcessError: A training fails.
        ValueError: A loss is not finite.
    """
    settings = QUIET | {"training.steps": STEPS, "training.batch_size": 4, "training.log_every": 1, "seed": seed}
    settings |= {} if root is None else {"data.root": root}
    if not load_config(preset).data.context_frames:
        del settings["training.validate_every"]  # generators of images have no validation
    words = [*small_settings(preset), *(f"{key}={value}" for key, value in settings.items())]
    for name, (launch, precision) in TRAININGS.items():
        run = folder / name.replace(" ", "_")
        command = [sys.executable, *launch, "-m", "vidpred", "train", "--config", preset, *words, *precision]
        if not (run / "checkpoints" / f"step-{STEPS}").is_dir():
            subprocess.run([*command, f"run={run}"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        losses = [value for line in read_metrics(run) for value in line.values() if isinstance(value, float)]
        if not all(map(math.isfinite, losses)):
            raise ValueError(f"{preset}, {name}: a loss is not finite")
    runs = {name: folder / name.replace(" ", "_") for name in TRAININGS}
    return {name: weights_difference(runs[name], runs["one process"], STEPS) for name in OTHERS}


def table(results: Mapping[tuple[str, int], Result]) -> str:
    """Return the differences of every preset's trainings from that on one process, as a Markdown table."""
    found = {**results[NAME, 0].values["presets"], **results[KTH_AND_BAIR, 0].values["presets"]}
    rows = [[f"`{preset}`", *(f"{values[name]:.1g}" for name in OTHERS)] for preset, values in found.items()]
    return grid(["preset", *OTHERS], rows)


PRESET_EXPERIMENTS = [Experiment(NAME, 0, ten_steps), Experiment(KTH_AND_BAIR, 0, ten_steps_of_kth_and_bair)]
