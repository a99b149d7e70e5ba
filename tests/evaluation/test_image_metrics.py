"""Statistics on features: hand-computed values, another library's values, and runs from end to end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from tests.command_line import run_vidpred as call
from tests.image_files import digits, small_preset, write_digits
from vidpred.data.build import build_source
from vidpred.data.images.windows import ImageWindows, images_of
from vidpred.data.settings import DataSettings
from vidpred.data.worlds.points import to_points
from vidpred.errors import ConfigError
from vidpred.evaluation import images
from vidpred.evaluation.classifier import features_of, load_network, train_classifier
from vidpred.evaluation.compare import compare as compare_runs
from vidpred.evaluation.frechet import distance_of
from vidpred.evaluation.image_metrics import (
    classifier_score,
    kernel_distance,
    memorized_share,
    nearest_neighbors,
    precision_and_recall,
    squared_discrepancy,
)
from vidpred.evaluation.images import (
    ImageEvaluation,
    ImageRequest,
    class_accuracy,
    compare_samples,
    evaluate_images,
    evaluate_runs,
)
from vidpred.inference.discriminator import load_discriminator
from vidpred.inference.model_card import model_card
from vidpred.inference.sample_images import Sampler
from vidpred.run import train


def test_frechet_distance_by_hand() -> None:
    """Means 0 and 3 and sample variances 2 and 8 give 9 + 2 + 8 - 2 sqrt(16) = 11."""
    one, other = torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [5.0]])
    assert distance_of(one, other) == pytest.approx(11)
    assert distance_of(one, one) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_equals_scipy() -> None:
    from scipy.linalg import sqrtm

    torch.manual_seed(0)
    one, other = torch.randn(200, 5) @ torch.randn(5, 5), torch.randn(300, 5) @ torch.randn(5, 5) + 1
    first, second = np.cov(one.double().T), np.cov(other.double().T)
    means = float((one.double().mean(0) - other.double().mean(0)).square().sum())
    wanted = means + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert distance_of(one, other) == pytest.approx(wanted, rel=1e-8)
    assert distance_of(other, one) == pytest.approx(wanted, rel=1e-8)


def test_squared_discrepancy_by_hand() -> None:
    """Features 0, 1 and 1, 1: k(0, 1) = 1, k(1, 1) = 8; 1 + 8 - 2 (1 + 1 + 8 + 8) / 4 = 0."""
    one, other = torch.tensor([[0.0], [1.0]]).double(), torch.ones(2, 1).double()
    assert squared_discrepancy(one, other) == pytest.approx(0)
    assert squared_discrepancy(torch.zeros(3, 2).double(), torch.ones(2, 2).double()) == pytest.approx(1 + 8 - 2)


def test_kernel_distance_equals_numpys_and_has_no_bias() -> None:
    """The estimate of a block equals a plain loop; blocks of one distribution have a mean near 0."""
    random = np.random.default_rng(0)
    one, other = random.normal(size=(7, 3)), random.normal(size=(5, 3)) + 1
    kernel = [[(a @ b / 3 + 1) ** 3 for b in np.concatenate([one, other])] for a in np.concatenate([one, other])]
    pairs = np.array(kernel)
    within = sum(pairs[i, j] for i in range(7) for j in range(7) if i != j) / 42
    within += sum(pairs[i, j] for i in range(7, 12) for j in range(7, 12) if i != j) / 20
    wanted = within - 2 * pairs[:7, 7:].mean()
    assert squared_discrepancy(torch.from_numpy(one), torch.from_numpy(other)) == pytest.approx(wanted, rel=1e-10)
    same = kernel_distance(*torch.from_numpy(random.normal(size=(2, 400, 3))))
    apart = kernel_distance(*torch.from_numpy(random.normal(size=(2, 400, 3)) + np.array([[[0]], [[1.0]]])))
    assert abs(same.mean) < same.std
    assert apart.mean > 3 * apart.std > 0
    with pytest.raises(ValueError, match="four"):
        kernel_distance(torch.zeros(3, 2), torch.zeros(9, 2))


def test_precision_and_recall_by_hand() -> None:
    """True images at 0, 1, 2, 3 and 10 reach 3, 2, 2, 3 and 9 far; samples at 1.5 (twice), -4, 2.5 and 3.5."""
    true, sampled = torch.tensor([[0.0], [1], [2], [3], [10]]), torch.tensor([[1.5], [1.5], [-4], [2.5], [3.5]])
    # The third neighbor of samples is at 2, 2, 6.5, 2 and 2: only 10 is in none of their balls.
    assert precision_and_recall(sampled, true) == (0.8, 0.8)
    assert precision_and_recall(true, true) == (1, 1)
    assert precision_and_recall(true[:4] + 100, true) == (0, 0)


def test_precision_and_recall_equal_numpys() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=(60, 4)), 1.5 * random.normal(size=(50, 4)) + 1

    def share(points: np.ndarray, others: np.ndarray) -> float:
        radii = np.sort(np.linalg.norm(others[:, None] - others[None], axis=2), axis=1)[:, 3]
        return float((np.linalg.norm(points[:, None] - others[None], axis=2) <= radii).any(1).mean())

    found = precision_and_recall(torch.from_numpy(one), torch.from_numpy(other))
    assert found == (share(one, other), share(other, one))
    assert 0 < found[1] < found[0] < 1


def test_classifier_score_by_hand() -> None:
    """Certain predictions of 4 equally frequent classes score 4; one class only, or uniform predictions, score 1."""
    sure = torch.eye(4).repeat(10, 1) * 1000
    assert classifier_score(sure, 1)[0] == pytest.approx(4)
    assert classifier_score(sure[:1].repeat(40, 1), 4)[0] == pytest.approx(1)
    assert classifier_score(torch.zeros(40, 4), 4)[0] == pytest.approx(1)
    mean, deviation = classifier_score(torch.cat([sure[:4], sure[:1].repeat(4, 1)]), 2)
    assert (mean, deviation) == (pytest.approx(2.5), pytest.approx(1.5))


def test_nearest_neighbors_by_hand() -> None:
    found = nearest_neighbors(torch.tensor([[0.0, 0], [3, 4]]), torch.tensor([[3.0, 3], [0, 1]]))
    assert found.numbers.tolist() == [1, 0]
    torch.testing.assert_close(found.distances, torch.full((2,), 1 / math.sqrt(2), dtype=torch.float64))


def test_copies_are_found() -> None:
    torch.manual_seed(0)
    training, held_out, new = torch.rand(300, 8), torch.rand(101, 8), torch.rand(400, 8)
    assert memorized_share(training[:50], held_out, training) == 1
    assert memorized_share(new, held_out, training) == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_the_classifier_learns_and_is_a_function_of_the_seed(tmp_path: Path) -> None:
    file = write_digits(tmp_path / "digits.npz", 900)
    data = DataSettings(root=str(file), context_frames=0, channels=1, crop_size=8, augment={"horizontal_flip": False})
    source, test = (build_source(data, split, [0]) for split in ("train", "test"))
    one, other = train_classifier(source, 60), train_classifier(source, 60)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    _, logits = features_of(one, images_of(test, len(test)))
    assert logits is not None
    assert (logits.argmax(1).numpy() == test.labels).mean() > 0.8


@pytest.mark.slow
def test_runs_are_measured_with_a_user_network(tmp_path: Path) -> None:
    class Halves(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))], 1)

    batch = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(Halves(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=batch)
    torch.export.save(exported, tmp_path / "halves.pt2")
    predictor = train(small_preset("dcgan_mnist", tmp_path)).predictor()
    request = ImageRequest("test", 40, tmp_path / "halves.pt2")
    found = evaluate_runs([predictor], request, tmp_path / "n.json", tmp_path / "near.png")
    numbers = json.loads((tmp_path / "n.json").read_text())["numbers"]["dcgan_mnist"]
    assert numbers["frechet"] > numbers["frechet_of_training"], "after six steps, samples are not digits yet"
    assert "classifier_score" not in numbers, "the network returns no logits"
    assert "halves.pt2" in found
    assert (tmp_path / "near.png").is_file()
    for wrong in (tmp_path / "nothing.pt2", tmp_path / "n.json"):
        with pytest.raises(ConfigError, match="features="):
            load_network(wrong)
    with pytest.raises(ConfigError, match=r"does not take images \(4, 1, 9, 9\)"):
        load_network(tmp_path / "halves.pt2")(torch.rand(4, 1, 9, 9))
    with pytest.raises(ConfigError, match="no such split"):
        evaluate_images({"run": predictor}, ImageRequest("tset", 40, tmp_path / "halves.pt2"))


def test_images_are_taken_evenly_from_sets_sorted_by_class(tmp_path: Path) -> None:
    images, labels = digits()
    order = labels.argsort(kind="stable")
    shades = np.broadcast_to((labels[order] * 25)[:, None, None], images.shape).astype(np.uint8)
    np.savez(tmp_path / "sorted.npz", images=shades, labels=labels[order])
    data = DataSettings(
        root=str(tmp_path / "sorted.npz"),
        context_frames=0,
        channels=1,
        crop_size=8,
        augment={"horizontal_flip": False},
        split_fractions=(1, 0, 0),
    )
    source = build_source(data, "train", [0])
    chosen = (images_of(source, 700)[:, 0, 0, 0] * 255 / 25).round().long().bincount(minlength=10)
    assert chosen.min() >= 60, "a class is missing"
    whole = images_of(source, 5000)
    assert len(whole) == len(images)
    assert (whole[:, 0, 0, 0].diff() >= 0).all(), "each image once, in order"


@pytest.mark.slow
def test_runs_of_different_images_raise(tmp_path: Path) -> None:
    one = train(small_preset("gaussians_gan", tmp_path / "a")).predictor()
    other = train(small_preset("gaussians_gan", tmp_path / "b", {"data.world.name": "eight_gaussians"})).predictor()
    with pytest.raises(ConfigError, match=r"\[data\.world\.name\] \(.*twenty_five_gaussians; .* eight_gaussians\)"):
        evaluate_images({"one": one, "other": other})


@pytest.mark.slow
def test_class_accuracy_of_the_discriminator_on_held_out_images(tmp_path: Path) -> None:
    """With 30 labeled digits among hundreds it is far above chance, 0.1, and equals a direct count."""
    learning = {"training.steps": 150, "data.labeled": 30, "data.labeled_share": 0.5, "discriminator.width": 16,
                "training.batch_size": 32, "training.discriminator.learning_rate": 2e-3}  # fmt: skip
    predictor = train(small_preset("improved_gan", tmp_path, learning)).predictor()
    assert predictor.checkpoint is not None
    discriminator = load_discriminator(predictor.checkpoint, predictor.device)
    assert discriminator is not None
    source = build_source(predictor.data, "test", [0])
    assert isinstance(source, ImageWindows)
    found = class_accuracy(predictor, source)["class_accuracy"]
    assert found > 0.4
    images = images_of(source, len(source))
    _, by_class = discriminator.network(images[:, None][:, :0], [images[:, None]], with_classes=True)
    assert found == pytest.approx((by_class.argmax(1).numpy() == source.labels).mean())
    plain = train(small_preset("dcgan_mnist", tmp_path)).predictor()
    assert class_accuracy(plain, source) == {}, "this discriminator has no classes"


def test_runs_without_a_number_have_a_dash_in_the_table() -> None:
    names = {"frechet": "f", "class_accuracy": "c"}
    text = ImageEvaluation({"one": {"frechet": 1}, "other": {"frechet": 2, "class_accuracy": 0.5}}, names, 20).text()
    rows = [line.split() for line in text.splitlines()[:3]]
    assert rows == [["frechet", "class_accuracy"], ["one", "1", "-"], ["other", "2", "0.5"]]


def test_roughness_of_true_images_is_1() -> None:
    torch.manual_seed(0)
    true, training = torch.rand(200, 1, 8, 8), torch.rand(300, 1, 8, 8)
    blurred = nn.functional.avg_pool2d(true, 3, 1, 1)

    def network(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :3]

    found = [
        compare_samples(network, samples, true, training)["relative_roughness"]
        for samples in (true, 0.5 * true, blurred)
    ]
    assert found[:2] == [pytest.approx(1), pytest.approx(0.5)]
    assert found[2] < 0.5


def test_the_value_to_reach_is_that_of_as_many_training_images() -> None:
    """As many as samples, of which there may be more than held-out images: the distance falls with their number."""
    torch.manual_seed(0)
    training, counts = torch.rand(80, 1, 8, 8), list[int]()

    def network(images: torch.Tensor) -> torch.Tensor:
        counts.append(len(images))
        return images.flatten(1)[:, :3]

    found = compare_samples(network, training[:40], torch.rand(20, 1, 8, 8), training[:40])
    assert found["frechet"] == pytest.approx(found["frechet_of_training"])
    assert sum(counts) == 40 + 20 + 40


def test_without_classes_only_pixels_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = train(small_preset("dcgan_mnist", tmp_path)).predictor()
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8))
    found = evaluate_images({"run": predictor}, ImageRequest(count=20, root=str(tmp_path / "plain.npy")))
    assert set(found.numbers["run"]) == {"relative_roughness", "memorized_share"}
    assert "frechet" not in found.text()
    assert "features=NETWORK.pt" in capsys.readouterr().err


@pytest.mark.slow
def test_without_classes_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = train(small_preset("dcgan_mnist", tmp_path)).predictor()
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8))
    found = evaluate_images({"run": predictor}, ImageRequest(count=20, root=str(tmp_path / "plain.npy")))
    capsys.readouterr()
    page = tmp_path / "compare.html"
    run, data = str(predictor.run_folder), str(tmp_path / "plain.npy")
    words = [run, run, "--data", data, "-o", str(page)]
    assert call("compare", *words, "--count", "20") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:1] for line in lines[:3]] == [["relative_roughness"], ["dcgan_mnist"], ["dcgan_mnist"]]
    text = page.read_text()
    assert text.count("<img") == 5, "samples and neighbors of both, and the curves"
    assert f"<td>{found.numbers['run']['relative_roughness']:.4g}</td>" in text
    assert call("compare", *words, "--frames", "2") == 2
    assert "[--frames] is for runs that predict frames" in capsys.readouterr().err


@pytest.mark.slow
def test_images_that_are_new_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = train(small_preset("dcgan_mnist", tmp_path)).predictor()
    with np.load(tmp_path / "digits.npz") as file:
        images, labels = file["images"], file["labels"]
    np.savez(tmp_path / "digits.npz", images=np.r_[images, images[:1]], labels=np.r_[labels, labels[:1]])
    capsys.readouterr()
    evaluate_images({"run": predictor}, ImageRequest(count=20))
    new = f"new and belong to no split of the run are not used [{tmp_path / 'digits.npz'}]: {len(images):08}"
    assert new in capsys.readouterr().err


@pytest.mark.slow
def test_points_are_measured_by_mode_coverage(tmp_path: Path) -> None:
    predictor = train(small_preset("gaussians_gan", tmp_path)).predictor()
    numbers = evaluate_images({"run": predictor}).numbers["run"]
    assert 0 <= numbers["modes_covered"] <= 25
    assert set(numbers) == {"modes_covered", "high_quality_share", "divergence"}
    words = str(compare_runs(predictor, tmp_path / "compare.html")).split()
    assert words[3:5] == ["gaussians_gan", f"{numbers['modes_covered']:.4g}"]
    text = (tmp_path / "compare.html").read_text()
    assert "points of each run against the Gaussians of twenty_five_gaussians" in text


@pytest.mark.slow
def test_points_are_sampled_as_coordinates(tmp_path: Path) -> None:
    predictor = train(small_preset("gaussians_gan", tmp_path)).predictor()
    words = ["sample", "--run", str(predictor.run_folder)]
    assert call(*words, "-o", str(tmp_path / "points.npz"), "--count", "70") == 0
    drawn = torch.stack([image for _, image, _ in Sampler(predictor).samples(70)])
    np.testing.assert_allclose(np.load(tmp_path / "points.npz")["points"], to_points(drawn), atol=1e-6)
    assert call(*words, "-o", str(tmp_path / "points.png"), "--count", "10") == 0
    assert call(*words, "-o", str(tmp_path / "points")) == 2
    assert call(*words, "-o", str(tmp_path / "more.png"), "--interpolate") == 2


def test_numbers_that_are_not_finite_are_null_in_json_and_absent_on_a_model_card(tmp_path: Path) -> None:
    """No sample near a Gaussian: an infinite divergence."""
    coverage = {"high_quality_share": 0.0, "divergence": math.inf}
    evaluation = ImageEvaluation({"a": coverage}, {"high_quality_share": "share", "divergence": "KL"}, 5)
    with patch.object(images, "evaluate_images", return_value=evaluation):
        evaluate_runs([], ImageRequest(), tmp_path / "numbers.json")
    text = (tmp_path / "numbers.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content["numbers"]["a"] == {"high_quality_share": 0.0, "divergence": None}
    config = {"data": DataSettings(context_frames=0).model_dump(), "model": {"name": "mlp"}}
    card = model_card("a", config, config, {"parameters": 1, "step": 1}, content)
    assert [cell.strip() for cell in next(line for line in card.splitlines() if line.startswith("| a")).split("|")][
        2:4
    ] == ["0", "-"]
