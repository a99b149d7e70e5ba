"""The index of a folder of videos: each file is scanned once, and the results are stored as JSON Lines.

<folder>/.vidpred/index.jsonl holds the format version in its first line and one `VideoInfo` in each further line. An
entry is valid while the file's size and modification time are unchanged. If the folder is read-only, the index is
stored in the user's cache folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from tqdm import tqdm

from vidpred.data.files_unchanged import look_once
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo
from vidpred.errors import DataError, StorageError, counted, printable, warn
from vidpred.files import check_input, csv_text, parse_json, read_bytes, read_lines, with_checksum, write_file
from vidpred.processes.memory import without_collection
from vidpred.processes.pool import available_cores, in_processes, is_command

# Suffixes of videos; the format is detected from the content.
SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mj2", ".mkv", ".webm", ".avi", ".divx", ".xvid", ".mpg",
    ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v", ".vob", ".evo", ".ts", ".mts", ".m2ts", ".m2t", ".mod", ".tod", ".dv",
    ".dif", ".flv", ".f4v", ".wmv", ".asf", ".wtv", ".dvr-ms", ".ogv", ".ogg", ".ogm", ".gif", ".apng", ".h264",
    ".264", ".avc", ".hevc", ".h265", ".265", ".av1", ".obu", ".mjpeg", ".mjpg", ".ivf", ".y4m", ".nut", ".mxf",
    ".gxf", ".rm", ".rmvb", ".amv", ".bik", ".smk", ".flc", ".fli", ".vp9", ".cine", ".mlv", ".nsv", ".dav", ".roq",
))  # fmt: skip
# Suffixes of files that people keep next to videos: not worth a warning.
OTHER_SUFFIXES = frozenset((
    "", ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".html", ".srt", ".vtt", ".ass",
    ".log", ".pdf", ".py", ".sh", ".ini", ".toml", ".npy", ".npz", ".pkl", ".mat", ".h5", ".parquet", ".jpg",
    ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".wav", ".mp3", ".m4a", ".aac", ".flac", ".zip", ".tar",
    ".gz", ".rar", ".7z", ".lrv", ".thm", ".part", ".info", ".nfo", ".sha256", ".md5", ".db",
))  # fmt: skip
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_CLIPS = frozenset((".png", ".webp", ".tif", ".tiff"))  # animations and stacks; others of these are images
VERSION = {"format": "vidpred index", "version": 5}
REMEDY = "re-encode (ffmpeg -i IN OUT.mp4) or set another data.root"
OnBad = Literal["use", "skip", "error"]
Entry = TypeVar("Entry")
NAMED = 3  # bad files named in an error line
TOO_SHORT = "too short"
INTERLACED = "are interlaced, so moving edges look like combs; deinterlace them: ffmpeg -i IN -vf bwdif OUT.mp4"
WORTH_PROCESSES = 8  # files; fewer are scanned faster than a process starts
MANY = 256  # files; the command scans this many with processes, because threads wait for one another
SAVE_SECONDS = 20.0  # an interrupted scan loses at most this much work

_unreadable: set[str] = set()  # folders that `warn_of_folder` has named


def find_videos(root: Path) -> list[str]:
    """Return the sorted relative paths of all video files, animations and stacks at any depth.

    Hidden files and folders are skipped.

    Links to folders are followed, each folder once.
    """
    if not root.is_dir():
        return [root.name]
    from vidpred.data.images.stacks import count_frames

    names = ((name, Path(name).suffix.lower()) for name in find_files(root))
    return sorted(
        name for name, suffix in names
        if suffix in SUFFIXES or (suffix in IMAGE_CLIPS and count_frames(root / name) > 1)
    )  # fmt: skip


def find_files(root: Path) -> Iterator[str]:
    """Yield the relative paths of all files at any depth, folder by folder in order, except hidden files and folders.

    Links to folders are followed, each folder once. Folders inside that cannot be read are left out with a warning.

    Raises:
        DataError: The root cannot be read.
    """
    check_input(root)
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=warn_of_folder, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link back to where the walk has been
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = "" if folder == str(root) else f"{Path(folder).relative_to(root).as_posix()}/"
        yield from (place + name for name in sorted(files) if not name.startswith("."))


def warn_of_folder(error: OSError) -> None:
    """Warn once in this process of a folder that cannot be read."""
    if error.filename not in _unreadable:
        _unreadable.add(error.filename)
        warn(f"a folder cannot be read and is left out: {error.strerror} [{printable(error.filename)}]")


def no_videos(root: Path) -> tuple[str, bool]:
    """Return "no video files, but ..." about a folder without videos, and whether it holds images instead."""
    suffixes = Counter(Path(name).suffix.lower() for name in find_files(root))
    (suffix, count), *_ = suffixes.most_common(1) or [("", 0)]
    instead = f", but {count} {suffix or 'files without a suffix'}" if count else ""
    return f"no video files{instead} [{root}]", suffix in IMAGE_SUFFIXES


def warn_of_unread_files(root: Path, known: Set[str] = SUFFIXES, what: str = "videos") -> None:
    """Warn about files of a folder that are neither known by their suffix nor what people keep next to such files.

    Args:
        root: The folder; nothing is done for a file.
        known: Suffixes of files that are read, lower case.
        what: What those files are, in the warning.
    """
    if not root.is_dir():
        return
    suffixes = Counter(os.path.splitext(name)[1].lower() for name in find_files(root))
    unread = Counter({suffix: count for suffix, count in suffixes.items() if suffix not in known | OTHER_SUFFIXES})
    if unread:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in unread.most_common(NAMED))
        more = "" if len(unread) <= NAMED else f" and {len(unread) - NAMED} more kinds"
        warn(f"files that are no {what} by their suffix are not read: {kinds}{more} [{root}]")


def scan(
    root: Path, progress: bool = False, limits: Limits | None = None, processes: bool = False
) -> tuple[list[VideoInfo], list[tuple[str, str]]]:
    """Scan all videos below `root`, reusing index entries of unchanged files, and store the index with new entries.

    Args:
        root: Folder of videos, or one video.
        progress: Show a progress bar.
        limits: Maximum size and length of a video; larger ones count as unreadable. None: `Limits()`.
        processes: Use processes instead of threads, which is faster. Only for programs with a main guard, because each
            process imports the main script again; the `vidpred` command uses them for many files anyway.

    Returns:
        The readable videos and, for the others, (relative path, reason).
    """
    limits = limits or Limits()
    base = root if root.is_dir() else root.parent
    indexed = load_index(index_file(root), VERSION, _parsed)
    videos: dict[str, VideoInfo] = {}
    bad: list[tuple[str, str]] = []
    todo = []
    for name in find_videos(root):
        entry = indexed.get(name)
        status = (base / name).stat() if (base / name).exists() else None
        if entry and status and (entry.bytes, entry.mtime_ns) == (status.st_size, status.st_mtime_ns):
            reason = limits.size_error(entry.width, entry.height) or limits.length_error(entry.frames, entry.seconds)
            if reason is None:
                videos[name] = entry
            else:  # scanned with higher limits
                bad.append((name, reason))
        else:
            todo.append(name)
    saved, lines = time.monotonic(), dict[str, str]()
    for name, result in _probe_all(base, todo, progress, limits, processes):
        if isinstance(result, VideoInfo):
            videos[name] = result
        else:
            bad.append((name, result))
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(root, videos, lines)
            saved = time.monotonic()
    if todo and videos:
        _save(root, videos, lines)
    return [videos[name] for name in sorted(videos)], sorted(bad)


def _probe_all(
    base: Path, names: Sequence[str], progress: bool, limits: Limits, processes: bool
) -> Iterator[tuple[str, VideoInfo | str]]:
    """Yield (name, info or reason) for every file; files are scanned in parallel."""
    shown = progress and len(names) > 3
    jobs = [(base, name, limits) for name in names]
    if len(names) >= (WORTH_PROCESSES if processes else MANY) and (processes or is_command()):
        yield from in_processes(_try_probe, jobs, None, "scan videos", shown, "more free memory")
        return
    with ThreadPoolExecutor(available_cores()) as pool:  # FFmpeg releases the GIL
        results = tqdm(pool.map(_try_probe, jobs), "scan videos", len(names), unit="file", disable=not shown)
        yield from zip(names, results, strict=True)


def _try_probe(job: tuple[Path, str, Limits]) -> VideoInfo | str:
    base, name, limits = job
    try:
        return probe(base / name, name, limits)
    except DataError as error:
        return str(error).rsplit(" [", 1)[0]


def require_videos(
    root: Path,
    on_bad: OnBad = "use",
    progress: bool = False,
    limits: Limits | None = None,
    max_bad_fraction: float = 1.0,
) -> list[VideoInfo]:
    """Return all videos below `root` (or `root` itself).

    Args:
        root: Folder of videos, or one video.
        on_bad: For damaged videos: "use" their undamaged frames, "skip" them, or raise an "error". Unless that is
            raised, skipped and damaged videos are listed in bad_videos.csv next to the index.
        progress: Show a progress bar, and warn about skipped and damaged videos.
        limits: Maximum size and length of a video.
        max_bad_fraction: Largest fraction of the videos that may be skipped.

    Raises:
        DataError: `root` does not exist or has no readable videos, too many are skipped or, if `on_bad` is "error", one
            is damaged.
    """
    if not root.exists():
        raise DataError(_absent(root))
    videos, bad = look_once((root, limits), lambda: scan(root, progress, limits))
    if progress:
        warn_of_unread_files(root)
    if not videos and not bad:
        raise DataError(f"{no_videos(root)[0]}; give a folder with videos, such as .mp4 or .avi")
    if not videos:
        raise DataError(_unusable(root, bad))
    damaged = [(video.path, usable(video)) for video in videos if video.notes]
    total, wrong = len(videos) + len(bad), sorted([*bad, *damaged])
    if wrong and on_bad == "error":
        what = f"{len(wrong)} of {total} videos are damaged or cannot be read"
        raise DataError(f"{what} [{root}]: {first_rows(wrong)}; remove them or set data.video.on_bad_video=use")
    if on_bad == "skip":
        bad, damaged, videos = wrong, [], [video for video in videos if not video.notes]
    if len(bad) > max_bad_fraction * total or not videos:
        raise DataError(
            f"{len(bad)} of {total} videos cannot be read [{root}]: {first_rows(bad)}; {REMEDY}, or raise "
            "data.max_bad_fraction"
        )
    _list_bad(root, videos, bad, damaged, progress)
    if progress and (found := [video.path for video in videos if video.interlaced]):
        warn(f"{len(found)} of {total} videos {INTERLACED} [{root / found[0]}]")
    return videos


def _unusable(root: Path, bad: Sequence[tuple[str, str]]) -> str:
    """Return the message for videos of which none can be read."""
    other = all("not a video" in reason for _, reason in bad)  # which no encoder turns into one
    remedy = "set data.root to a video or a folder of videos, such as .mp4 or .avi" if other else REMEDY
    if root.is_file():
        return f"{bad[0][1]} [{root}]; {remedy}"
    return f"none of the {len(bad)} video files can be read [{root}]: {first_rows(bad)}; {remedy}"


def _list_bad(
    root: Path,
    videos: Sequence[VideoInfo],
    bad: Sequence[tuple[str, str]],
    damaged: Sequence[tuple[str, str]],
    progress: bool,
) -> None:
    """Write bad_videos.csv; with progress, warn about its rows."""
    # A second call within a run (for another split) keeps the videos that are too short in the list.
    short = [] if progress else [row for row in _read_rows(bad_videos_file(root)) if row[1].startswith(TOO_SHORT)]
    names = {video.path for video in videos}
    write_bad_files(bad_videos_file(root), sorted([*bad, *damaged, *(row for row in short if row[0] in names)]))
    if not progress:
        return
    for rows, what in ((bad, "videos cannot be read and are skipped"), (damaged, "videos are damaged")):
        if rows:
            total = len(videos) + len(bad)
            warn(f"{len(rows)} of {total} {what}: {first_rows(rows)} [{bad_videos_file(root)}]")


def usable(video: VideoInfo) -> str:
    """Return what can be used of a damaged video, and what is wrong with it."""
    return f"usable: {counted(video.frames, 'frame')}; {'; '.join(video.notes)}"


def first_rows(rows: Sequence[tuple[str, str]]) -> str:
    """Return the first rows of (path, reason) as text for a message, and how many more there are."""
    named = "; ".join(f"{printable(name)}: {reason}" for name, reason in rows[:NAMED])
    return named + (f"; and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def bad_videos_file(root: Path) -> Path:
    """Return the path of the list of videos that are damaged, unreadable or too short, next to the index."""
    return index_file(root).with_name("bad_videos.csv")


def write_bad_files(file: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write (path, reason) of every skipped file as CSV; without rows, remove the list."""
    if rows:
        write_if_possible(file, csv_text([("path", "reason"), *rows]))
    else:
        file.unlink(missing_ok=True)


def note_short_videos(root: Path, videos: Sequence[VideoInfo], needed: int, kept: Sequence[int], on_bad: OnBad) -> None:
    """Warn about videos that are shorter than a window; unless bad videos are errors, add them to bad_videos.csv.

    Args:
        root: Folder of videos, or one video.
        videos: The scanned videos.
        needed: Frames of a window, from its first to its last.
        kept: Number of frames of each video after resampling to `data.video.fps`.
        on_bad: See `require_videos`.
    """
    short = [(video.path, count) for video, count in zip(videos, kept, strict=True) if count < needed]
    if not short:
        return
    listed = ""
    if on_bad != "error":
        rows = _read_rows(bad_videos_file(root))
        found = [(path, f"{TOO_SHORT}: {counted(count, 'frame')}, a window has {needed}") for path, count in short]
        write_bad_files(bad_videos_file(root), sorted({**dict(rows), **dict(found)}.items()))
        listed = f" [{bad_videos_file(root)}]"
    warn(
        f"{len(short)} of {len(videos)} videos are shorter than the {needed} frames of a window and "
        f"are skipped{listed or f' [{root}]'}; see data.context_frames, data.pred_frames, data.frame_skip"
    )


def _read_rows(file: Path) -> list[tuple[str, str]]:
    try:
        text = read_bytes(file).decode("utf-8", "surrogateescape")
        return [(row[0], row[1]) for row in csv.reader(io.StringIO(text, newline="")) if len(row) == 2][1:]
    except (OSError, csv.Error):
        return []


def _absent(root: Path) -> str:
    if root.name.upper().replace("_", "-") in ("UCF-101", "UCF101"):
        return (
            f"no UCF101 found [{root}]; expected {root}/<Class>/v_<Class>_gXX_cYY.avi: extract UCF101.rar there and "
            f"run vidpred prepare ucf101 {root} lists=FOLDER/ucfTrainTestlist, or set data.root"
        )
    return f"no such folder or video [{root}]; set data.root=FOLDER_OF_VIDEOS"


def index_file(root: Path, kind: str = "index") -> Path:
    """Return the path of the index of a folder or a single file: next to it if that is writable, else in the cache.

    Args:
        root: The folder or the file.
        kind: First part of the file's name.
    """
    inside = (root if root.is_dir() else root.parent) / ".vidpred"
    name = f"{kind}-{root.name}.jsonl" if not root.is_dir() else f"{kind}.jsonl"
    if os.access(inside if inside.exists() else inside.parent, os.W_OK) and (inside.is_dir() or not inside.exists()):
        return inside / name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vidpred" / sha256(os.fsencode(root.resolve())).hexdigest()[:16] / name


def load_index(file: Path, header: Any, parse: Callable[[list[str]], dict[str, Entry]]) -> dict[str, Entry]:
    """Return the entries of an index file; none if it is missing, damaged or has another header.

    Args:
        file: The index.
        header: Value of its first line.
        parse: Returns the entries by name for the other lines; raises ValueError, TypeError or ZeroDivisionError for
            damaged ones.
    """
    try:
        first, *lines = read_lines(file) or [""]
        with without_collection():
            return parse(lines) if parse_json(first) == header else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, ZeroDivisionError) as error:
        warn(f"a damaged index ({error}) is made anew [{file}]")
        return {}


def _parsed(lines: list[str]) -> dict[str, VideoInfo]:
    return {info.path: info for info in map(VideoInfo.from_json, lines)}


def _save(root: Path, videos: Mapping[str, VideoInfo], lines: dict[str, str]) -> None:
    """Write the index; `lines` keeps its lines for the next time."""
    lines |= {name: videos[name].to_json() for name in videos.keys() - lines.keys()}
    write_if_possible(index_file(root), with_checksum([json.dumps(VERSION), *(lines[name] for name in sorted(lines))]))


def write_if_possible(file: Path, text: str) -> None:
    """Write a file atomically; an index that cannot be stored is rebuilt next time."""
    with suppress(StorageError):
        write_file(file, text)
