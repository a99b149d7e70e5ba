"""Any folder of videos: scan it once, so that training starts at once.

python -m data_prep.folder clips
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vidpred.data.index import require_videos
from vidpred.errors import ConfigError


def prepare(source: Path, splits: Path | None = None) -> str:
    """Scan all videos below `source`; returns a summary. Raises DataError naming the bad ones."""
    if splits is not None:
        raise ConfigError("--splits belongs to ucf101; put a splits.csv (path,split) into the folder instead")
    videos = require_videos(source, "skip", progress=True)
    frames = sum(video.frames for video in videos)
    hours = sum(video.frames / video.rate for video in videos) / 3600
    return f"{len(videos)} videos, {frames:,} frames, {hours:.2f} hours [{source}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder of videos")
    print(prepare(parser.parse_args().source))


if __name__ == "__main__":
    main()
