"""The motion-aware generator in a stream: what is kept from one context to the next."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.models.small_motion import generator
from tests.models.test_baselines import moving_clip
from vidpred.models import optical_flow
from vidpred.models.optical_flow import Care


def test_a_stream_computes_the_flow_of_a_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit the prediction of whole contexts, with frames left out, repeated and another size in between."""
    model = generator(10, 3).eval()
    clip = moving_clip(16, 40, 48, 2, -1)
    calls: list[Care] = []
    flow = optical_flow.dense_flow

    def counted(first: Tensor, second: Tensor, care: Care = "medium") -> Tensor:
        calls.extend([care] * len(first))
        return flow(first, second, care)

    contexts = [clip[:, start : start + 10] for start in (0, 1, 2, 2, 5, 6)]
    contexts += [clip[:, :10, :, :32], clip[:, 6:16], clip[:, 12:14]]
    expected = [model(context)[0] for context in contexts]
    monkeypatch.setattr(optical_flow, "dense_flow", counted)
    forward, computed = model.stream_forward(2), []
    with torch.inference_mode():
        for context, frames in zip(contexts, expected, strict=True):
            calls.clear()
            assert torch.equal(forward(context)[0], frames[:, :2])
            computed.append((calls.count("fine"), calls.count("smooth")))
    # In the long run one of each for a new frame.
    assert computed == [(2, 5), (1, 3), (1, 2), (0, 0), (2, 3), (1, 1), (2, 5), (0, 0), (1, 0)]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_frames_before_a_call_prepare_it(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Bit for bit the prediction without preparation, for the same flows; only the newest pair's are left for it."""
    model, clip = generator(10, 3).eval(), moving_clip(26, 40, 48, 2, -1)
    calls: list[Care] = []
    flow = optical_flow.dense_flow

    def counted(first: Tensor, second: Tensor, care: Care = "medium") -> Tensor:
        calls.extend([care] * len(first))
        return flow(first, second, care)

    monkeypatch.setattr(optical_flow, "dense_flow", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plain, prepared, ends, left = model.stream_forward(2), model.stream_forward(2), (3, 10, 13, 16, 17, 25), []
        with torch.inference_mode():
            expected = [plain(clip[:, max(end - 10, 0) : end])[0] for end in ends]
            total = sorted(calls)
            calls.clear()
            for (before_it, end), frames in zip(pairwise((0, *ends)), expected, strict=True):
                for newest in range(max(before_it, 1), end):
                    prepared.prepare(clip[:, max(newest - 10, 0) : newest], end - newest)
                count = len(calls)
                assert torch.equal(prepared(clip[:, max(end - 10, 0) : end])[0], frames)
                left.append(sorted(calls[count:]))
        assert left == [["fine", "smooth"]] * len(ends)
        assert sorted(calls) == total
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stream_predicts_what_the_model_predicts(threads: int) -> None:
    """Up to the rounding of groups of frames, and of OpenCV's warp at the sharp end."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        clip, noise = moving_clip(12, 40, 48, 2, -1), torch.ones(1, 3)
        for sharpness, tolerance in ((0.0, 2e-6), (0.5, 0.01), (1.0, 0.01)):
            model = generator(10, 7).eval()
            model.sharpness = sharpness
            forward = model.stream_forward(5)
            for start in (0, 1):
                context = clip[:, start : start + 10]
                (found,), (wanted,) = forward(context, noise), model(context, noise)
                assert not found.requires_grad
                torch.testing.assert_close(found, wanted[:, :5], rtol=0, atol=tolerance)
    finally:
        torch.set_num_threads(before)
