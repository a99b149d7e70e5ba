"""Make docs/assets/prediction.webp, the animation of the README. Run: python -m benchmarks.readme_images.

It predicts the clip of `vidpred demo` by the shipped weights, which were not trained on it, with sharpness 0 and 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image, ImageSequence

from vidpred.commands.demo_clip import CLIP, ENDS, write_both_ends
from vidpred.files import atomic_write

TARGET = Path("docs/assets/prediction.webp")
SHOWN_WIDTH, MOST_BYTES = 960, 600_000


def main() -> None:
    """Predict, then shrink the GIF to an animated WebP without the maps of errors."""
    frames = []
    with tempfile.TemporaryDirectory() as name:
        write_both_ends(Path(name), CLIP)
        with Image.open(Path(name) / "both_ends.gif") as animation:
            for image in ImageSequence.Iterator(animation):
                panels = 1 + 2 * len(ENDS)
                width = image.width * (1 + len(ENDS)) // panels
                shown = image.convert("RGB").crop((0, 0, width, image.height))
                scaled = SHOWN_WIDTH, image.height * SHOWN_WIDTH // width
                frames.append(shown.resize(scaled, Image.Resampling.LANCZOS))
    times = [150] * 10 + [450] * 8
    with atomic_write(TARGET) as temporary:
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=times, loop=0, quality=70, method=6)
    size = TARGET.stat().st_size
    assert size < MOST_BYTES, f"{TARGET} has {size} bytes, more than {MOST_BYTES}"
    print(f"{TARGET}: {size} bytes")


if __name__ == "__main__":
    main()
