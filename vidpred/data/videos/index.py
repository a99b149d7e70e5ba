"""A folder of videos, scanned once into an index of JSON Lines.

<folder>/.vidpred/index.jsonl holds one `VideoInfo` a line after a line with the format's version; an entry counts as
long as the file's size and time of change are the same. Where the folder cannot be written, the index lies in the
user's cache folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from vidpred.data.videos.containers import printable
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo
from vidpred.errors import DataError, StorageError
from vidpred.files import write_file
from vidpred.processes import available_cores, in_processes

# Of the containers that `containers.py` lets in; what a file really is, its content decides.
SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mj2", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe",
    ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".flv", ".f4v", ".wmv", ".asf", ".ogv", ".ogg", ".gif", ".h264",
    ".264", ".avc", ".hevc", ".h265", ".265", ".mjpeg", ".mjpg", ".ivf",
))  # fmt: skip
VERSION = {"format": "vidpred index", "version": 2}
REMEDY = "re-encode them (ffmpeg -i IN OUT.mp4) or set another data.root"
NAMED = 3  # bad files named in an error line
TOO_SHORT = "too short"
WORTH_PROCESSES = 8  # files; fewer are done before a process has started
SAVE_SECONDS = 20.0  # an interrupted scan of a large folder loses no more than this


def find_videos(root: Path) -> list[str]:
    """Relative paths of all video files at any depth, sorted; hidden folders and files are left out."""
    if not root.is_dir():
        return [root.name]
    found = []
    for folder, folders, files in os.walk(root):  # does not follow links to folders, which may form loops
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = Path(folder).relative_to(root)
        found += [
            (place / name).as_posix()
            for name in files
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return sorted(found)


def scan(
    root: Path, progress: bool = False, limits: Limits | None = None, processes: bool = False
) -> tuple[list[VideoInfo], list[tuple[str, str]]]:
    """(videos, bad): everything below `root`, scanned anew only where it changed; bad are (relative path, reason).

    processes: look at many files in several processes instead of threads, which is faster for small images; only for
    programs, for a script without a main guard would be run again by each of them.
    """
    limits = limits or Limits()
    base = root if root.is_dir() else root.parent
    known = _load(_index_file(root))
    videos: dict[str, VideoInfo] = {}
    bad: list[tuple[str, str]] = []
    todo = []
    for name in find_videos(root):
        entry = known.get(name)
        status = (base / name).stat() if (base / name).exists() else None
        if entry and status and (entry.bytes, entry.mtime_ns) == (status.st_size, status.st_mtime_ns):
            reason = limits.of_size(entry.width, entry.height) or limits.of_length(entry.frames, entry.seconds)
            if reason is None:
                videos[name] = entry
            else:  # scanned under wider limits
                bad.append((name, reason))
        else:
            todo.append(name)
    saved = time.monotonic()
    for name, result in _probe_all(base, todo, progress, limits, processes):
        if isinstance(result, VideoInfo):
            videos[name] = result
        else:
            bad.append((name, result))
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(root, list(videos.values()))
            saved = time.monotonic()
    if todo and videos:
        _save(root, [videos[name] for name in sorted(videos)])
    return [videos[name] for name in sorted(videos)], sorted(bad)


def _probe_all(
    base: Path, names: Sequence[str], progress: bool, limits: Limits, processes: bool
) -> Iterator[tuple[str, VideoInfo | str]]:
    """(name, info or reason) for every file, several at a time."""
    shown = progress and len(names) > 3
    jobs = [(base, name, limits) for name in names]
    if processes and len(names) >= WORTH_PROCESSES:
        yield from in_processes(_look, jobs, None, "scan videos", shown)
        return
    with ThreadPoolExecutor(available_cores()) as pool:  # FFmpeg works outside Python's lock
        results = tqdm(pool.map(_look, jobs), "scan videos", len(names), unit="file", disable=not shown)
        yield from zip(names, results, strict=True)


def _look(job: tuple[Path, str, Limits]) -> VideoInfo | str:
    base, name, limits = job
    try:
        return probe(base / name, name, limits)
    except DataError as error:
        return str(error).rsplit(" [", 1)[0]


def require_videos(
    root: Path, on_bad: str = "error", progress: bool = False, limits: Limits | None = None
) -> list[VideoInfo]:
    """All videos below `root` (or `root` itself). Raises DataError: absent, empty, none readable, or, where on_bad is
    "error", the bad ones by name and reason; "skip" lists them in bad_videos.csv beside the index."""
    if not root.exists():
        raise DataError(_absent(root))
    videos, bad = scan(root, progress, limits)
    if not videos and not bad:
        raise DataError(f"no video files [{root}]; known suffixes: {' '.join(sorted(SUFFIXES))}")
    if bad:
        named = "; ".join(f"{printable(name)}: {reason}" for name, reason in bad[:NAMED])
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        if not videos:
            raise DataError(f"none of the {len(bad)} video files can be read [{root}]: {named}{more}; {REMEDY}")
        if on_bad == "error":
            many = f"{len(bad)} of {len(bad) + len(videos)} videos cannot be read"
            raise DataError(f"{many} [{root}]: {named}{more}; remove them or set data.video.on_bad_video=skip")
    if on_bad == "skip":
        # Asked again within a run (for another split), what is too short for the run stays in the list.
        short = [] if progress else [row for row in _read_rows(bad_videos_file(root)) if row[1].startswith(TOO_SHORT)]
        names = {video.path for video in videos}
        write_bad_videos(root, sorted([*bad, *(row for row in short if row[0] in names)]))
        if bad and progress:
            left_out = f"{len(bad)} of {len(bad) + len(videos)} videos cannot be read and are left out"
            print(f"vidpred: warning: {left_out} [{bad_videos_file(root)}]", file=sys.stderr)
    return videos


def bad_videos_file(root: Path) -> Path:
    return _index_file(root).with_name("bad_videos.csv")


def write_bad_videos(root: Path, rows: Sequence[tuple[str, str]]) -> None:
    """(path, reason) of every video that is left out; no file where none is."""
    file = bad_videos_file(root)
    if not rows:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *rows])
    _write(file, text.getvalue())


def note_short_videos(root: Path, videos: Sequence[VideoInfo], needed: int, kept: Sequence[int], on_bad: str) -> None:
    """Say how many videos are shorter than a window of `needed` frames, given how many frames of each are kept; where
    bad videos are skipped, bad_videos.csv lists these too."""
    short = [(video.path, count) for video, count in zip(videos, kept, strict=True) if count < needed]
    if not short:
        return
    listed = ""
    if on_bad == "skip":
        rows = _read_rows(bad_videos_file(root))
        found = [(path, f"{TOO_SHORT}: {count} frames, a window has {needed}") for path, count in short]
        write_bad_videos(root, sorted({**dict(rows), **dict(found)}.items()))
        listed = f" [{bad_videos_file(root)}]"
    print(
        f"vidpred: warning: {len(short)} of {len(videos)} videos are shorter than the {needed} frames of a window and "
        f"are left out{listed or f' [{root}]'}; see data.context_frames, data.pred_frames, data.frame_skip",
        file=sys.stderr,
    )


def _read_rows(file: Path) -> list[tuple[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
            return [(row[0], row[1]) for row in csv.reader(lines) if len(row) == 2][1:]
    except OSError:
        return []


def _absent(root: Path) -> str:
    if root.name.upper().replace("_", "-") in ("UCF-101", "UCF101"):
        return (
            f"no UCF101 here [{root}]; expected {root}/<Class>/v_<Class>_gXX_cYY.avi: extract UCF101.rar there and run "
            f"vidpred prepare ucf101 {root} --lists FOLDER/ucfTrainTestlist, or set data.root"
        )
    return f"no such folder or video [{root}]; set data.root=FOLDER_OF_VIDEOS"


def _index_file(root: Path) -> Path:
    inside = (root if root.is_dir() else root.parent) / ".vidpred"
    name = f"index-{root.name}.jsonl" if not root.is_dir() else "index.jsonl"
    if os.access(inside if inside.is_dir() else inside.parent, os.W_OK):
        return inside / name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vidpred" / sha256(os.fsencode(root.resolve())).hexdigest()[:16] / name


def _load(file: Path) -> dict[str, VideoInfo]:
    """The entries of an index file; none where it is absent, damaged or of another version."""
    try:
        first, *lines = file.read_text(encoding="utf-8").splitlines()
        if json.loads(first) != VERSION:
            return {}
        return {info.path: info for info in map(VideoInfo.from_json, lines)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _save(root: Path, videos: Sequence[VideoInfo]) -> None:
    lines = [json.dumps(VERSION), *(video.to_json() for video in videos)]
    _write(_index_file(root), "".join(f"{line}\n" for line in lines))


def _write(file: Path, text: str) -> None:
    """Whole or not at all; an index that cannot be kept is made again next time."""
    with suppress(StorageError):
        write_file(file, text)
