"""The tour of the docs shows the commands of its script, all of which exist."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import typer

import vidpred
from benchmarks.tour import ASSETS, PAGE, WALKS, renewed, trimmed
from vidpred.commands.app import app
from vidpred.config import find_preset, load_config

CHECKOUT = Path(__file__).parents[1]
STEPS = [step for steps in WALKS.values() for step in steps]
TEXT = (CHECKOUT / PAGE).read_text()


def test_the_page_shows_the_script(tmp_path: Path) -> None:
    """Write it again with `python -m benchmarks.tour`, if this fails."""
    shown = re.findall(r"^```(?:bash|python)\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL)
    assert shown == [textwrap.dedent(step.command).strip() for step in STEPS]
    images = re.findall(r"!\[.*?\]\(\.\./assets/tour/(.*?)\)", TEXT)
    assert images == [f"{Path(file).stem}.webp" for step in STEPS for file in step.images]
    assert {file.name for file in (CHECKOUT / ASSETS).iterdir()} == set(images)
    assert sum(file.stat().st_size for file in (CHECKOUT / ASSETS).parent.rglob("*")) < 1_500_000
    assert not re.search(r"/(?:tmp|home|root|work|usr)/|\d%\|", TEXT), "paths of a machine, progress bars"


@pytest.mark.parametrize("command", [step.command for step in STEPS if not step.is_python])
def test_commands_exist(command: str) -> None:
    words = shlex.split(command)
    _, verb, *words = words[words.index("vidpred") :]
    known = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    options = {option for parameter in known.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options
    if verb == "train":
        find_preset(words[0])
        load_config(words[0], [word for word in words[1:] if "=" in word])


@pytest.mark.parametrize("code", [step.command for step in STEPS if step.is_python])
def test_python_uses_public_names(code: str) -> None:
    for node in ast.walk(ast.parse(textwrap.dedent(code))):
        if isinstance(node, ast.ImportFrom) and node.module == "vidpred":
            assert {name.name for name in node.names} <= set(vidpred.__all__)


def test_sections_can_be_renewed_alone() -> None:
    chosen = [step for step in STEPS if "doctor" in step.command]
    page = renewed(TEXT, {step: f"{step.text}\n\n```bash\nanother\n```\n" for step in chosen})
    shown = re.findall(r"^```(?:bash|python)\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)
    assert shown == ["another" if step in chosen else textwrap.dedent(step.command).strip() for step in STEPS]
    assert "vidpred doctor runs" not in page


def test_outputs_are_cut_with_marks(tmp_path: Path) -> None:
    lines = trimmed("\n".join([f"{tmp_path}/a", "x" * 200, " 5%|#| 1/20 [00:01]", *map(str, range(100))]), tmp_path)
    assert lines.startswith(f"a\n{'x' * 169}…\n0\n")
    assert "[73 lines left out]" in lines
    assert lines.endswith("\n99")
