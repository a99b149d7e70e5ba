"""What `predict` writes: frames, arrays, videos, strips and metrics, for one clip and for many."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import MagicMock

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.command_line import run_vidpred
from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source
from vidpred.evaluation.clip_metrics import ClipMetrics
from vidpred.evaluation.metric_table import PROTOCOLS
from vidpred.evaluation.protocols import Measurement, evaluate_models, with_baselines
from vidpred.inference import load_models
from vidpred.inference.clip_window import choose_window
from vidpred.inference.clips import named_after
from vidpred.inference.predict_video import PredictRequest, VideoPrediction
from vidpred.inference.predictor import Predictor
from vidpred.media.prediction_files import Output, write_prediction
from vidpred.media.prediction_images import Step, composites, strip
from vidpred.media.render import COLORS

FRAMES = 4


class Darker(nn.Module):
    """A generator that multiplies the last frame by 0.9, plus a hundredth of its noise."""

    def __init__(self, noise_channels: int = 0) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = 2, 1, 1, 3
        self.noise_channels = noise_channels

    def forward(self, context: Tensor, noise: Tensor | None = None) -> Tensor:
        moved = 0.0 if noise is None else noise.mean(1).view(-1, 1, 1, 1, 1) / 100
        return (context[:, -1:] * 0.9 + moved).clamp(0, 1)


def model(name: str = "mine", noise_channels: int = 0) -> Predictor:
    return Predictor(Darker(noise_channels), DataSettings(context_frames=2, crop_size=None), name)


def test_a_clip_too_short_for_ground_truth_at_the_frames_distance_is_predicted_beyond_its_end() -> None:
    """With every second frame, two context frames reach from two to four frames before the first predicted one."""
    predictor, info = Predictor(Darker(), DataSettings(context_frames=2, crop_size=None, frame_skip=2)), MagicMock()
    for frames in range(3, 14):
        window = choose_window(info, frames, [predictor], 4, None)
        assert len(window.numbers) >= 2
        assert window.first == (frames - 8 if frames >= 12 else frames + 1)
        assert window.first - window.numbers[-1] == 2


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        write_video(folder / f"{number}.mp4", numbered_frames(14, 32, 48, first=number * 20), "libx264")
    return folder


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load these models by the name of the run."""
    made = {"mine": model(), "noisy": model("noisy", 1)}
    monkeypatch.setattr(load_models, "load_predictors", lambda runs, *_, **__: [made[str(run)] for run in runs])


def predict(*words: object) -> int:
    return run_vidpred("predict", *words, "--frames", FRAMES)


def prediction(clip: Path, *names: str, num_samples: int | None = None, **options: object) -> VideoPrediction:
    request = PredictRequest(clip, FRAMES, num_samples=num_samples, **options)  # type: ignore[arg-type]
    return VideoPrediction.open(request, [model(name, int(num_samples is not None)) for name in names or ("mine",)])


def test_all_formats_hold_the_same_frames(clips: Path, tmp_path: Path) -> None:
    for name in ("frames/", "a.npy", "a.npz", "bare.mp4", "a.png"):
        bare = ["--bare"] if name == "bare.mp4" else []
        assert predict(clips / "0.mp4", "--run", "mine", "-o", f"{tmp_path}/{name}", *bare) == 0
    frames = np.load(tmp_path / "a.npy")
    assert (frames.dtype, frames.shape) == (np.float32, (FRAMES, 3, 32, 48))
    np.testing.assert_allclose(frames[1:], frames[:-1] * 0.9, atol=1e-6)
    arrays = np.load(tmp_path / "a.npz")
    assert np.array_equal(arrays["prediction"], frames)
    np.testing.assert_allclose(frames[0], arrays["context"][-1] * 0.9, atol=1e-6)
    assert arrays["future"].shape == frames.shape
    pixels = np.round(frames.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    files = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in files] == ["0001.png", "0002.png", "0003.png", "0004.png"]
    assert all(np.array_equal(np.asarray(Image.open(file)), image) for file, image in zip(files, pixels, strict=True))
    with av.open(str(tmp_path / "bare.mp4")) as video:
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(shown) == FRAMES
    assert np.abs(shown[0].astype(int) - pixels[0]).mean() < 5


def test_frames_and_arrays_of_several_predictions(clips: Path, tmp_path: Path) -> None:
    words = (clips / "0.mp4", "--run", "noisy", "--samples", "2", "-o")
    assert predict(*words, f"{tmp_path}/frames") == 0
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["1-noisy-1", "2-noisy-2"]
    assert len(list((tmp_path / "frames").glob("*/*.png"))) == 2 * FRAMES
    assert predict(*words, f"{tmp_path}/a.npz") == 0
    assert np.load(tmp_path / "a.npz")["prediction"].shape == (2, FRAMES, 3, 32, 48)
    two = (clips / "0.mp4", "--run", "mine", "--run", "noisy", "-o")
    assert predict(*two, f"{tmp_path}/b.npz") == 0
    assert {"context", "future", "prediction mine", "prediction noisy"} == set(np.load(tmp_path / "b.npz"))


@pytest.mark.parametrize("words", [["a.npy"], ["a.mp4", "--bare"], ["a.png", "--bare"]])
def test_formats_of_one_prediction_refuse_several(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    name, *options = words
    both = ("--run", "mine", "--run", "noisy")
    assert predict(clips / "0.mp4", *both, "-o", tmp_path / name, *options) == 2
    assert "holds one prediction, here are 2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_folder_of_clips_and_one_bad_clip(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("0.mp4", "1.mp4"):
        (folder / name).symlink_to(clips / name)
    (folder / "bad.mp4").write_text("no video")
    code = predict(folder, "--run", "mine", "-o", f"{tmp_path}/out/", "--json", tmp_path / "a.json")
    assert code == 3
    printed = capsys.readouterr()
    assert "vidpred: error: skipped 1 of 3 clips, see above; exit code 3" in printed.err
    assert "bad.mp4" in printed.err.split("vidpred: error")[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0", "1"}
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 2 * FRAMES
    assert [clip["clip"] for clip in json.loads((tmp_path / "a.json").read_text())["clips"]] == [
        f"{folder}/0.mp4", f"{folder}/1.mp4",
    ]  # fmt: skip
    assert predict(clips, "--run", "mine", "-o", f"{tmp_path}/gifs/", "--format", "gif") == 0
    assert {path.name for path in (tmp_path / "gifs").iterdir()} == {"0.gif", "1.gif"}


def test_misused_outputs(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ("--run", "mine", "-o")
    for words, code, message in (
        ((clips, *run, "a.mp4"), 2, "give a folder and a format: --output a/ --format mp4"),
        ((clips / "0.mp4", *run, "a.avi"), 2, ".mp4, .gif, .png, .npy, .npz, or a folder: a.avi/"),
        ((clips / "0.mp4", *run, "a.mp4", "--format", "gif"), 2, "[--format gif] is for an output folder"),
        ((clips, *run, f"{tmp_path}/x/", "--actions", "a.npy"), 2, "belong to one clip"),
    ):
        assert predict(*words) == code
        assert message in capsys.readouterr().err


def test_folders_without_videos_have_their_own_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("empty", "images", "texts", "run/checkpoints/step-2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "images" / "0.png").touch()
    (tmp_path / "texts" / "a.txt").touch()
    for name, code, message in (
        ("empty", 3, "give a video or a folder of videos"),
        ("images", 3, "ffmpeg -pattern_type glob"),
        ("texts", 3, "1 .txt ["),
        ("run", 2, f"give a video and --run {tmp_path}/run"),
    ):
        assert predict(tmp_path / name, "-o", tmp_path / "a.mp4") == code
        assert message in capsys.readouterr().err


def test_frames_in_a_folder_are_replaced_only_when_asked(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    words = (clips / "0.mp4", "--run", "mine", "-o", folder)
    assert predict(*words) == 0
    (folder / "0009.png").write_text("of an earlier prediction")
    (folder / "notes.txt").write_text("mine")
    (folder / "sub").mkdir()
    (folder / "sub" / "0001.png").write_text("mine")
    assert predict(*words) == 4
    assert predict(*words, "--overwrite") == 0
    assert sorted(path.name for path in folder.glob("*.png")) == [f"000{number}.png" for number in range(1, 5)]
    assert (folder / "notes.txt").read_text() == (folder / "sub" / "0001.png").read_text() == "mine"
    assert not list(folder.glob(".tmp-*"))


def test_a_failure_leaves_the_old_frames(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "0001.png").write_text("old")

    def broken():  # type: ignore[no-untyped-def]
        yield Step(None, {"mine": torch.rand(1, 3, 8, 8)})
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_prediction(Output.of(folder, overwrite=True), torch.rand(1, 3, 8, 8), broken(), 2)
    assert [path.name for path in folder.iterdir()] == ["0001.png"]
    assert (folder / "0001.png").read_text() == "old"


def test_names_of_outputs() -> None:
    def names(*clips: str) -> list[str]:
        return named_after([Path(clip) for clip in clips])

    assert names("x/a.mp4", "x/b.mp4") == ["a", "b"]
    assert names("x/a.mp4", "x/a.avi") == ["a.mp4", "a.avi"]
    assert names("x/a.mp4", "y/a.mp4") == ["x-a.mp4", "y-a.mp4"]
    assert names("x/y/a.mp4", "x-y/a.mp4", "x-y-a.mp4", "z/x-y-a.mp4")[0] == "x/y/a.mp4"


def steps(count: int, known: int, samples: int = 1, names: tuple[str, ...] = ("mine",)) -> list[Step]:
    return [
        Step(torch.full((3, 20, 30), 0.5) if number < known else None,
             {name: torch.rand(samples, 3, 20, 30) for name in names})
        for number in range(count)
    ]  # fmt: skip


def count_frames(image: np.ndarray, kind: str) -> int:
    """Count the panels with a border of a kind, which are separate areas of its color."""
    border = (image == COLORS[kind]).all(-1)  # type: ignore[index]
    return int(cv2.connectedComponents(border.astype(np.uint8))[0] - 1)


@pytest.mark.parametrize(
    ("count", "known", "names"),
    [(8, 8, ("a",)), pytest.param(30, 11, ("a", "b"), marks=pytest.mark.slow), (3, 0, ("truth",))],
)
def test_a_strip_shows_every_frame_once(count: int, known: int, names: tuple[str, ...]) -> None:
    image, left_out = strip(torch.rand(4, 3, 20, 30), steps(count, known, names=names), count)
    assert left_out == ""
    shown = {kind: count_frames(image, kind) for kind in COLORS}
    assert shown == {"context": 4, "truth": known, "prediction": count * len(names), "error": 0}


def test_a_strip_reports_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidpred.media.prediction_images.STRIP_PIXELS", 600_000)
    image, left_out = strip(torch.rand(2, 3, 20, 30), steps(40, 40), 40)
    every = int(left_out.split()[2])
    assert left_out == f"1 in {every} of the 40 predicted frames"
    assert count_frames(image, "prediction") == -(-40 // every) < 40
    image, left_out = strip(torch.rand(1, 3, 640, 320), [Step(None, {"a": torch.rand(1, 3, 640, 320)})], 1)
    assert left_out == "scaled from 320x640 to 160x320"


def test_videos_have_no_columns_for_what_does_not_exist() -> None:
    images = list(composites(torch.rand(2, 3, 20, 30), steps(3, 0)))
    assert len({image.shape for image in images}) == 1
    assert [count_frames(image, "truth") + count_frames(image, "error") for image in images] == [0] * 5
    partly = list(composites(torch.rand(2, 3, 20, 30), steps(3, 1)))
    assert [count_frames(image, "truth") for image in partly] == [0, 0, 1, 1, 1]


class LastWindow(Measurement):
    """Measures the last window of the source only."""

    def choose_windows(self, source: Source) -> list[int]:
        return [len(source) - 1]


@pytest.mark.parametrize("name", ["plain", pytest.param("detail", marks=pytest.mark.slow)])
def test_metrics_are_those_of_an_evaluation(clips: Path, name: str) -> None:
    """The last test window ends with the clip, as the prediction does."""
    one = prediction(clips / "0.mp4")
    metrics = ClipMetrics(one.context(), FRAMES, PROTOCOLS[name])
    assert len(list(metrics.measured(one.steps(one.context())))) == FRAMES
    video = {"skip_cuts": False}
    data = DataSettings(root=str(clips / "0.mp4"), context_frames=2, video=video, split_fractions=(0.1, 0.1, 0.8))
    models = with_baselines({"mine": model().generator}, FRAMES)
    how = LastWindow(FRAMES, protocol=PROTOCOLS[name])
    expected = evaluate_models(models, build_source(data, "test", range(2 + FRAMES)), how)
    assert set(metrics.rows) == set(expected.scores)
    for row, columns in metrics.rows.items():
        for metric, values in columns.items():
            means = [total.mean for total in expected.scores[row].overall[metric]]
            np.testing.assert_allclose(values, means, rtol=1e-5, err_msg=f"{row} {metric}")


def test_metrics_of_samples_and_of_frames_with_ground_truth_only(clips: Path) -> None:
    one = prediction(clips / "0.mp4", "noisy", num_samples=3, start=12)
    metrics = ClipMetrics(one.context(), FRAMES)
    list(metrics.measured(one.steps(one.context())))
    rows = [f"noisy, {kind} of 3" for kind in ("best", "mean", "worst")]
    assert set(rows) < set(metrics.rows)
    best, mean, worst = (metrics.rows[row]["psnr"] for row in rows)
    assert len(best) == 2, "frames 12 and 13 of 14"
    assert all(high > middle > low for high, middle, low in zip(best, mean, worst, strict=True))
