"""Exported files give the model's outputs, describe themselves, and run without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
import pytest
import torch
from torch import Tensor

from vidpred import export
from vidpred.config import load_config
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.inference import export as exporting
from vidpred.inference.predictor import Predictor
from vidpred.models.base import Generator
from vidpred.models.build import build_generator
from vidpred.models.export_steps import FrameStep, exported_step
from vidpred.models.exported_step import ExportedStep, Port, Sizes
from vidpred.models.rollout import rollout

pytestmark = pytest.mark.slow
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "deploy.md"
SMALL = {
    "tiny.yaml": [],
    "block_push.yaml": ["data.root=.", "model.widths=[8,8]", "model.warp=true"],
    "dcgan_mnist.yaml": ["model.width=4"],
    "vae_dcgan.yaml": ["model.width=4"],
    "voxel_flow_moving_mnist.yaml": ["model.scales=[2,1]", "model.widths=[8,4]", "model.mean_blocks=1"],
    "convlstm_moving_mnist.yaml": ["data.context_frames=2", "data.pred_frames=2", "model.hidden=[4]", "model.kernel=3"],
    "predrnn_v2_bair.yaml": ["data.pred_frames=2", "model.hidden=[4]", "model.kernel=3"],
    "motion_sharp.yaml": ["data.context_frames=4", "data.pred_frames=2"],
}
NO_ONNX = ("motion_sharp.yaml", "onnx")


def predictor(preset: str) -> Predictor:
    config = load_config(preset, ["data.root=.", *SMALL[preset]])
    torch.manual_seed(0)
    generator = build_generator(config.model, config.data)
    for values in generator.parameters():
        if values.dim() > 1 and not values.detach().any():  # layers that start at zero
            torch.nn.init.normal_(values, std=0.05)
    return Predictor(generator, config.data, preset)


def test_a_step_is_one_application_of_a_rollout_with_actions() -> None:
    model = predictor("block_push.yaml")
    step = FrameStep(model.generator.eval(), {})
    context, actions = step.example(Sizes(2, 20, 24))
    with torch.no_grad():
        frames, following = step(context, actions)
    expected = rollout(model.generator, context, frames.shape[1], actions=actions)
    torch.testing.assert_close(frames, expected)
    torch.testing.assert_close(following, torch.cat([context, expected], 1)[:, -context.shape[1] :])


def test_the_predictor_stays_on_its_device_and_nan_is_a_difference(tmp_path: Path) -> None:
    model = predictor("block_push.yaml")
    with patch.object(Predictor, "device", torch.device("meta")):
        export(model, tmp_path / "model.pt2")
    assert {values.device.type for values in model.generator.parameters()} == {"meta"}
    step = MagicMock(return_value=(torch.zeros(2), torch.zeros(2)))
    with patch.object(exporting, "run_onnx", return_value=[torch.zeros(2), torch.full((2,), torch.nan)]):
        assert not exporting.largest_difference(step, tmp_path / "model.onnx", "onnx") <= exporting.TOLERANCE


class Brighter(Generator):
    """A generator of another package, whose exported step takes the last frame only."""

    channels = 1

    def forward(self, context: Tensor) -> Tensor:
        return context[:, -1:] * 0.5 + 0.5

    def exported_step(self, state: Mapping[str, Any]) -> ExportedStep:
        return LastFrame()


class LastFrame(ExportedStep):
    """The step of `Brighter`."""

    def __init__(self) -> None:
        super().__init__()
        frame = ("batch", 1, "height", "width")
        self.inputs = [Port("last", frame, "float32", [0, 1], "newest frame")]
        self.outputs = [Port("next", frame, "float32", [0, 1], "next frame")]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (inputs[0] * 0.5 + 0.5,)

    def example(self, sizes: Sizes, seed: int = 0) -> tuple[Tensor, ...]:
        return (torch.rand(sizes.batch, 1, sizes.height, sizes.width),)


def test_a_generator_decides_what_is_exported(tmp_path: Path) -> None:
    model = Predictor(Brighter(), DataSettings(context_frames=1, channels=1), "brighter")
    found = export(model, tmp_path / "model.pt2")
    assert [port["name"] for port in (*found.metadata["inputs"], *found.metadata["outputs"])] == ["last", "next"]
    (frame,) = torch.export.load(tmp_path / "model.pt2").module()(torch.ones(1, 1, 17, 23) / 2)
    assert torch.equal(frame, torch.full((1, 1, 17, 23), 0.75))
    assert isinstance(exported_step(predictor("block_push.yaml").generator, {}), FrameStep)


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("preset", "kind"), [(name, kind) for name in SMALL for kind in ("onnx", "pt2") if (name, kind) != NO_ONNX]
)
def test_every_kind_of_model_keeps_its_outputs(preset: str, kind: str, tmp_path: Path) -> None:
    if kind == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    assert export(predictor(preset), tmp_path / f"model.{kind}").difference <= exporting.TOLERANCE


def test_a_file_describes_itself_and_is_compared_before_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = predictor("tiny.yaml"), tmp_path / "model.pt2"
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="differs from the run"):
        export(model, path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    found = export(model, path)
    extra = {"vidpred.json": ""}
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra["vidpred.json"]) == json.loads(json.dumps(found.metadata))
    assert found.metadata["inputs"][0]["shape"] == ["batch", 4, 3, "height", "width"]
    context = torch.rand(1, 4, 3, 21, 34)
    frames, _ = program.module()(context)
    torch.testing.assert_close(frames, rollout(model.generator, context, frames.shape[1]), atol=1e-4, rtol=0)


def test_the_program_of_the_guide_predicts_without_torch(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    model = predictor("tiny.yaml")
    export(model, tmp_path / "model.onnx")
    code = re.findall(r"^```onnx\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)[0]
    clip = np.random.default_rng(0).integers(0, 256, (5, 3, 33, 46), np.uint8)
    np.save(tmp_path / "clip.npy", clip)
    (tmp_path / "program.py").write_text(code + "assert 'torch' not in sys.modules\n")
    files = ("model.onnx", "clip.npy", "future.npy")
    subprocess.run([sys.executable, "program.py", *files], cwd=tmp_path, check=True, capture_output=True)
    expected = model.predict(clip, 16).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "future.npy"), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("model.pt", None), ("model.onnx", "pt2"), ("model.pt2", "onnx")])
def test_a_suffix_of_another_format_is_refused(name: str, kind: exporting.Format | None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unsupported suffix"):
        export("pretrained", tmp_path / name, kind)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"needs the package onnx; install the extra \w+: pip install '\.\[export\]'"):
        export("pretrained", tmp_path / "model.onnx")


def test_motion_is_no_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "require_onnx", lambda: None)
    with pytest.raises(ConfigError, match=r"cannot become ONNX .* choose format pt2"):
        export(predictor("motion_sharp.yaml"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
