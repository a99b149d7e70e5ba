"""Render a prediction next to the actual future. Run: python -m demos.render_prediction --output runs/render.

Predicts a clip of the embedded world of moving shapes with the shipped weights and writes prediction.mp4 and
prediction.png. `vidpred predict` does this for video files; a script can choose any layout of panels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vidpred import Predictor
from vidpred.data.worlds.moving_things import MovingShapesWorld
from vidpred.media.render import Panel, compose, error_map, stack, write_png
from vidpred.media.video_writer import write_video

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

    # 3. One image for each future frame: ground truth (green), prediction (orange) and a map of the error.
    images = []
    for number, (true, predicted) in enumerate(zip(truth, prediction, strict=True), 1):
        panels = [
            Panel("actual", true, "truth"),
            Panel("predicted", predicted, "prediction"),
            Panel("error", error_map(predicted, true), "error"),
        ]
        images.append(compose(panels, caption=f"frame t+{number}"))
    write_video(options.output / "prediction.mp4", images, 5, overwrite=True)
    write_png(options.output / "prediction.png", stack(images[::3]))
    print(f"look at {options.output / 'prediction.mp4'} and prediction.png")


if __name__ == "__main__":
    main()
