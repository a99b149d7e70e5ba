"""The clips of a `predict` call, and an output for each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vidpred.checkpoint import RunFolder
from vidpred.data.prepared.format import Manifest
from vidpred.data.videos.index import IMAGE_SUFFIXES, find_files, find_videos, no_videos
from vidpred.devices import is_null
from vidpred.errors import ConfigError, DataError
from vidpred.files import check_input
from vidpred.media.prediction_files import Output


def find_clips(paths: Sequence[Path]) -> list[Path]:
    """Return the given videos, and all videos of the given folders at any depth.

    Raises:
        ConfigError: A folder is a run.
        DataError: A path cannot be read, or a folder has no videos.
    """
    found: list[Path] = []
    for path in paths:
        check_input(path)
        if not path.is_dir():
            found.append(path)
            continue
        videos = [path / name for name in find_videos(path)]
        if not videos:
            raise _no_videos(path)
        found += videos
    return list(dict.fromkeys(found))


def _no_videos(folder: Path) -> ConfigError | DataError:
    """Return the error for a folder without videos, by what it holds instead."""
    if RunFolder(folder).steps():
        return ConfigError(f"a run folder, not a clip [{folder}]; give a video and --run {folder}")
    if Manifest.load(folder) is not None:
        return DataError(f"a prepared data set, not videos [{folder}]; use vidpred evaluate --run RUN --data {folder}")
    text, images = no_videos(folder)
    if not images:
        return DataError(f"{text}; give a video or a folder of videos")
    first = next(name for name in sorted(find_files(folder)) if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    frames = (folder / first).with_name(f"*{Path(first).suffix}")
    return DataError(f"{text}; make a video of the frames: ffmpeg -pattern_type glob -i '{frames}' clip.mp4")


def outputs(clips: Sequence[Path], output: Output, one: bool, kind: str | None) -> list[Output]:
    """Return the output of every clip.

    Args:
        clips: The clips.
        output: The output that was asked for.
        one: Whether it was asked for one video, whose frames then lie in the folder itself.
        kind: Format of the files in an output folder; None: frames, in a folder for every clip.

    Raises:
        ConfigError: The output is one file and there are several clips, or a file and a format.
    """
    if is_null(output.path):
        return [output if kind in (None, "frames") else replace(output, format=kind)] * len(clips)  # type: ignore[arg-type]
    if output.format != "frames":
        if kind is not None:
            raise ConfigError(f"[--format {kind}] is for an output folder; leave it out, or give --output FOLDER/")
        if not one:
            raise ConfigError(
                f"[--output {output.path}] holds the prediction of one clip; for several give a folder and a format: "
                f"--output {output.path.with_suffix('')}/ --format {output.format}"
            )
        return [output]
    if kind in (None, "frames"):
        return [output] if one else [replace(output, path=output.path / name) for name in named_after(clips)]
    return [replace(output, path=output.path / f"{name}.{kind}", format=kind) for name in named_after(clips)]  # type: ignore[arg-type]


def named_after(clips: Sequence[Path]) -> list[str]:
    """Return a unique name for every clip: without the suffix if that is unique, else with it, else with folders."""
    whole = [Path(os.path.abspath(clip)) for clip in clips]
    folder = os.path.commonpath([clip.parent for clip in whole])
    rules: list[Callable[[Path], str]] = [
        lambda clip: clip.stem,
        lambda clip: clip.name,
        lambda clip: clip.relative_to(folder).as_posix().replace("/", "-"),
        lambda clip: clip.relative_to(folder).as_posix(),
    ]
    return next(names for rule in rules if len(set(names := [rule(clip) for clip in whole])) == len(clips))
