"""The faster forward pass of the modulated U-Net predicts the same frames."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models import film_unet
from vidpred.models.base import Forward, Generator
from vidpred.models.film_unet import FastFilmUnet, FilmUnet, FilmUnetSettings
from vidpred.models.inference import has_fast_bfloat16
from vidpred.planning.world_model import WorldModel

needs_bfloat16 = pytest.mark.skipif(
    not has_fast_bfloat16(torch.device("cpu")), reason="this CPU has no native bfloat16"
)


def built(**change: object) -> FilmUnet:
    """Return a model whose norms, conditions and last layer are not at their initial values."""
    torch.manual_seed(0)
    given = {"widths": (24, 16, 8), "action_size": 2, "cell_size": 1, "normalize": True, "warp": True, **change}
    generator = FilmUnetSettings.model_validate(given).build(DataSettings(context_frames=1, pred_frames=1)).eval()
    for module in generator.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    nn.init.normal_(generator.paint.weight, std=0.05 if given["normalize"] else 0.5)
    return generator


def inputs(height: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.rand(5, 1, 3, height, width), torch.randn(5, 1, 2)


@pytest.mark.parametrize(
    "change",
    [{}, {"cell_size": 4, "normalize": False, "warp": False}, {"spatial_actions": (-1, 1)}, {"noise_channels": 3}],
    ids=str,
)
@pytest.mark.parametrize("size", [(32, 32), (9, 14)])
def test_frames_equal_those_of_the_model(change: dict[str, object], size: tuple[int, int]) -> None:
    generator, (context, actions) = built(**change), inputs(*size)
    noise = torch.randn(5, 3) if generator.noise_channels else None
    with torch.inference_mode():
        (expected,) = generator(context, noise, actions)
        (exact,) = FastFilmUnet(generator, torch.float32)(context, noise, actions)
        (rounded,) = FastFilmUnet(generator)(context, noise, actions)
        with torch.autocast("cpu", torch.bfloat16):
            (usual,) = generator(context, noise, actions)
    assert float((expected - context).abs().max()) > 0.1, "the model must change its input"
    torch.testing.assert_close(exact, expected, atol=2e-5, rtol=0)
    error, usual_error = (float((frames - expected).abs().mean()) for frames in (rounded, usual))
    assert error < 2.5 * usual_error + 1e-4, (error, usual_error)


class Darker(Generator):
    """A generator of another package, whose faster forward pass returns darker frames."""

    action_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5))

    def forward(self, context: Tensor, actions: Tensor | None = None) -> Tensor:
        return context[:, -1:] * self.level

    def fast_forward(self, dtype: torch.dtype) -> Forward | None:
        level = self.level.item() / 2
        return (lambda context, actions=None: context[:, -1:] * level) if dtype == torch.bfloat16 else None


def test_a_planner_uses_the_fast_forward_of_any_generator() -> None:
    generator, context, actions = Darker(), torch.ones(1, 1, 3, 4, 4), torch.zeros(1, 1, 1, 2)
    model = WorldModel(generator, precision=torch.bfloat16)
    assert model.rollout(context, actions).unique().tolist() == [0.25]
    assert WorldModel(generator).rollout(context, actions).unique().tolist() == [0.5]
    with torch.no_grad():
        generator.level.fill_(1)
    assert model.rollout(context, actions).unique().tolist() == [0.5]
    assert Generator().fast_forward(torch.bfloat16) is None


def test_a_subclass_does_not_inherit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own forward pass may compute something else."""
    monkeypatch.setattr(film_unet, "has_fast_bfloat16", lambda device: True)
    generator = built()
    assert isinstance(generator.fast_forward(torch.bfloat16), FastFilmUnet)
    generator.__class__ = type("Changed", (FilmUnet,), {})
    assert generator.fast_forward(torch.bfloat16) is None


@needs_bfloat16
def test_only_bfloat16_inference_uses_it() -> None:
    generator = built()
    assert isinstance(generator.fast_forward(torch.bfloat16), FastFilmUnet)
    assert generator.fast_forward(torch.float32) is None
    actions = torch.zeros(1, 1, 2, 2, requires_grad=True)
    model = WorldModel(generator, precision=torch.bfloat16)
    model.rollout(torch.rand(1, 1, 3, 16, 16), actions, differentiable=True).sum().backward()
    assert actions.grad is not None


@needs_bfloat16
def test_changed_weights_change_the_frames() -> None:
    generator, (context, actions) = built(), inputs(16, 16)
    model = WorldModel(generator, precision=torch.bfloat16)
    before = model.rollout(context, actions[:, None])
    with torch.no_grad():
        generator.paint.weight.zero_()
    after = model.rollout(context, actions[:, None])
    assert not torch.equal(before, after)
    exact = WorldModel(generator).rollout(context, actions[:, None])
    torch.testing.assert_close(after, exact, atol=0.02, rtol=0)


@needs_bfloat16
def test_the_best_of_different_plans_stays_the_best() -> None:
    generator, (context, _) = built(), inputs(32, 32)
    plans = torch.randn(1, 32, 3, 2, generator=torch.Generator().manual_seed(1)) * 3
    costs = [
        WorldModel(generator, precision=precision).costs(context[:1], plans, None, lambda x: x.mean((-3, -2, -1)))
        for precision in (torch.float32, torch.bfloat16)
    ]
    torch.testing.assert_close(costs[1], costs[0], atol=0.01, rtol=0)
    assert int(costs[0].argmin()) == int(costs[1].argmin())
