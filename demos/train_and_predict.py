"""Train on a folder of videos, predict, and measure. Run: python -m demos.train_and_predict clips --output runs/first.

Trains a small model for a few hundred steps (about a minute on two CPU cores), predicts the end of a video, and prints
the scores of the model and of the baselines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vidpred import Predictor, evaluate, load_config, train
from vidpred.data.videos.reader import stream_frames


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

    # 2. Predict: frames are (T, C, H, W), uint8 or float in [0, 1]; the prediction is float in [0, 1].
    predictor = Predictor.load(run.folder)
    clip = next(path for path in sorted(options.clips.rglob("*")) if path.suffix in (".mp4", ".avi", ".mkv", ".webm"))
    frames = torch.stack([torch.from_numpy(frame) for frame in stream_frames(clip)]).movedim(-1, 1)
    future = predictor.predict(frames[-20:-8], 8)
    error = (future - frames[-8:].float() / 255).abs().mean()
    print(f"{clip.name}: predicted {tuple(future.shape)}, mean absolute error {float(error):.3f}")

    # 3. Measure the model and three baselines on the test split.
    result = evaluate(run.folder, 4, windows=20)
    for name, scores in result.scores.items():
        print(f"{name}: PSNR on moving pixels {scores.overall['psnr_moving'][0].mean:.2f} dB")


if __name__ == "__main__":
    main()
