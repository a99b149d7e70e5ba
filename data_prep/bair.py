"""BAIR robot pushing: 64x64 videos of 30 frames with the arm's actions and positions, from TFRecords.

    vidpred prepare bair softmotion30_44k data/bair

The official test folder is the test set; the last training files are the validation set. Row t of the actions leads
from frame t to frame t+1; the states are the gripper's positions. TensorFlow is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.errors import DataError, printable

from .base import DataSet
from .command import main
from .tfrecords import Feature, bytes_value, float_values, read_example, read_records

SIDE = 64
FOLDER = "softmotion30_44k"


class Bair(DataSet):
    """Ebert, Finn, Lee & Levine, "Self-supervised visual planning with temporal skip connections", 2017."""

    name: ClassVar[str] = "bair"
    about: ClassVar[str] = "BAIR robot pushing with actions and positions, from its TFRecords"
    expects: ClassVar[str] = f"{FOLDER}/train/*.tfrecords and {FOLDER}/test/*.tfrecords"

    camera: Literal["image_aux1", "image_main"] = Field(
        "image_aux1", description="Camera; image_aux1 is the usual one."
    )
    validation_files: int | None = Field(
        None, ge=1, description="Number of the last training files to use for validation. null: one in 20, at least 1."
    )
    rate: float = Field(10.0, gt=0, description="Frames per second, which the files do not contain.")

    def items(self) -> list[Item]:
        root = self.source / FOLDER if (self.source / FOLDER).is_dir() else self.source
        files = {split: sorted((root / split).glob("*.tfrecord*")) for split in ("train", "test")}
        if not files["train"] and not files["test"]:
            raise self.absent()
        train = files["train"]
        held_out = self.validation_files or max(1, len(train) // 20)
        if train and held_out >= len(train):
            raise DataError(f"{len(train)} training files are too few for {held_out} validation files [{root}]")
        splits = {"train": train[:-held_out], "validation": train[len(train) - held_out :], "test": files["test"]}
        return [
            Item(path.relative_to(root).as_posix(), (str(path),), split)
            for split, paths in splits.items()
            for path in paths
        ]

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        path = Path(item.files[0])
        stem = item.name.rsplit(".", 1)[0]
        for number, record in enumerate(read_records(path)):
            try:
                example = read_example(record)
                frames, actions, states = self._trajectory(example)
            except (ValueError, KeyError) as error:
                raise DataError(
                    f"record {number} is not a trajectory of this set ({error}) [{printable(path)}]"
                ) from None
            yield Clip(f"{stem}/{number:04}", item.split, frames, self.rate, actions, states, cuts=())

    def _trajectory(self, example: dict[str, Feature]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        frames: list[np.ndarray] = []
        actions: list[np.ndarray] = []
        states: list[np.ndarray] = []
        while f"{len(frames)}/{self.camera}/encoded" in example:
            step = len(frames)
            content = bytes_value(example[f"{step}/{self.camera}/encoded"])
            if len(content) != SIDE * SIDE * 3:
                raise ValueError(f"frame {step} has {len(content)} bytes, not {SIDE}x{SIDE}x3")
            frames.append(np.frombuffer(content, np.uint8).reshape(SIDE, SIDE, 3))
            actions.append(float_values(example[f"{step}/action"]))
            states.append(float_values(example[f"{step}/endeffector_pos"]))
        if not frames:
            raise ValueError(f"no frame 0/{self.camera}/encoded")
        return frames, np.stack(actions), np.stack(states)


if __name__ == "__main__":
    main(Bair.name)
