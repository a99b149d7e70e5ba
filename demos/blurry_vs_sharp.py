"""Blurry against sharp from Python, what `vidpred demo` does: python -m demos.blurry_vs_sharp --output runs/blurry

Trains the same generator with mean squared error, then further with an adversary, on the embedded two-way world, whose
forks have two true futures, and draws what each predicts beside both. Two CPU cores need a few minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vidpred import load_config, train
from vidpred.demo import decided_share, find_forks, gradient_energy
from vidpred.inference.render import Panel, compose, stack, write_png

SCENES = 4  # in the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/blurry_vs_sharp"), help="folder of runs and picture")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each of the two models")
    options = parser.parse_args()

    blurry, sharp = options.output / "blurry", options.output / "sharp"
    settings = {"run": str(blurry), "training.steps": options.steps}
    runs = {"blurry": train(load_config("two_way_mse.yaml", settings))}
    settings |= {"run": str(sharp), "training.start_from": str(blurry)}
    runs["sharp"] = train(load_config("two_way_adversarial.yaml", settings))

    predictors = {name: run.predictor("last") for name, run in runs.items()}
    forks = find_forks(predictors["blurry"])  # context (N, T, C, H, W), both next frames (N, C, H, W), in [0, 1]
    predictions = {name: predictor.predict(forks.context, steps=1)[:, 0] for name, predictor in predictors.items()}
    for name, frames in predictions.items():
        decided, energy = decided_share(frames, forks), gradient_energy(frames, forks)
        print(f"{name}: decided for one future in {decided:.0%} of {len(frames)} forks, {energy:.2f} of its gradients")

    rows = []
    for scene in range(SCENES):
        panels = [Panel("last known frame", forks.context[scene, -1], "context")]
        panels += [Panel(f"future: {side}", getattr(forks, side)[scene], "truth") for side in ("left", "right")]
        panels += [Panel(name, frames[scene], "prediction") for name, frames in predictions.items()]
        rows.append(compose(panels))
    write_png(options.output / "blurry_vs_sharp.png", stack(rows))
    print(f"look at {options.output / 'blurry_vs_sharp.png'}")


if __name__ == "__main__":
    main()
