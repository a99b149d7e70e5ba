"""The world of moving shapes: its flow matches its images, and it can be mixed into training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.settings_for_tests import data_settings
from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import training_offsets
from vidpred.data.worlds.moving_things import Layer, MovingShapesWorld, compose_affine
from vidpred.models.optical_flow import dense_flow, warp_backward


def test_a_clip_is_a_function_of_its_index() -> None:
    world = MovingShapesWorld(5, 48, seed=3)
    clip = world.clip(7)
    assert clip.shape == (5, 48, 48, 3)
    assert clip.dtype == np.uint8
    assert np.array_equal(clip, MovingShapesWorld(5, 48, seed=3).clip(7))
    assert not np.array_equal(clip, world.clip(8))
    assert not np.array_equal(clip, MovingShapesWorld(5, 48, seed=4).clip(7))


@pytest.mark.slow
def test_the_true_flow_explains_the_next_frame() -> None:
    """Check that a frame warped by the true flow resembles the next one, except for newly visible regions."""
    world = MovingShapesWorld(4, 96)
    explained, copied = [], []
    for index in range(12):
        frames = torch.from_numpy(world.clip(index)).permute(0, 3, 1, 2).float() / 255
        flow = torch.from_numpy(world.flow(index, 2)).permute(2, 0, 1)[None]
        explained.append((warp_backward(frames[1:2], flow) - frames[2:3]).abs().mean(1))
        copied.append((frames[1] - frames[2]).abs().mean(0, keepdim=True))
    moved, still = torch.stack(explained), torch.stack(copied)
    assert (moved > 0.06).float().mean() < 0.5 * (still > 0.06).float().mean()
    assert moved.median() < still.median()


def test_the_flow_of_a_shape_is_its_velocity() -> None:
    world = MovingShapesWorld(2, 8)
    background = Layer(np.zeros((8, 8, 3), np.float32), np.ones((8, 8), np.float32), np.tile(np.eye(2, 3), (2, 1, 1)))
    poses = np.array([[[1.0, 0, 2], [0, 1, 2]], [[1, 0, 4], [0, 1, 3]]])  # two to the right, one down
    patch = Layer(np.ones((3, 3, 3), np.float32), np.ones((3, 3), np.float32), poses)
    world.layers = lambda random: [background, patch]  # type: ignore[method-assign]
    flow = world.flow(0, 1)
    assert flow[4, 5].tolist() == [-2, -1]  # inside the shape now
    assert flow[0, 0].tolist() == [0, 0]
    clip = world.clip(0)
    assert clip[0, 3, 3].min() > 200
    assert clip[1, 4, 5].min() > 200
    assert clip[1, 2, 2].max() < 50


@pytest.mark.slow
def test_optical_flow_finds_most_of_the_motion() -> None:
    world = MovingShapesWorld(4, 128)
    errors, lengths = [], []
    for index in range(8):
        frames = torch.from_numpy(world.clip(index)).permute(0, 3, 1, 2)
        flow = torch.from_numpy(world.flow(index, 3)).permute(2, 0, 1)[None]
        errors.append((dense_flow(frames[3:4], frames[2:3]) - flow).norm(dim=1).mean())
        lengths.append(flow.norm(dim=1).mean())
    assert torch.stack(errors).mean() < 0.5 * torch.stack(lengths).mean()


def test_composed_maps_act_in_sequence() -> None:
    turn, move = np.array([[0.0, -1, 0], [1, 0, 0]]), np.array([[1.0, 0, 5], [0, 1, 7]])
    point = np.array([2.0, 3.0, 1.0])
    assert (compose_affine(move, turn) @ point).tolist() == [2.0, 9.0]
    assert (compose_affine(turn, move) @ point).tolist() == [-10.0, 7.0]


def test_the_smallest_images_have_shapes() -> None:
    world = MovingShapesWorld(2, 8, seed=0)
    assert all(np.ptp(world.clip(index)) for index in range(60)), "shapes of less than a pixel become one"


def test_the_world_is_a_source_of_training_windows() -> None:
    settings = DataSettings(world={"name": "moving_shapes"}, crop_size=32, context_frames=2)
    source = build_source(settings, "train", training_offsets(settings))
    batch = source.draw([4, 9], [0, 1], seed=0)
    assert batch.context.shape == (2, 2, 3, 32, 32)
    assert batch.future.shape == (2, 1, 3, 32, 32)
    assert np.array_equal(batch.future[1, 0].permute(1, 2, 0).numpy(), source.window(9)[2])


@pytest.mark.slow
def test_a_share_of_the_training_samples_is_synthetic(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", numbered_frames(40, 48, 48))
    values = {"root": str(tmp_path), "crop_size": 16, "context_frames": 2, "horizontal_flip": False, "split": "time"}
    plain, mixed = (data_settings(**values, synthetic_share=share) for share in (0.0, 0.5))
    offsets = training_offsets(plain)
    videos, mixture = build_source(plain, "train", offsets), build_source(mixed, "train", offsets)
    windows, positions = [place % len(videos) for place in range(60)], list(range(60))
    own, batch = videos.draw(windows, positions, seed=1), mixture.draw(windows, positions, seed=1)
    kept = [torch.equal(a, b) for a, b in zip(own.context, batch.context, strict=True)]
    assert 15 < sum(kept) < 45
    assert torch.equal(mixture.draw(windows[3:9], positions[3:9], seed=1).context, batch.context[3:9])
    assert batch.positions.tolist() == positions
    validation = build_source(mixed, "validation", offsets)
    assert type(validation) is type(videos)  # only training is mixed
