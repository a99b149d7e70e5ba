"""Make docs/assets/prediction.webp, the animation of the README. Run: python -m benchmarks.readme_images.

It runs `vidpred predict` with the shipped weights on an unseen clip: box.mp4 of OpenCV's documentation
(Apache-2.0 and BSD-3-Clause; Debian package opencv-doc).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageSequence

from benchmarks.real_clips import clip_folder

CLIP, START = "box.mp4", 100  # first predicted frame
TARGET = Path("docs/assets/prediction.webp")
SHOWN_WIDTH, MOST_BYTES = 960, 600_000


def main() -> None:
    """Predict, then shrink the GIF to an animated WebP."""
    with tempfile.TemporaryDirectory() as name:
        gif = Path(name) / "prediction.gif"
        words = [str(clip_folder("test") / CLIP), "--start", str(START), "--size", "160", "--output", str(gif)]
        subprocess.run([sys.executable, "-m", "vidpred", "predict", *words], check=True)
        frames = []
        with Image.open(gif) as animation:
            for image in ImageSequence.Iterator(animation):
                height = image.height * SHOWN_WIDTH // image.width
                frames.append(image.convert("RGB").resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS))
    frames[0].save(
        TARGET, save_all=True, append_images=frames[1:], duration=[150] * 10 + [450] * 8, loop=0, quality=70, method=6
    )
    size = TARGET.stat().st_size
    assert size < MOST_BYTES, f"{TARGET} has {size} bytes, more than {MOST_BYTES}"
    print(f"{TARGET}: {size} bytes")


if __name__ == "__main__":
    main()
