"""Train on a folder of videos, predict, and measure. Run: python -m demos.train_and_predict clips --output runs/first.

Trains a small model for a few hundred steps (about a minute on two CPU cores), predicts the end of a video, and prints
the scores of the model and of the baselines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vidpred import Predictor, evaluate, load_config, read_video, render, train


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="Folder of videos.")
    parser.add_argument("--output", type=Path, default=Path("runs/train_and_predict"), help="Run folder.")
    parser.add_argument("--steps", type=int, default=300, help="Training steps.")
    options = parser.parse_args()

    # 1. Train: a preset's settings, some of them changed by dotted key. A second call resumes a stopped run.
    changes = {"data.root": str(options.clips), "run": str(options.output), "training.steps": options.steps}
    run = train(load_config("tiny.yaml", changes))

    # 2. Predict: frames are (T, C, H, W), float in [0, 1].
    predictor = Predictor.load(run.folder)
    clip = next(path for path in sorted(options.clips.rglob("*")) if path.suffix in (".mp4", ".avi", ".mkv", ".webm"))
    frames = read_video(clip, start=-20)
    context, future = frames[:-8], frames[-8:]
    prediction = predictor.predict(context, 8)
    error = (prediction - future).abs().mean()
    print(f"{clip.name}: predicted {tuple(prediction.shape)}, mean absolute error {float(error):.3f}")
    print(f"look at {render(options.output / 'prediction.png', prediction, context, future, overwrite=True)}")

    # 3. Measure the model and three baselines on the test split.
    result = evaluate(run, num_frames=4, windows=20)
    for name, values in result.means("psnr_moving").items():
        print(f"{name}: PSNR on moving pixels {values[0]:.2f} dB")


if __name__ == "__main__":
    main()
