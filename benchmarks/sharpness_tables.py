"""The tables of docs/results/sharpness.md."""

from __future__ import annotations

from benchmarks.markdown import (
    COPY,
    FLOW,
    FRAMES,
    HALF,
    Results,
    grid,
    mean_and_spread,
    numbers,
    over_seeds,
    percent,
    with_error,
)


def forks(results: Results) -> str:
    """Return the predictions of forks by loss; one number where all seeds agree."""
    runs = [run["models"] for run in over_seeds(results, "forks")]
    columns = (("near", 3), ("sharp", 3), ("gradient energy", 2), ("PSNR", 2))

    def cell(model: str, key: str, digits: int) -> str:
        text = [numbers([run[model][key]], digits) for run in runs]
        return text[0] if len(set(text)) == 1 else " / ".join(text)

    rows = [[model, *(cell(model, key, digits) for key, digits in columns)] for model in runs[0]]
    return grid(["", "near", "sharp", "gradient energy", "PSNR, pooled (dB)"], rows)


def samples(results: Results) -> str:
    """Return the sampled futures of forks, by seed."""
    runs = over_seeds(results, "samples")
    certain = [run["psnr of certain scenes"] for run in runs]
    rows = [
        ["forks whose samples hold both futures", percent((run["both futures occur"] for run in runs), 0)],
        ["sharp samples", percent(run["sharp draws"] for run in runs)],
        ["samples that go left", percent(run["draws to the left"] for run in runs)],
        ["PSNR of scenes that do not fork, with noise (dB)", numbers(scene["with noise"] for scene in certain)],
        ["the same model without noise (dB)", numbers(scene["without noise"] for scene in certain)],
    ]
    return grid(["", "seeds 0 / 1 / 2"], rows)


def balance(results: Results) -> str:
    """Return the discriminator's accuracy during training, by seed."""
    runs = over_seeds(results, "game in balance")
    rows = [
        ["steps after 200 at 0.5 to 0.9", percent((run["share of steps in balance"] for run in runs), 0)],
        ["lowest accuracy", numbers(run["lowest"] for run in runs)],
        ["highest accuracy", numbers(run["highest"] for run in runs)],
        ["saturated logits, mean", percent(run["mean saturated"] for run in runs)],
    ]
    return grid(["", "seeds 0 / 1 / 2"], rows)


LADDER = {
    "ladder_single_l2": "one scale, l2", "ladder_l2": "l2", "ladder_l1": "l1", "ladder_gdl_l1": "GDL, l1",
    "ladder_adv": "adversary", "ladder_adv_gdl": "adversary, GDL",
    "ladder_adv_gdl_64": "adversary, GDL, then patches of 64",
    COPY: COPY, FLOW: FLOW, HALF: HALF,
}  # fmt: skip


def objectives(results: Results) -> str:
    """Return metrics of three predicted frames by objective: means over seeds with standard deviations."""
    runs = [run["models"] for run in over_seeds(results, "three objectives on a clip")]

    def cell(name: str, metric: str) -> str:
        by_frame = zip(*(run[name][metric] for run in runs), strict=True)
        return " / ".join(mean_and_spread(values) for frame, values in enumerate(by_frame, 1) if frame in (1, 4, 8))

    metrics = {"psnr": "PSNR (dB)", "energy_moving": "energy, moving pixels", "patches": "patches"}
    rows = [[name, *(cell(name, metric) for metric in metrics)] for name in runs[0]]
    return grid(["frames t+1 / t+4 / t+8", *metrics.values()], rows)


def ladder(results: Results, name: str) -> str:
    """Return scores of the paper's methods over seeds, on moving pixels of frames 1 and 2."""
    runs = [run["models"] for run in over_seeds(results, name)]
    metrics = (("psnr_moving", 2), ("ssim_moving", 3), ("sharpness_moving", 2))

    def cell(model: str, metric: str, digits: int, frame: int) -> str:
        values = [run[model][metric][frame] for run in runs]
        return mean_and_spread(values, digits) if model.startswith("ladder") else f"{values[0]:.{digits}f}"

    rows = [
        [title, *(cell(model, metric, digits, frame) for frame in (0, 1) for metric, digits in metrics)]
        for model, title in LADDER.items()
        if model in runs[0]
    ]
    head = [f"{title}, frame {frame}" for frame in (1, 2) for title in ("PSNR", "SSIM", "sharpness")]
    return grid(["moving pixels", *head], rows)


def three_ways(results: Results) -> str:
    """Return PSNR of frame t+k predicted in three ways."""
    models = results["frame t+k three ways", 0].values["models"]
    rows = [[name, *(numbers([model["psnr_moving"][frame - 1]]) for frame in FRAMES)] for name, model in models.items()]
    return grid(["PSNR on moving pixels (dB)", *(f"t+{frame}" for frame in FRAMES)], rows)


def balls(results: Results) -> str:
    """Return gray pixels and PSNR of the sixth frame of bouncing balls."""
    values = results["bouncing balls, the sixth frame", 0].values
    names = {
        "true": "ground truth",
        "copy_last": COPY,
        "lotter_mse": "squared error",
        "lotter_adversarial": "with the adversary",
    }
    rows = [
        [title, percent([values[name]["gray_share"]]), numbers([values[name].get("psnr")])]
        for name, title in names.items()
    ]
    return grid(["seed 0", "gray pixels", "PSNR (dB)"], rows)


def details(results: Results) -> str:
    """Return the share of faint details that are predicted, after a short and a long training."""
    rows = []
    for title, name in (("1,000 + 1,000 steps", "faint details after a short training"),
                        ("5,000 + 5,000 steps", "rotating solids, details")):  # fmt: skip
        runs = over_seeds(results, name)
        for key, loss in (("lotter_mse", "squared error"), ("lotter_adversarial", "with the adversary")):
            cells = [
                f"{with_error(100 * run[key]['painted_share'], 100 * run[key]['standard_error'], 1)} %, "
                f"{run[key]['psnr']:.2f} dB"
                for run in runs
            ]
            rows.append([title, loss, *(cells + ["-"] * (3 - len(cells)))])
    return grid(["training", "loss", "seed 0", "seed 1", "seed 2"], rows)
