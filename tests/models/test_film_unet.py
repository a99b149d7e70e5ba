"""The modulated U-Net: starts as copy-last, takes every condition, fits any image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vidpred.config import load_config
from vidpred.data.settings import DataSettings
from vidpred.models.film_unet import DISPLACED, FilmUnet, FilmUnetSettings, spatial_actions


def built(data: DataSettings | None = None, **change: object) -> FilmUnet:
    torch.manual_seed(0)
    settings = FilmUnetSettings.model_validate({"widths": (4, 8), "action_size": 2, **change})
    return settings.build(data or DataSettings(context_frames=2, pred_frames=3))


def nontrivial(generator: FilmUnet) -> FilmUnet:
    """Give the last layer nonzero weights."""
    torch.nn.init.normal_(generator.paint.weight, std=0.5)
    return generator


@pytest.mark.parametrize("size", [(8, 8), (13, 22), (1, 5)])
@pytest.mark.parametrize("cell_size", [1, 2, 4])
@pytest.mark.parametrize("warp", [False, True])
def test_it_begins_as_copy_last_whatever_the_image(size: tuple[int, int], cell_size: int, warp: bool) -> None:
    context = torch.rand(2, 2, 3, *size)
    (frames,) = built(cell_size=cell_size, warp=warp)(context, actions=torch.randn(2, 4, 2))
    torch.testing.assert_close(frames, context[:, -1:].expand(-1, 3, -1, -1, -1))


def test_every_action_and_the_noise_reach_the_image() -> None:
    generator = nontrivial(built(noise_channels=1))
    context, actions, noise = torch.rand(1, 2, 3, 12, 12), torch.randn(1, 4, 2), torch.randn(1, 1)
    (frames,) = generator(context, noise, actions)
    for row in range(4):
        changed = actions.clone()
        changed[:, row, 1] += 1
        assert not torch.equal(generator(context, noise, changed)[0], frames)
    assert not torch.equal(generator(context, noise + 1, actions)[0], frames)
    (frames.sum()).backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_without_conditions_it_is_a_plain_unet() -> None:
    generator = nontrivial(built(action_size=0))
    assert not any("film" in name or "condition" in name for name, _ in generator.named_parameters())
    assert generator(torch.rand(1, 2, 3, 8, 8))[0].shape == (1, 3, 3, 8, 8)


@pytest.mark.parametrize("cell_size", [1, 2])
def test_displacements_move_the_last_frame_by_that_many_pixels(cell_size: int) -> None:
    generator = built(warp=True, cell_size=cell_size)
    bias = generator.paint.bias
    assert bias is not None
    maps = bias.data.view(3, 5, cell_size**2)  # future frames; three colors, x, y; pixels of a cell
    maps[0, 3], maps[1, 4], maps[2, 0] = 2 / DISPLACED, -1 / DISPLACED, 0.25
    context = torch.rand(1, 2, 3, 12, 16) * 0.7
    last = context[:, -1]
    frames = generator(context, actions=torch.randn(1, 4, 2))[0]
    torch.testing.assert_close(frames[:, 0, ..., :-2], last[..., 2:])  # read two to the right: moved to the left
    torch.testing.assert_close(frames[:, 1, :, 1:], last[:, :, :-1])
    torch.testing.assert_close(frames[:, 2, 0], last[:, 0] + 0.25)
    torch.testing.assert_close(frames[:, 2, 1:], last[:, 1:])


def test_displacements_learn_where_a_thing_went() -> None:
    generator = built(warp=True, cell_size=1, action_size=0)
    wave = 0.5 + 0.4 * torch.sin(torch.arange(16) * (2 * torch.pi / 16))  # smooth: its slope has a direction
    context = wave.expand(4, 2, 3, 16, 16).clone()
    frames = generator(context)[0]
    (frames - context[:, -1:].roll(1, -1)).square().mean().backward()
    assert generator.paint.bias is not None
    assert generator.paint.bias.grad is not None
    assert (generator.paint.bias.grad.view(3, 5)[:, 3] > 0).all()  # descent lowers it: read from the left


def test_positions_distinguish_places() -> None:
    """A flat image changes equally everywhere away from the border, unless the network has positions."""
    flat = torch.full((1, 2, 3, 64, 64), 0.5)
    for positions, equal in ((False, True), (True, False)):
        generator = nontrivial(built(action_size=0, positions=positions, widths=(16, 16)))
        frames = generator(flat)[0][0, 0, 0, 24:40:4, 24:40:4]
        assert torch.allclose(frames, frames[0, 0].expand_as(frames), rtol=0, atol=1e-5) is equal


def test_spatial_actions_are_where_the_actions_are() -> None:
    found = spatial_actions(torch.tensor([[[0.375, 0.25]]]), (4, 8), (6, 8))  # x = 3, y = 1 in pixels
    assert found.shape == (1, 1, 6, 8)
    half, far = -0.5 * 0.5, -0.5 * (2.5**2 + 0.5)
    assert found[0, 0, 0, 2:4].log().tolist() == pytest.approx([half, half])
    assert found[0, 0, 1, 2:4].log().tolist() == pytest.approx([half, half])
    assert float(found[0, 0, 3, 3].log()) == pytest.approx(far + 0.5 * 0.25)
    inputs: list[torch.Tensor] = []
    generator = built(spatial_actions=(-1, 3), positions=False, cell_size=1)
    generator.down[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    actions = torch.rand(1, 4, 2)
    generator(torch.rand(1, 2, 3, 8, 8), actions=actions)
    torch.testing.assert_close(inputs[0][:, 6:], 2 * spatial_actions((actions + 1) / 4, (8, 8), (8, 8)) - 1)
    with pytest.raises(ValueError, match="spatial_actions needs actions of x and y in turn"):
        built(spatial_actions=(0, 1), action_size=3)


def test_wrong_actions_are_refused() -> None:
    context = torch.rand(2, 2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"takes actions \(2, 4, 2\), not \(2, 3, 2\)"):
        built()(context, actions=torch.zeros(2, 3, 2))
    with pytest.raises(ValueError, match=r"takes actions \(2, 4, 2\), not None"):
        built()(context)
    with pytest.raises(ValueError, match=r"takes no actions .*, not \(2, 4, 2\)"):
        built(action_size=0)(context, actions=torch.zeros(2, 4, 2))


def test_the_preset_builds_it() -> None:
    config = load_config("block_push.yaml", {"data.root": "somewhere"})
    assert isinstance(config.model.build(config.data), FilmUnet)


def test_normalized_channels_do_not_depend_on_the_scale_of_their_kernels() -> None:
    context, actions = torch.rand(2, 2, 3, 16, 16), torch.randn(2, 4, 2)
    for normalize in (False, True):
        generator = built(normalize=normalize)
        torch.nn.init.normal_(generator.paint.weight, std=0.02)
        with torch.no_grad():
            (frames,) = generator(context, actions=actions)
            for module in generator.modules():
                if isinstance(module, torch.nn.Conv2d) and module is not generator.paint:
                    module.weight *= 7
                    assert module.bias is not None
                    module.bias *= 7
            (stronger,) = generator(context, actions=actions)
        assert torch.allclose(frames, stronger, atol=2e-3) is normalize
    names = [name for name, _ in built().named_parameters() if ".first." in name]
    assert names[:2] == ["down.0.first.weight", "down.0.first.bias"], "names of checkpoints without normalization"
    wide = built(widths=(12, 16), normalize=True)
    assert [m.num_groups for m in wide.down.modules() if isinstance(m, torch.nn.GroupNorm)] == [4, 4, 8, 8]


def test_a_model_whose_frames_are_all_black_can_learn_white_ones() -> None:
    generator = built(action_size=0)
    nn.init.constant_(generator.paint.bias, -3.0)
    (frames,) = generator(torch.rand(1, 2, 3, 8, 8))
    assert torch.equal(frames, torch.zeros_like(frames))
    (1 - frames).mean().backward()  # the absolute error of white frames
    torch.testing.assert_close(generator.paint.bias.grad, torch.full((36,), -1 / 36))  # 3 x 3 maps of cells
