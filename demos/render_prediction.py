"""Render a prediction next to the actual future. Run: python -m demos.render_prediction --output runs/render.

Predicts a clip of the embedded world of moving shapes with the shipped weights and writes prediction.mp4 and
prediction.png, as `vidpred predict` does for video files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vidpred import Predictor, render
from vidpred.data.worlds.moving_things import MovingShapesWorld

CONTEXT, FUTURE = 10, 8


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/render_prediction"), help="Folder to write to.")
    parser.add_argument("--clip", type=int, default=3, help="Number of the clip.")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    # 1. A clip, (T, C, H, W) in [0, 1].
    clip = torch.from_numpy(MovingShapesWorld(CONTEXT + FUTURE, 128).clip(options.clip)).movedim(-1, 1) / 255
    context, truth = clip[:CONTEXT], clip[CONTEXT:]

    # 2. The prediction by the shipped weights.
    prediction = Predictor.load("pretrained").predict(context, FUTURE)

    # 3. A video with ground truth (green), prediction (orange) and a map of the error; and an image with every frame.
    for name in ("prediction.mp4", "prediction.png"):
        render(options.output / name, prediction, context, truth, overwrite=True)
    print(f"look at {options.output / 'prediction.mp4'} and prediction.png")


if __name__ == "__main__":
    main()
