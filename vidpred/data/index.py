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
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from vidpred.data.video import VideoInfo, printable, probe
from vidpred.errors import DataError

SUFFIXES = frozenset(
    [
        ".mp4",
        ".avi",
        ".mkv",
        ".webm",
        ".mov",
        ".m4v",
        ".mpg",
        ".mpeg",
        ".ts",
        ".gif",
        ".wmv",
        ".flv",
        ".mjpeg",
        ".h264",
        ".264",
        ".hevc",
        ".ogv",
        ".3gp",
    ]
)
VERSION = {"format": "vidpred index", "version": 2}
REMEDY = "re-encode them (ffmpeg -i IN OUT.mp4) or set another data.root"
NAMED = 3  # bad files named in an error line
SAVE_SECONDS = 20.0  # an interrupted scan of a large folder loses no more than this


def find_videos(root: Path) -> list[str]:
    """Relative paths of all video files at any depth, sorted; hidden folders and files are left out."""
    if root.is_file():
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


def scan(root: Path, progress: bool = False) -> tuple[list[VideoInfo], list[tuple[str, str]]]:
    """(videos, bad): everything below `root`, scanned anew only where it changed; bad are (relative path, reason)."""
    base = root.parent if root.is_file() else root
    known = _load(_index_file(root))
    videos: dict[str, VideoInfo] = {}
    todo = []
    for name in find_videos(root):
        entry = known.get(name)
        status = (base / name).stat() if (base / name).exists() else None
        if entry and status and (entry.bytes, entry.mtime_ns) == (status.st_size, status.st_mtime_ns):
            videos[name] = entry
        else:
            todo.append(name)
    bad: list[tuple[str, str]] = []
    saved = time.monotonic()
    for name, result in _probe_all(base, todo, progress):
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


def _probe_all(base: Path, names: Sequence[str], progress: bool) -> Iterator[tuple[str, VideoInfo | str]]:
    """(name, info or reason) for every file, several at a time: FFmpeg works outside Python's lock."""

    def look(name: str) -> tuple[str, VideoInfo | str]:
        try:
            return name, probe(base / name, name)
        except DataError as error:
            return name, str(error).rsplit(" [", 1)[0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        shown = progress and len(names) > 3
        yield from tqdm(pool.map(look, names), "scan videos", len(names), unit="file", disable=not shown)


def require_videos(root: Path, on_bad: str = "error", progress: bool = False) -> list[VideoInfo]:
    """All videos below `root` (or `root` itself). Raises DataError: absent, empty, none readable, or, where on_bad is
    "error", the bad ones by name and reason; "skip" lists them in bad_videos.csv beside the index."""
    if not root.exists():
        raise DataError(_absent(root))
    videos, bad = scan(root, progress)
    if not videos and not bad:
        raise DataError(f"no video files [{root}]; known suffixes: {' '.join(sorted(SUFFIXES))}")
    if bad:
        named = "; ".join(f"{printable(name)}: {reason}" for name, reason in bad[:NAMED])
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        if not videos:
            raise DataError(f"none of the {len(bad)} video files can be read [{root}]: {named}{more}; {REMEDY}")
        if on_bad == "error":
            many = f"{len(bad)} of {len(bad) + len(videos)} videos cannot be read"
            raise DataError(f"{many} [{root}]: {named}{more}; remove them or set data.on_bad_video=skip")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *bad])
        _write(_index_file(root).with_name("bad_videos.csv"), text.getvalue())
    return videos


def _absent(root: Path) -> str:
    if root.name.upper().replace("_", "-") in ("UCF-101", "UCF101"):
        return (
            f"no UCF101 here [{root}]; expected {root}/<Class>/v_<Class>_gXX_cYY.avi: extract UCF101.rar there and run "
            f"vidpred prepare ucf101 {root} --lists FOLDER/ucfTrainTestlist, or set data.root"
        )
    return f"no such folder or video [{root}]; set data.root=FOLDER_OF_VIDEOS"


def _index_file(root: Path) -> Path:
    inside = (root.parent if root.is_file() else root) / ".vidpred"
    name = f"index-{root.name}.jsonl" if root.is_file() else "index.jsonl"
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
    temporary = file.with_name(f".tmp-{os.getpid()}-{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
