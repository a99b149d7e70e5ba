"""`vidpred sample`: samples are a function of (seed, number), and written sets can be read again."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.command_line import run_vidpred as call
from tests.image_files import write_digits
from vidpred.config import load_config
from vidpred.data.images.files import find_images
from vidpred.errors import ConfigError
from vidpred.inference.class_labels import parse_labels
from vidpred.inference.predictor import Predictor, Run
from vidpred.inference.sample_grids import arithmetic, parse_arithmetic, rows_by_class
from vidpred.inference.sample_images import Sampler, between, interpolations
from vidpred.run import train

SMALL = {
    "data.crop_size": 8, "model.width": 4, "discriminator.width": 4, "training.steps": 2, "training.batch_size": 4,
    "training.device": "cpu", "training.precision": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a conditional DCGAN for two steps."""
    folder = tmp_path_factory.mktemp("sampled")
    settings = {
        **SMALL, "data.root": str(write_digits(folder / "digits.npz")), "run": str(folder / "run"),
        "model.num_labels": 10, "discriminator.num_labels": 10,
    }  # fmt: skip
    return train(load_config("dcgan_mnist.yaml", settings))


def test_a_sample_is_a_function_of_seed_and_number(run: Run) -> None:
    predictor = run.predictor()
    few, many = ([p for _, p, _ in Sampler(predictor, 5).samples(count)] for count in (3, 70))
    torch.testing.assert_close(torch.stack(few), torch.stack(many[:3]))
    other = [p for _, p, _ in Sampler(predictor, 6).samples(1)]
    assert not torch.allclose(few[0], other[0])


def test_a_labeled_set_can_be_read_for_training(run: Run, tmp_path: Path) -> None:
    for output in (tmp_path / "set", tmp_path / "set.npz"):
        assert call("sample", "--run", str(run.folder), "-o", str(output), "--count", "6", "--labels", "7,3") == 0
        found = find_images(output)
        assert found is not None
        assert found.labels is not None
        assert found.classes == ["3", "7"]
        images = np.stack([found.read(number)[..., 0] for number in range(6)])
        wanted = {7: [], 3: []}  # type: ignore[var-annotated]
        for _, image, label in Sampler(run.predictor(), 0, [7, 3]).samples(6):
            wanted[label].append((image[0] * 255).round().to(torch.uint8).numpy())
        for label, own in wanted.items():
            kept = images[found.labels == found.classes.index(str(label))]
            np.testing.assert_array_equal(kept, np.stack(own))


@pytest.mark.slow
def test_images_and_videos(run: Run, tmp_path: Path) -> None:
    words = ["sample", "--run", str(run.folder)]
    assert call(*words, "--grid", "-o", str(tmp_path / "grid.png"), "--count", "9", "--walk",
                str(tmp_path / "walk.mp4")) == 0  # fmt: skip
    assert call(*words, "--interpolate", "-o", str(tmp_path / "rows.png"), "--count", "18") == 0
    assert call(*words, "--arithmetic", "0,1,2-3,4,5+6,7,8", "-o", str(tmp_path / "sum.png")) == 0
    with av.open(str(tmp_path / "walk.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9 * 24
    for name in ("grid.png", "rows.png", "sum.png"):
        assert (tmp_path / name).is_file()


def test_interpolation_begins_and_ends_at_samples(run: Run) -> None:
    sampler = Sampler(run.predictor(), labels=[4])
    path = interpolations(sampler, 1)
    samples = [image for _, image, _ in sampler.samples(2)]
    torch.testing.assert_close(path[0], samples[0])
    torch.testing.assert_close(path[-1], samples[1])


def test_great_circles_by_hand() -> None:
    """Halfway from (3, 0) to (0, 1) is at 45 degrees, with length 2."""
    middle = between(torch.tensor([3.0, 0]), torch.tensor([0.0, 1]), 3, spherical=True)[1]
    torch.testing.assert_close(middle, torch.tensor([2.0, 2]) / 2**0.5)
    straight = between(torch.tensor([3.0, 0]), torch.tensor([0.0, 1]), 3, spherical=False)[1]
    torch.testing.assert_close(straight, torch.tensor([1.5, 0.5]))


def test_arithmetic_adds_means(run: Run) -> None:
    terms = parse_arithmetic("3,8-5,9+2")
    assert terms == [(1, [3, 8]), (-1, [5, 9]), (1, [2])]
    sampler = Sampler(run.predictor(), labels=[1])
    rows = arithmetic(sampler, parse_arithmetic("0,1-0,1+2,3"))
    assert [len(row) for row in rows] == [3, 3, 3, 3]
    noise = sampler.noise([2, 3])
    torch.testing.assert_close(rows[2][:1], sampler.images(noise.mean(0, keepdim=True), torch.tensor([1])))
    torch.testing.assert_close(rows[2][1:], sampler.images(noise, torch.tensor([1, 1])))
    torch.testing.assert_close(rows[3][0], rows[2][0])  # the third row's mean, because the others cancel out
    with pytest.raises(ConfigError, match="arithmetic"):
        parse_arithmetic("3,8")


def test_a_row_per_class(run: Run) -> None:
    sampler = Sampler(run.predictor(), labels=[7, 3])
    rows = rows_by_class(sampler)
    assert list(rows) == ["7", "3"]
    samples = torch.stack([image for _, image, _ in sampler.samples(16)])
    torch.testing.assert_close(rows["3"], samples[1::2])
    assert [len(row) for row in rows_by_class(sampler, 5).values()] == [3, 2]
    assert list(rows_by_class(Sampler(run.predictor(), labels=[7]))) == [""]


def test_labels_by_name() -> None:
    names = ["cat", "Dog", "a, b", "10"]
    assert parse_labels(["dog,cat", "a, b", "1", "10"], names) == [1, 0, 2, 1, 3]
    assert parse_labels(["7,3"], ["3", "7"]) == [1, 0], "numbers are names where all names are numbers"
    for text, said in (("cta", r"labels=cta\] no such class; did you mean cat\?"), ("xyz", "choose from cat, Dog")):
        with pytest.raises(ConfigError, match=said):
            parse_labels([text], names)
    with pytest.raises(ConfigError, match="no such class; choose from 3, 7"):
        parse_labels(["0"], ["3", "7"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "10"], "[--labels 10] no such class; choose from 0, 1, 2"),
        (["--truncation", "0.5"], "no styles"),
        (["--labels", "seven"], "no such class"),
        (["-o", "grid.jpg"], "give a FOLDER, an .npz or a .png"),
        (["--model", "runs/other"], "give one model"),
        (["--grid", "--interpolate"], "give one of them"),
        (["--grid", "-o", "grid.bmp"], "unsupported suffix; choose one of .png"),
    ],
)
def test_mistakes(words: list[str], said: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = [] if "-o" in words else ["-o", str(tmp_path / "out")]
    assert call("sample", "--run", str(run.folder), *output, *words) == 2
    assert said in capsys.readouterr().err


def test_a_predictor_of_frames_raises(run: Run, tmp_path: Path) -> None:
    small = {"training.steps": 1, "training.batch_size": 2, "model.scales": 1, "training.validate_every": 0}
    frames = train(load_config(None, {**small, "run": str(tmp_path / "frames"), "training.device": "cpu"}))
    with pytest.raises(ConfigError, match="vidpred predict"):
        Sampler(frames.predictor())
    with pytest.raises(ConfigError, match="vidpred sample"):
        Predictor.load(run.folder).check_predicts_frames()
