"""Blurry against sharp from Python, what `vidpred demo` does: python -m demos.blurry_vs_sharp --output runs/blurry

Trains one generator with squared error, continues it in three ways on the embedded two-way world, whose forks have two
true futures, and draws what each predicts next to both. About ten minutes on a CPU core; `vidpred demo` uses two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vidpred import load_config, train
from vidpred.data.worlds.forking_ball import ForkingBallWorld
from vidpred.evaluation.forking_ball import find_forking_scenes, gradient_energy, is_near, is_sharp
from vidpred.media.render import Panel, compose, stack, write_png

PRESETS = {
    "squared error": "forking_ball_mse.yaml",
    "l1 + GDL": "forking_ball_l1_gdl.yaml",
    "adversary": "forking_ball_adversarial.yaml",
}
SCENES = 4  # in the image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/blurry_vs_sharp"), help="folder of runs and image")
    parser.add_argument("--steps", type=int, help="training steps of each model (default: the presets')")
    options = parser.parse_args()

    settings = {} if options.steps is None else {"training.steps": options.steps}
    start = train(load_config("forking_ball_mse.yaml", {**settings, "run": str(options.output / "start")}))
    predictors = {}
    for name, preset in PRESETS.items():  # the same weights to begin with, the same samples in the same order
        run = {"run": str(options.output / Path(preset).stem), "training.init_from": str(start.folder)}
        predictors[name] = train(load_config(preset, {**settings, **run})).predictor("last")

    forks = find_forking_scenes(
        ForkingBallWorld(context_frames=4, future_frames=1, seed=1001), count=512
    )  # context, left and right futures
    predictions = {name: predictor.predict(forks.context, num_frames=1)[:, 0] for name, predictor in predictors.items()}
    for name, frames in predictions.items():
        near, sharp = is_near(frames, forks).float().mean(), is_sharp(frames, forks).float().mean()
        energy = gradient_energy(frames, forks)
        print(f"{name}: {near:.1%} near, {sharp:.1%} sharp, {energy:.2f} of the gradients, {len(frames)} forks")

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
