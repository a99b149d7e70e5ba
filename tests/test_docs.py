"""The documentation site builds without warnings, and its generated pages match the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vidpred
from benchmarks.reference_pages import pages
from vidpred.commands.app import app

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=CHECKOUT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "WARNING" not in done.stderr
    return site


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("cli", ["vidpred predict", "--after-end", "vidpred prepare", "default"]),
        ("metrics", ["psnr_moving", "openstl_ssim", "frechet", "--fvd"]),
        ("exit-codes", ["ConfigError", "StoppedError", "75"]),
        ("presets", ["motion.yaml", "stylegan.yaml"]),
        ("python", ["Predictor", "WorldModel", "load_config"]),
        ("settings", ["data.root", "training.steps"]),
    ],
)
def test_reference_pages(site: Path, page: str, words: list[str]) -> None:
    text = (site / "reference" / f"{page}.html").read_text()
    for word in words:
        assert word in text


@pytest.mark.parametrize("name", pages())
def test_generated_pages_are_current(name: str) -> None:
    """Write them again with `python -m benchmarks.reference_pages`."""
    assert (CHECKOUT / "docs/reference" / name).read_text(encoding="utf-8") == pages()[name]


def test_metrics_page_states_what_is_better() -> None:
    text = pages()["metrics.md"]
    better = {
        row.split(" | ")[0]: row.split(" | ")[-1].rstrip(" |") for row in text.splitlines() if row.startswith("| `")
    }
    assert [better[f"| `{name}`"] for name in ("psnr", "energy", "energy_moving", "warp_error", "patches")] == [
        "higher", "nearer to 1", "nearer to 1", "nearer to 1", "lower",
    ]  # fmt: skip
    assert "`--feature-distance`" in text
    assert "at most 20,000 training images" in text


def test_extras_are_installed_from_the_source_tree() -> None:
    """No package index has vidpred; the quickstart lists every extra that users may need."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    quickstart = (CHECKOUT / "docs/guide/quickstart.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", quickstart, re.MULTILINE)) == set(extras) - {"dev", "docs", "bench"}
    folders = ("docs", "vidpred", "data_prep", "demos", "benchmarks", "configs")
    files = [
        file for folder in folders for file in (CHECKOUT / folder).rglob("*") if file.suffix in (".md", ".py", ".yaml")
    ]
    for file in [*files, *CHECKOUT.glob("*.md")]:
        assert not re.search(r"install [\"']?vidpred\b", file.read_text(encoding="utf-8")), file


def test_pages_need_no_other_site(site: Path) -> None:
    text = (site / "index.html").read_text()
    assert "fonts.googleapis.com" not in text


def test_public_names_load() -> None:
    for name in vidpred.__all__:
        assert getattr(vidpred, name) is not None


def test_pages_name_settings_that_exist() -> None:
    known = (CHECKOUT / "docs" / "reference" / "settings.md").read_text()
    pages = [CHECKOUT / "README.md", *(path for path in (CHECKOUT / "docs").rglob("*.md") if path.stem != "changelog")]
    setting = re.compile(r"(?<![\w./])(?:data|objective|training|checkpoint)\.[a-z_.]+[a-z](?=[=:` ])")
    for page in pages:
        for name in setting.findall(page.read_text()):
            assert f"`{name}" in known, f"{page.name} names {name}"


def test_tests_named_in_the_notes_exist() -> None:
    text = (CHECKOUT / "docs/notes/input.md").read_text(encoding="utf-8")
    names = re.findall(r"`(\w+/test_\w+\.py)`", text)
    assert len(names) > 10
    assert [name for name in names if not (CHECKOUT / "tests" / name).is_file()] == []


def modules(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__"}


def test_the_architecture_names_every_module_and_no_other() -> None:
    package = CHECKOUT / "vidpred"
    lines = (CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| `")]
    first: set[str] = set()
    listed: dict[str, tuple[list[str], set[str]]] = {}
    for places, text in rows:
        names = re.findall("`([^`]+)`", places)
        first |= set(names)
        inner = [
            names[0] + folder for folder in re.findall("`([^`]+/)`", text) if (package / names[0] / folder).is_dir()
        ]
        folders = [name for name in names if name.endswith("/")] + inner
        listed |= {folder: (folders, set(re.findall("`([a-z_0-9]+)`", text))) for folder in folders}
    assert {name for name in first if not name.endswith("/")} == modules(package)
    inside = {file.parent.relative_to(package).as_posix() for file in package.rglob("[!_]*.py")} - {"."}
    assert set(listed) == {f"{folder}/" for folder in inside}
    verbs = {command.callback.__name__ for command in app.registered_commands if command.callback}
    for folders, named in listed.values():
        expected = set().union(*(modules(package / folder) for folder in folders))
        assert (expected - named, named - expected - verbs) == (set(), set()), folders
