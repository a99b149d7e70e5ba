"""Reading lists of splits: CSV files of path,split as people and spreadsheets write them."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from vidpred.data.splits import FOLDERS, SPLITS
from vidpred.errors import DataError, counted
from vidpred.files import read_bytes

DELIMITER = rf"([,;\t])[ \"]*(?:{'|'.join(FOLDERS)})[ \",;\t\r]*$"  # of a path and its split
HEADS = frozenset({"split", "set", "subset", "partition", "fold"})  # second cell of a header row
NAMED = 3  # rows named in an error
COMPARED = 20_000  # names that are searched for the nearest one


def by_listing(
    listing: Path, names: Iterable[str], unusable: Callable[[], Iterable[str]] = lambda: ()
) -> dict[str, str]:
    """Return the split of each name that a CSV file of path,split lists.

    Byte-order marks, all line endings, spaces, Windows separators and both Unicode forms of accents are accepted. A
    path may lack its suffix or its first folders, or begin with the folders above the source, if it names one file.

    Args:
        listing: The file.
        names: Names of the clips: paths relative to the source.
        unusable: Returns the names of files that are there but are not used, for example because they are damaged.

    Raises:
        DataError: The file cannot be read, has an invalid row, or a row names no clip or several.
    """
    known = Names(names)
    found: dict[str, str] = {}
    unmatched: list[tuple[int, str]] = []
    rows = _rows(listing)
    for number, path, split in rows:
        matches = known.find(path)
        if len(matches) > 1:
            raise DataError(
                f"row {number} names {path}, which fits {matches[0]} and {matches[1]} [{listing}]; write whole paths "
                "relative to the source folder"
            )
        if not matches:
            unmatched.append((number, path))
        elif found.setdefault(matches[0], split) != split:
            raise DataError(f"row {number} gives {path} a second split [{listing}]; keep one of the rows")
    if unmatched:
        others = Names(unusable())
        unmatched = [row for row in unmatched if not (others.find(row[1]) or others.find(_parent(row[1])))]
    if unmatched:
        raise DataError(_unmatched(listing, unmatched, len(rows), known))
    if not found:
        raise DataError(f"the list names no file that can be used [{listing}]; write a row for each file")
    return found


class Names:
    """The names of clips, found by what people write for them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.exact = dict.fromkeys(names)
        self._ends: dict[str, list[str]] | None = None
        self._whole: dict[str, list[str]] = {}

    def find(self, path: str) -> list[str]:
        """Return the names that a path fits; one if it is clear, none for an empty path."""
        if path in self.exact:
            return [path]
        if self._ends is None:
            self._build()
        assert self._ends is not None
        key = _key(path)
        if found := self._whole.get(key) or self._ends.get(key):
            return found
        for tail in _tails(key):  # a path that begins above the source
            if found := self._whole.get(tail):
                return found
        stem = _stem(key)  # clips of arrays have no suffix
        return [name for name in self._whole.get(stem, []) if _key(name) == stem] if stem else []

    def nearest(self, path: str) -> str:
        """Return the most similar name; empty if there is none."""
        keys = {_key(name): name for name in islice(self.exact, COMPARED)}
        ends = {_stem(key.rpartition("/")[2]): name for key, name in keys.items()}
        near = get_close_matches(_key(path), keys, 1)
        near_ends = get_close_matches(_stem(_key(path).rpartition("/")[2]), ends, 1)
        return keys[near[0]] if near else ends[near_ends[0]] if near_ends else ""

    def _build(self) -> None:
        """Index whole names and their ends, each with and without suffix."""
        self._ends = {}
        for name in self.exact:
            key = _key(name)
            for form in dict.fromkeys((key, _stem(key))):
                self._whole.setdefault(form, []).append(name)
                for tail in _tails(form):
                    self._ends.setdefault(tail, []).append(name)


def _key(path: str) -> str:
    """Return a path without the differences that systems and editors make."""
    clean = normalize("NFC", path).strip().replace("\\", "/").casefold()
    return "/".join(part.strip() for part in clean.split("/") if part.strip() not in ("", "."))


def _stem(key: str) -> str:
    """Return a path without suffix."""
    return str(PurePosixPath(key).with_suffix("")) if key else key


def _tails(key: str) -> list[str]:
    """Return "b/c.mp4" and "c.mp4" for "a/b/c.mp4"."""
    parts = key.split("/")
    return ["/".join(parts[first:]) for first in range(1, len(parts))]


def _parent(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[0]


def _decoded(content: bytes) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark or mostly plain letters."""
    for marks, encoding in (
        ((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),
        ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
    ):
        if content.startswith(marks):
            return content.decode(encoding, "replace")
    if 3 * content.count(0) > len(content):  # as PowerShell and Excel write it without a mark
        return content.decode("utf-16-le" if content[1::2].count(0) > content[::2].count(0) else "utf-16-be", "replace")
    return content.decode("utf-8-sig", "surrogateescape")


def _rows(listing: Path) -> list[tuple[int, str, str]]:
    """Return (number of the row, path, split) of all rows.

    Raises:
        DataError: The file cannot be read, or a row is invalid.
    """
    try:
        content = read_bytes(listing)
    except OSError as error:
        raise DataError(f"cannot read the split file [{listing}]: {error.strerror}; see data.split_file") from None
    text = _decoded(content)
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    delimiter = Counter(re.findall(DELIMITER, text, re.IGNORECASE | re.MULTILINE) or ",").most_common(1)[0][0]
    try:
        table = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"not a CSV file ({error}) [{listing}]; write lines of path,{'|'.join(SPLITS)}") from None
    rows = []
    for number, cells in enumerate(table, 1):
        while cells and not cells[-1].strip():
            del cells[-1]
        if not cells or (number == 1 and cells[-1].strip().lower() in HEADS):
            continue
        word = cells[-1].strip().lower()
        split = word if word in SPLITS else FOLDERS.get(word)
        if len(cells) < 2 or split is None:
            raise DataError(f"row {number} is not path,{'|'.join(SPLITS)} [{listing}]")
        rows.append((number, delimiter.join(cells[:-1]), split))  # a name may have commas and no quotes
    return rows


def _unmatched(listing: Path, rows: list[tuple[int, str]], count: int, known: Names) -> str:
    """Describe the rows that name no clip."""
    named = []
    for number, path in rows[:NAMED]:
        nearest = known.nearest(path)
        named.append(f"row {number}: {path.strip()}" + (f" (nearest: {nearest})" if nearest else ""))
    more = f"; and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
    what = f"{len(rows):,} of {counted(count, 'row')} {'names' if count == 1 else 'name'} no file of the source"
    return f"{what} [{listing}]: {'; '.join(named)}{more}; correct or remove; paths are relative to the source folder"
