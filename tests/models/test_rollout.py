"""The autoregressive loop, with generators whose rollouts are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.inference.predictor import Predictor
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.models.rollout import rollout, stream_rollout


class Count(nn.Module):
    """A world in which frame t has the value t / 100 everywhere: predicts from the newest context frame."""

    def __init__(self, context_frames: int, pred_frames: int = 1, lead: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, pred_frames, lead, 3
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, context: Tensor) -> list[Tensor]:
        assert context.shape[1] == self.context_frames
        assert torch.allclose(context[:, 1:] - context[:, :-1], torch.tensor(0.01)), "the context must be consecutive"
        ahead = torch.arange(self.pred_frames).view(1, -1, 1, 1, 1) + self.lead
        return [context[:, -1:] + ahead / 100]


def world(frames: int) -> Tensor:
    return (torch.arange(frames) / 100).view(1, -1, 1, 1, 1).expand(1, frames, 3, 4, 4)


@pytest.mark.parametrize("context_frames", [1, 2, 4])
@pytest.mark.parametrize("pred_frames", [1, 3])
@pytest.mark.parametrize("lead", [1, 2, 5])
def test_every_way_to_predict_counts_on(context_frames: int, pred_frames: int, lead: int) -> None:
    """Directly, jointly, recursively and mixed: frames t+1, t+2, ... come in order, from consecutive contexts."""
    given = context_frames + lead - 1
    future = rollout(Count(context_frames, pred_frames, lead), world(given), 11)
    torch.testing.assert_close(future, world(given + 11)[:, given:])


def test_older_frames_are_ignored_and_too_few_refused() -> None:
    torch.testing.assert_close(rollout(Count(2), world(9), 2), world(11)[:, 9:])
    with pytest.raises(ValueError, match="1 context frames given, 2 needed"):
        rollout(Count(2), world(1), 1)
    with pytest.raises(ValueError, match="at least 1"):
        rollout(Count(2), world(2), 0)


@pytest.mark.slow
def test_a_stream_keeps_only_the_history() -> None:
    """Of ten thousand frames, only a handful are alive at any time."""
    import weakref

    class Shift(Count):
        def forward(self, context: Tensor) -> list[Tensor]:
            return [context[:, -1:] + 0.0]

    alive: list[weakref.ref] = []
    for count, frame in enumerate(stream_rollout(Shift(4), torch.rand(1, 4, 3, 4, 4), 10_000)):
        alive.append(weakref.ref(frame))
        if count % 500 == 0:
            alive = [reference for reference in alive if reference() is not None]
            assert len(alive) <= 8


@pytest.fixture
def predictor() -> Predictor:
    torch.manual_seed(0)
    rows = MultiscaleSettings(scales=2, feature_maps=[[4], [4]], kernel_sizes=[[3, 3], [3, 3]])
    return Predictor(MultiscaleGenerator(rows, 2), DataSettings(context_frames=2))


def test_predict_takes_arrays_and_tensors(predictor: Predictor) -> None:
    """Accept uint8 and float, NumPy and torch, with and without a batch: the same values."""
    numbers = np.random.default_rng(0).integers(0, 256, (5, 3, 21, 30), dtype=np.uint8)
    expected = predictor.predict(torch.from_numpy(numbers), 3)
    assert expected.shape == (3, 3, 21, 30)
    assert expected.dtype == torch.float32
    for frames in (numbers, numbers.astype(np.float32) / 255, torch.from_numpy(numbers).float() / 255):
        torch.testing.assert_close(predictor.predict(frames, 3), expected)
    batched = predictor.predict(np.stack([numbers, numbers[::-1]]), 3)
    assert batched.shape == (2, 3, 3, 21, 30)
    torch.testing.assert_close(batched[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((5, 20, 30, 3), np.uint8), r"channels-last; pass frames\.transpose\(0, 3, 1, 2\)"),
        (torch.zeros(2, 5, 20, 30, 3), r"channels-last; pass frames\.permute\(0, 1, 4, 2, 3\)"),
        (np.zeros((20, 30, 3), np.uint8), r"must be \(T, C, H, W\)"),
        (np.zeros((5, 1, 20, 30), np.uint8), "have 1 channels; the model takes 3"),
        (np.zeros((5, 3, 0, 30), np.uint8), r"\(5, 3, 0, 30\) are empty; height and width"),
        (torch.zeros(5, 3, 20, 0), r"\(5, 3, 20, 0\) are empty; height and width"),
        (torch.zeros(0, 5, 3, 20, 30), r"\(0, 5, 3, 20, 30\) are empty"),
        (np.zeros((1, 3, 20, 30), np.uint8), "1 frame given; the model needs at least 2"),
        (np.full((5, 3, 20, 30), 200.0), r"must lie in \[0, 1\], these in \[200, 200\]"),
        (np.full((5, 3, 20, 30), np.nan), r"must lie in \[0, 1\]"),
    ],
)
def test_unsuitable_frames_are_named(predictor: Predictor, frames: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        predictor.predict(frames, 1)  # type: ignore[arg-type]


def test_integers_other_than_uint8_are_refused(predictor: Predictor) -> None:
    with pytest.raises(TypeError, match="int64"):
        predictor.predict(np.zeros((5, 3, 20, 30), np.int64), 1)


def test_frames_of_another_shape_are_refused() -> None:
    """Custom generators that drop the dimension K, or the colors."""

    class Flat(Count):
        def forward(self, context: Tensor) -> Tensor:  # type: ignore[override]
            return context[:, -1]

    class Gray(Count):
        def forward(self, context: Tensor) -> Tensor:  # type: ignore[override]
            return context[:, -1:, :1]

    for kind, found in ((Flat, r"\(1, 3, 4, 4\)"), (Gray, r"\(1, 1, 1, 4, 4\)")):
        with pytest.raises(ValueError, match=r"must return frames .* \(1, K, 3, 4, 4\), not " + found):
            rollout(kind(2), world(2), 1)
