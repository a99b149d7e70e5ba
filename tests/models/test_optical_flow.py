"""Warps and displacement fields against hand-worked values."""

from __future__ import annotations

import pytest
import torch

from vidpred.models.optical_flow import (
    FlowCache,
    catmull_rom,
    path_after,
    smooth_displacements,
    warp_backward,
    warp_sharp,
    warp_sharp_opencv,
)
from vidpred.models.worker_threads import WorkerThreads


def displaced(right: float, down: float, height: int = 12, width: int = 14) -> torch.Tensor:
    return torch.tensor([right, down]).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_known_weights_of_the_kernel() -> None:
    """Keys' kernel with a = -1/2 at 0, a half and a quarter; the weights always sum to 1."""
    for fraction, weights in {
        0.0: (0, 1, 0, 0),
        0.5: (-1 / 16, 9 / 16, 9 / 16, -1 / 16),
        0.25: (-9 / 128, 111 / 128, 29 / 128, -3 / 128),
    }.items():
        assert [float(w) for w in catmull_rom(torch.tensor(fraction))] == pytest.approx(weights)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, -3), (-1, 4)])
def test_whole_pixels_are_exact(right: int, down: int) -> None:
    image = torch.rand(2, 3, 12, 14, generator=torch.Generator().manual_seed(0))
    moved = warp_sharp(image, displaced(right, down).expand(2, -1, -1, -1))
    rows, columns = (torch.arange(12) + down).clamp(0, 11), (torch.arange(14) + right).clamp(0, 13)
    assert torch.equal(moved, image[:, :, rows][..., columns])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_warp_of_opencv_is_nearly_the_same(channels: int) -> None:
    """Within the limits of its docstring, for different images and for one that is repeated."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, channels, 40, 56, generator=generator)
    coarse = torch.nn.functional.interpolate(
        torch.rand(2, channels, 5, 7, generator=generator), (40, 56), mode="bicubic"
    )
    flow = torch.nn.functional.interpolate(8 * torch.randn(2, 2, 5, 7, generator=generator), (40, 56), mode="bicubic")
    for image, most in ((noise, 0.01), (coarse.clamp(0, 1), 0.001)):
        for images in (image, image[:1].expand(2, -1, -1, -1)):
            difference = (warp_sharp_opencv(images, flow) - warp_sharp(images, flow)).abs()
            assert difference.max() < most
            assert difference.mean() < most / 5
    steps = displaced(2, -3, 40, 56).expand(2, -1, -1, -1)
    assert torch.equal(warp_sharp_opencv(noise, steps), warp_sharp(noise, steps))


def test_ramps_and_parabolas_are_exact_away_from_the_border() -> None:
    x, y = torch.arange(14.0), torch.arange(12.0)[:, None]
    inside = (..., slice(3, -3), slice(3, -3))
    for shape in (lambda x, y: 0.02 * x + 0.03 * y + 0.1, lambda x, y: 0.003 * x * x + 0.02 * y):
        moved = warp_sharp(shape(x, y).expand(1, 1, -1, -1), displaced(0.3, -0.6))
        wanted = shape(x + 0.3, y - 0.6).expand(1, 1, -1, -1)
        torch.testing.assert_close(moved[inside], wanted[inside])


def test_catmull_rom_keeps_more_detail_than_bilinear_weights() -> None:
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) / 2 + 0.25
    flow = displaced(0.5, 0.5, 40, 40)
    assert warp_sharp(image, flow).var() > 1.3 * warp_backward(image, flow).var()


def test_a_gradient_reaches_the_displacement() -> None:
    x = torch.arange(14.0).expand(1, 1, 12, 14) / 20
    flow = displaced(0.4, 0.2).clone().requires_grad_()
    warp_sharp(x, flow)[..., 3:-3, 3:-3].sum().backward()
    assert flow.grad is not None
    torch.testing.assert_close(flow.grad[:, 0, 3:-3, 3:-3], torch.full((1, 6, 8), 1 / 20))
    torch.testing.assert_close(flow.grad[:, 1, 3:-3, 3:-3], torch.zeros(1, 6, 8), atol=1e-6, rtol=0)


def test_smoothing_keeps_its_precision_under_autocast() -> None:
    flow = torch.full((1, 2, 8, 8), 20.03)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(smooth_displacements(flow, 1.0), flow)


def test_smoothing_keeps_ramps_and_spreads_a_point() -> None:
    x = torch.arange(30.0)
    ramp = torch.stack([x.expand(30, 30), x[:, None].expand(30, 30)])[None]
    inside = (..., slice(7, -7), slice(7, -7))
    torch.testing.assert_close(smooth_displacements(ramp, 2.0)[inside], ramp[inside])
    point = torch.zeros(1, 2, 21, 21)
    point[0, 0, 10, 10] = 1.0
    spread = smooth_displacements(point, 1.0)
    kernel = torch.exp(-0.5 * torch.arange(-3.0, 4.0) ** 2)
    assert spread[0, 0, 10, 10].item() == pytest.approx((1 / kernel.sum().item()) ** 2)
    assert spread[0, 0].sum().item() == pytest.approx(1, rel=1e-5)
    assert spread[0, 1].abs().max() == 0


def test_a_cache_tells_frames_apart_by_any_pixel_and_forgets_old_ones() -> None:
    frame = torch.rand(1, 16, 16)
    other = frame.clone()
    other[0, 0, 1] = 1 - other[0, 0, 1]
    cache = FlowCache(4)
    first, second, third = cache.numbers(torch.stack([frame, other, frame]))
    assert (first, second) == (third, 2)
    for _ in range(10):
        numbers = cache.numbers(torch.rand(2, 1, 16, 16))
        cache.path((numbers[0], numbers[1]), "fine", 2)
    assert len(cache._flows) == len(cache._paths) == 2, "of four frames"
    assert cache.numbers(frame[None]) != [first]


def test_a_kept_path_is_gone_on_from() -> None:
    cache = FlowCache(multiple=8)
    frames = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    first, second = cache.numbers(frames)
    flow = cache.flow((first, second), "smooth")
    assert flow.shape == (1, 2, 24, 24), "padded"
    for steps in (2, 5, 5, 1):  # one more often, one back
        assert torch.equal(cache.path((first, second), "smooth", steps), path_after(flow, steps))


def test_flows_that_were_begun_are_the_same() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        frames = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0))
        flows = []
        for workers in (None, WorkerThreads()):
            cache = FlowCache(workers=workers)
            first, second = cache.numbers(frames)
            cache.begin([(first, second)], "fine")
            assert len(cache._flows) == (workers is not None)
            flows.append(cache.flow((first, second), "fine"))
        assert torch.equal(*flows)
    finally:
        torch.set_num_threads(threads)
