"""The baselines without weights, and the optical flow under one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vidpred.models.baselines import BASELINES, CopyLast, FlowExtrapolation, build_baselines
from vidpred.models.optical_flow import Care, dense_flow, to_gray, warp_backward
from vidpred.models.rollout import rollout


def texture(height: int, width: int, channels: int = 1) -> Tensor:
    """Return blurred noise, `(C, H, W)` in [0, 1]."""
    noise = torch.rand(channels, 1, height + 6, width + 6, generator=torch.Generator().manual_seed(height + width))
    for _ in range(3):
        noise = nn.functional.avg_pool2d(noise, 3, 1)
    noise = noise[:, 0]
    return (noise - noise.min()) / (noise.max() - noise.min())


def moving_clip(frames: int, height: int, width: int, right: int, down: int, channels: int = 3) -> Tensor:
    """Return a clip `(1, T, C, H, W)`: a window over a large texture that moves by whole pixels per frame."""
    margin = frames * max(abs(right), abs(down))
    large = texture(height + 2 * margin, width + 2 * margin, channels)
    images = []
    for time in range(frames):
        top, left = margin - time * down, margin - time * right
        images.append(large[:, top : top + height, left : left + width])
    return torch.stack(images)[None]


def interior_psnr(prediction: Tensor, target: Tensor, border: int = 6) -> float:
    inside = (..., slice(border, -border), slice(border, -border))
    return -10 * (prediction[inside] - target[inside]).square().mean().log10().item()


def test_every_camera_has_its_own_flow() -> None:
    first, second = moving_clip(2, 24, 20, 1, 0), moving_clip(2, 24, 20, 0, -2)
    (both,) = FlowExtrapolation()(torch.cat([first, second], 2))
    alone = [FlowExtrapolation()(clip)[0] for clip in (first, second)]
    assert torch.equal(both, torch.cat(alone, 2))


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_baselines_have_the_interface_of_a_generator(name: str, channels: int) -> None:
    model = BASELINES[name]()
    assert (model.pred_frames, model.lead) == (1, 1)
    assert not list(model.parameters())
    context = torch.rand(2, model.context_frames, channels, 24, 20)
    (prediction,) = model(context)
    assert prediction.shape == (2, 1, channels, 24, 20)
    assert prediction.dtype == torch.float32
    assert prediction.min() >= 0
    assert prediction.max() <= 1


def test_context_frames() -> None:
    assert CopyLast().context_frames == 1
    assert CopyLast(context_frames=4).context_frames == 4
    assert FlowExtrapolation().context_frames == 2


def test_copy_last_returns_the_last_frame() -> None:
    context = torch.rand(2, 3, 1, 5, 4)
    (prediction,) = CopyLast(context_frames=3)(context)
    assert torch.equal(prediction[:, 0], context[:, -1])


@pytest.mark.parametrize(("right", "down"), [(2, -1), (-3, 2), (0, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_flow_follows_a_constant_translation(right: int, down: int, channels: int) -> None:
    clip = moving_clip(3, 64, 80, right, down, channels)
    context, target = clip[:, :2], clip[:, 2:]
    (copied,), (flowed,) = CopyLast()(context), FlowExtrapolation()(context)
    assert interior_psnr(flowed, target) > interior_psnr(copied, target) + 5
    assert interior_psnr(flowed, target) > 30


def test_flow_uses_the_last_two_frames_of_a_longer_context() -> None:
    clip = moving_clip(4, 48, 48, 2, -1)
    (from_four,), (from_two,) = FlowExtrapolation()(clip), FlowExtrapolation()(clip[:, -2:])
    assert torch.equal(from_four, from_two)


def test_half_and_half_is_the_mean_of_both_rollouts_at_every_step() -> None:
    context = moving_clip(2, 48, 48, 2, -1)
    copied, flowed = (rollout(model, context, 3) for model in (CopyLast(), FlowExtrapolation()))
    for num_frames in (3, 4):  # at least as many as the rollout has
        half = rollout(build_baselines(num_frames)["copy/flow average"], context, 3)
        torch.testing.assert_close(half, (copied + flowed) / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (7, 9), (59, 61), (1, 1)])
def test_identical_frames_stay_as_they_are(size: tuple[int, int]) -> None:
    frame = torch.rand(2, 1, 3, *size)
    (prediction,) = FlowExtrapolation()(torch.cat([frame, frame], dim=1))
    torch.testing.assert_close(prediction, frame, atol=1e-5, rtol=0)


def test_autocast_and_uint8_give_the_same_float32_prediction() -> None:
    context = (moving_clip(2, 32, 40, 1, 1) * 255).round().to(torch.uint8)
    for name, kind in BASELINES.items():
        (expected,) = kind()(context / 255)
        with torch.autocast("cpu", torch.bfloat16):
            (mixed,) = kind()(context / 255)
        assert mixed.dtype == torch.float32, name
        assert torch.equal(mixed, expected), name
        torch.testing.assert_close(kind()(context)[0], expected)


def test_warp_backward_is_worked_by_hand() -> None:
    image = torch.tensor([[[[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]]])
    right, half_down = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    right[:, 0] = 1  # read every pixel one to its right; the last column repeats
    half_down[:, 1] = 0.5
    torch.testing.assert_close(
        warp_backward(image, right), torch.tensor([[[[0.2, 0.4, 0.4], [0.8, 1.0, 1.0]]]]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        warp_backward(image, half_down), torch.tensor([[[[0.3, 0.5, 0.7], [0.6, 0.8, 1.0]]]]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("care", get_args(Care))
@pytest.mark.parametrize("size", [(64, 64), (59, 61), (32, 32), (16, 16), (12, 12), (12, 40), (40, 100), (100, 40)])
def test_dense_flow_is_in_pixels_from_the_first_frame_to_the_second(size: tuple[int, int], care: Care) -> None:
    clip = moving_clip(2, *size, right=2, down=-1)[0]
    flow = dense_flow(clip[:1], clip[1:], care)
    assert flow.shape == (1, 2, *size)
    assert flow.dtype == torch.float32
    error = (flow - torch.tensor([2.0, -1.0]).view(1, 2, 1, 1)).norm(dim=1)[:, 3:-3, 3:-3]
    assert error.median() < 0.1


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
@example(height=1, width=1, channels=1, seed=0)
@example(height=1, width=300, channels=3, seed=0)
@example(height=300, width=1, channels=1, seed=0)
@example(height=8, width=64, channels=1, seed=0)  # plain DIS kills the process on this shape
@example(height=11, width=500, channels=1, seed=0)  # and raises on this one
def test_dense_flow_takes_any_size(height: int, width: int, channels: int, seed: int) -> None:
    images = torch.rand(2, 2, channels, height, width, generator=torch.Generator().manual_seed(seed))
    for care in get_args(Care):
        flow = dense_flow(images[0], images[1], care)
        assert flow.shape == (2, 2, height, width)
        assert flow.isfinite().all()
        assert not dense_flow(images[0], images[0], care).any()


def test_care_changes_the_flow_as_documented() -> None:
    """A fine texture moves over a still one: the fine flow finds its edge best, the smooth one varies least."""
    background, thing = texture(64, 64)[None], texture(64, 64)[None].flip(-1)
    clip = torch.cat([background, background])
    clip[0, :, 20:40, 20:40], clip[1, :, 20:40, 22:42] = thing[0, :, 20:40, 20:40], thing[0, :, 20:40, 20:40]
    true = torch.zeros(1, 2, 64, 64)
    true[:, 0, 20:40, 20:40] = 2
    flows = {care: dense_flow(clip[:1], clip[1:], care) for care in get_args(Care)}
    error = {care: float((flow - true).square().mean()) for care, flow in flows.items()}
    variation = {care: float(flow.diff(dim=-1).abs().mean()) for care, flow in flows.items()}
    assert error["fine"] < error["medium"]
    assert variation["smooth"] < variation["medium"]


def test_dense_flow_does_not_depend_on_previous_images() -> None:
    import cv2

    first = texture(40, 40)[None]  # an OpenCV object reused for all pairs is off by pixels at this size
    second = first.roll((1, 3), (2, 3))
    second[:, :, :5] = 0
    flow = dense_flow(torch.cat([second, first]), torch.cat([first, second]))[1]
    method = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    alone = method.calc(to_gray(first)[0].numpy(), to_gray(second)[0].numpy(), None)
    assert np.array_equal(flow.permute(1, 2, 0).numpy(), alone)


def test_dense_flow_refuses_unsuitable_images() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels"):
        dense_flow(torch.zeros(1, 2, 20, 20), torch.zeros(1, 2, 20, 20))
    with pytest.raises(ValueError, match="one shape"):
        dense_flow(torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 21))
    with pytest.raises(ValueError, match="at least one pixel"):
        dense_flow(torch.zeros(1, 1, 0, 20), torch.zeros(1, 1, 0, 20))


def test_gray_is_the_luma_of_opencv() -> None:
    import cv2

    colors = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    gray = to_gray(torch.from_numpy(colors).permute(2, 0, 1)[None])[0].int().numpy()
    assert np.abs(gray - cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY).astype(int)).max() <= 1
    one_channel = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_gray(one_channel), one_channel[:, 0])
    assert to_gray(torch.tensor([0.4, 0.6, 254.6]).view(1, 1, 1, 3) / 255).flatten().tolist() == [0, 1, 255]


@pytest.mark.slow
def test_importing_does_not_load_opencv() -> None:
    code = "import sys, vidpred.models.baselines, vidpred.evaluation.metrics; sys.exit('cv2' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
