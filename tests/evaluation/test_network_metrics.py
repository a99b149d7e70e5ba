"""LPIPS, FID and FVD with tiny networks from files: their inputs, and the use of their outputs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.test_protocols import Drift
from vidpred.commands.app import main
from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.evaluation.classifier import load_network
from vidpred.evaluation.frechet import Moments, distance
from vidpred.evaluation.metric_networks import MetricNetwork
from vidpred.evaluation.network_metrics import NetworkMetrics
from vidpred.evaluation.protocols import Measurement, evaluate_models
from vidpred.models.baselines import BASELINES, CopyLast
from vidpred.run import train

CPU = torch.device("cpu")


class Apart(nn.Module):
    """A stand-in for LPIPS: the mean absolute difference, `(N, 1, 1, 1)` as in that package."""

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        # In float64, because TorchScript's compiler adds float32 values one by one.
        return (predicted.double() - true.double()).abs().mean((1, 2, 3), keepdim=True)


class Images(nn.Module):
    """A stand-in for FID's network: features only if requested; fails unless images are bytes."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        assert images.dtype == torch.uint8
        assert images.size(1) == 3
        means = images.float().mean((2, 3))
        return means if return_features else torch.zeros_like(means)


class Videos(nn.Module):
    """A stand-in for FVD's network: the mean of every frame of the first channel."""

    def forward(
        self, videos: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        assert rescale and resize and return_features  # noqa: PT018
        assert videos.size(2) >= 3
        return videos[:, 0].mean((2, 3))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, network in (("lpips", Apart()), ("fid", Images()), ("fvd", Videos())):
            torch.jit.script(network).save(str(folder / f"{name}.pt"))
    return {name: folder / f"{name}.pt" for name in ("lpips", "fid", "fvd")}


def moments(features: Sequence[Tensor]) -> Moments:
    found = Moments()
    for feature in features:
        found.add(feature)
    return found


def test_an_evaluation_updates_the_networks(files: dict[str, Path]) -> None:
    """The numbers equal those computed directly from the windows."""
    source, steps = Drift(frames=5), 3
    learned = NetworkMetrics(files, CPU)
    how = Measurement(steps, only=("psnr",))
    evaluate_models({"copy last": CopyLast()}, source, how, learned=learned)
    windows = [torch.from_numpy(source.window(index)).permute(0, 3, 1, 2) for index in range(len(source))]
    copied = [window[1:2].expand(steps, -1, -1, -1) for window in windows]
    numbers = learned.compute()["copy last"]
    for step in range(steps):
        apart = [(c[step] / 255 - w[2 + step] / 255).abs().mean() * 2 for c, w in zip(copied, windows, strict=True)]
        assert numbers["lpips"]["mean"][step] == pytest.approx(float(torch.stack(apart).mean()), rel=1e-5)
    assert (numbers["lpips"]["n"], numbers["fid"]["n"], numbers["fvd"]["n"]) == (6, 18, 6)
    frames = [moments([w.float().mean((2, 3)) for w in some]) for some in (copied, [w[2:] for w in windows])]
    assert numbers["fid"]["value"] == pytest.approx(distance(*frames), rel=1e-4)
    videos = [
        moments([w[:, 0].float().mean((1, 2))[None] for w in some]) for some in (copied, [w[2:] for w in windows])
    ]
    assert numbers["fvd"]["value"] == pytest.approx(distance(*videos), rel=1e-4)
    assert numbers["fid"]["value"] > 0


def test_exact_predictions_have_no_distance(files: dict[str, Path]) -> None:
    future = torch.rand(1, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    learned = NetworkMetrics(files, CPU)
    for shift in (0.0, 0.3):
        learned.add_target(future * (1 - shift))
        for draw in learned.update("oracle", [list((future * (1 - shift)).unbind(1))], future * (1 - shift)):
            assert len(list(draw)) == 3, "frames pass through"
    numbers = learned.compute()["oracle"]
    assert numbers["lpips"]["mean"] == [0, 0, 0]
    assert numbers["fid"]["value"] == pytest.approx(0, abs=1e-6)
    assert numbers["fvd"]["value"] == pytest.approx(0, abs=1e-6)


def test_gray_frames_become_color(files: dict[str, Path]) -> None:
    learned = NetworkMetrics({"fid": files["fid"]}, CPU)
    learned.add_target(torch.full((1, 2, 1, 8, 8), 0.5))
    assert learned.features["fid", ""].mean.tolist() == [128, 128, 128]


@pytest.mark.parametrize("kind", ["lpips", "fid", "fvd"])
def test_an_absent_file_is_reported_with_its_usual_source(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"no such file \[{kind}=.*absent.pt\]; it is .*; usually"):
        MetricNetwork(kind, tmp_path / "absent.pt", CPU)
    (tmp_path / "text.pt").write_text("not weights")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pt")
    (tmp_path / "net.onnx").write_text("onnx")
    for name, content in (
        ("text.pt", "neither TorchScript nor an exported program"),
        ("weights.pt", "weights without their network"),
        ("net.onnx", "an ONNX file"),
    ):
        with pytest.raises(ConfigError, match=rf"{content}, not a network \[{kind}=.*{name}\]; save it with torch.jit"):
            MetricNetwork(kind, tmp_path / name, CPU)


@pytest.mark.parametrize("kind", [pytest.param("exported", marks=pytest.mark.slow), "script"])
def test_both_kinds_of_network_files_are_read_under_any_suffix(kind: str, tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean((2, 3))

    if kind == "exported":
        batch = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(Mean(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=batch)
        torch.export.save(program, tmp_path / "a.pt2")
        file = (tmp_path / "a.pt2").rename(tmp_path / "exported.pt")
    else:
        file = tmp_path / "script.pt2"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(Mean(), torch.rand(2, 3, 8, 8)).save(file)
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(MetricNetwork("fid", file, CPU)(images), images.mean((2, 3)))
    torch.testing.assert_close(load_network(file)(images), images.mean((2, 3)))


def test_a_network_that_fails_is_named(files: dict[str, Path]) -> None:
    short = MetricNetwork("fvd", files["fvd"], CPU)
    with pytest.raises(ConfigError, match=r"does not take videos \(1, 3, 2, 8, 8\) .*\[fvd=.*num_frames=16"):
        short(torch.zeros(1, 3, 2, 8, 8))
    wrong = MetricNetwork("lpips", files["fid"], CPU)
    with pytest.raises(ConfigError, match=r"does not take images .*\[lpips="):
        wrong(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_the_command_line(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"run": str(tmp_path / "run"), "training.steps": 1, "training.batch_size": 2, "data.size": 32}
    train(load_config("tiny.yaml", {**settings, "training.validate_every": 0, "training.image_every": 0}))
    words = ["evaluate", "--run", str(tmp_path / "run"), "--windows", "2", "--frames", "3", "--checkpoint", "last"]
    options = [f"--{kind}={file}" for kind, file in files.items()]
    monkeypatch.setattr("sys.argv", ["vidpred", *words, *options, "--json", str(tmp_path / "numbers.json")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "numbers.json").read_text())["learned"]
    assert set(found["models"]) == {"run", *BASELINES}
    assert f"FID {found['models']['run']['fid']['value']:.4f} (n=6)" in shown
    assert found["about"]["fvd"]["file"] == "fvd.pt"
    monkeypatch.setattr("sys.argv", ["vidpred", *words, "--fid", "nowhere.pt"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "inception-2015-12-05.pt" in capsys.readouterr().err
