"""The only writer of HTML: a self-contained page with embedded images, videos and style."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidpred.files import write_file

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #888; --accent: #d9822b; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; }
.lead { font-size: 1.1rem; color: var(--faint); margin-top: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .8rem 0; }
caption { text-align: left; color: var(--faint); padding-bottom: .4rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.best td { font-weight: 600; }
figure { margin: 1rem 0; }
.side { display: flex; flex-wrap: wrap; gap: 0 1.5rem; }
.side figure { flex: 1 1 24rem; max-width: 40rem; }
img, video { max-width: 100%; height: auto; }
figcaption { color: var(--faint); font-size: .92rem; max-width: 46rem; }
code, pre { font: .9em ui-monospace, monospace; }
pre { overflow-x: auto; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: 6px; }
footer { margin-top: 3rem; color: var(--faint); font-size: .85rem; }
"""
KINDS = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}


@dataclass
class Page:
    """A page built from top to bottom and written by `write`. All texts are escaped."""

    title: str
    lead: str = ""
    body: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Add a heading to the end of the page."""
        self.body.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph of plain text to the end of the page."""
        self.body.append(f"<p>{html.escape(text)}</p>")

    def code(self, text: str) -> None:
        """Add a block of code."""
        self.body.append(f"<pre><code>{html.escape(text)}</code></pre>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
        """Add a table, whose rows have one cell for each of the head; the first column names the row."""
        assert all(len(row) == len(head) for row in rows)
        titles = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
        lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
        self.body.append(
            f'<div class="scroll"><table>{title}<thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'
        )

    def image(self, file: Path, caption: str) -> None:
        """Embed a .png, .gif or .mp4 file with a caption; the page then needs no other file."""
        kind = KINDS[file.suffix.lower()]
        source = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
        text = html.escape(caption, quote=True)
        if kind == "video/mp4":
            tag = f'<video src="{source}" aria-label="{text}" autoplay loop muted playsinline controls></video>'
        else:
            tag = f'<img src="{source}" alt="{text}">'
        self.body.append(f"<figure>{tag}<figcaption>{text}</figcaption></figure>")

    def side_by_side(self, images: Sequence[tuple[Path, str]]) -> None:
        """Embed several images, (file, caption), next to each other where there is room."""
        first = len(self.body)
        for file, caption in images:
            self.image(file, caption)
        self.body[first:] = [f'<div class="side">{"".join(self.body[first:])}</div>']

    def write(self, path: Path, footer: str) -> None:
        """Write the page to a file atomically, with a footer. Raises StorageError."""
        lead = f'<p class="lead">{html.escape(self.lead)}</p>' if self.lead else ""
        text = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head><body>"
            f"<h1>{html.escape(self.title)}</h1>{lead}\n" + "\n".join(self.body)
            + f"\n<footer>{html.escape(footer)}</footer></body></html>\n"
        )  # fmt: skip
        write_file(path, text)
