"""Tables for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]], column: int = 0, gap: int = 2) -> list[str]:
    """Return the lines of a table, with the first column aligned left and the others right.

    Args:
        head: The title of every column.
        rows: The cells of every row, one for each title.
        column: Minimum width of the columns after the first.
        gap: Spaces between columns.
    """
    lines = [list(map(str, line)) for line in (head, *rows)]
    widths = [max(len(cell) for cell in cells) for cells in zip(*lines, strict=True)]
    first, others = widths[0], [max(column, width) for width in widths[1:]]
    return [
        (" " * gap).join(
            [line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))]
        )
        for line in lines
    ]


def markdown_table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table that ends with a line break; pipes in cells are escaped."""
    titles = list(head)
    lines: list[Iterable[object]] = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)
