"""The site of the documentation is complete, and needs nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import ntpscore
from ntpscore.cli.main import app
from tests.support.documentation import PAGES
from tests.support.paths import ROOT

# What a browser loads by itself, but for a link to click on.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^\s"'>]+"""
    r"""|<link\b(?![^>]*\brel=["']?canonical)[^>]*\bhref=["']?(?:https?:)?//[^\s"'>]+"""
)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_site_builds_strictly_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert {page.name: LOADED.findall(page.read_text(encoding="utf-8")) for page in pages} == {
        page.name: [] for page in pages
    }


@pytest.mark.slow
def test_reference_has_every_public_name(site: Path) -> None:
    reference = (site / "reference" / "ntpscore.html").read_text(encoding="utf-8")
    for name in set(ntpscore.__all__) - {"__version__"}:
        assert f'id="ntpscore.{name}"' in reference


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_with_its_options(name: str, site: Path) -> None:
    page = (site / "commands" / f"{name}.html").read_text(encoding="utf-8")
    below = getattr(COMMANDS[name], "commands", {name: COMMANDS[name]})
    flags = {flag for command in below.values() for p in command.params for flag in p.opts
             if flag.startswith("--")}  # fmt: skip
    assert {flag for flag in flags if f"<code>{flag}</code>" not in page} == set()


@pytest.mark.parametrize(
    ("text", "loads"),
    [
        ('<script src="https://cdn.example/a.js"></script>', True),
        ("<link rel=stylesheet href=//fonts.example/a.css>", True),
        ('<a href="https://arxiv.org/abs/2505.17169">paper</a>', False),
        ('<link href="assets/site.css" rel="stylesheet">', False),
    ],
)
def test_what_a_browser_loads_is_found(text: str, loads: bool) -> None:
    assert bool(LOADED.findall(text)) == loads


def test_navigation_names_every_written_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    written = {page.name for page in (ROOT / "docs").glob("*.md")}
    written |= {f"notebooks/{path.stem}.md" for path in (ROOT / "docs").rglob("*.ipynb")}
    assert {name for name in written if name not in navigation} == set()
