"""Articles as one HTML page that asks nothing of the network."""

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ntpscore.errors import OutputError
from ntpscore.extras import need_package
from ntpscore.files import without_nan
from ntpscore.report.blocks import Article, Block, Command, Facts, Figure, Table
from ntpscore.version import VERSION

_DATA = files("ntpscore.report") / "data"
_KINDS = {Table: "table", Figure: "figure", Facts: "facts", Command: "command", str: "text"}


def check_packages() -> None:
    """That what a report is made with is installed.

    Raises:
        OutputError: it is not.
    """
    for package in ("plotly", "jinja2"):
        need_package(package, "report", "a report", OutputError)


def render(articles: Sequence[Article]) -> str:
    """The page: style, plotly.js and data are in it, and its content policy forbids the rest."""
    check_packages()
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["of_kind"] = lambda block, kind: _KINDS[type(block)] == kind
    environment.filters["figure"] = neutral
    environment.filters["runs"] = _in_runs
    scripts = [
        script.replace("</script", "<\\/script") for script in (get_plotlyjs(), _read("report.js"))
    ]
    return environment.from_string(_read("report.html")).render(
        articles=articles, scripts=scripts, style=_read("report.css"), version=VERSION,
        hashes=[_content_hash(script) for script in scripts],
    )  # fmt: skip


def neutral(figure: Figure) -> dict[str, Any]:
    """What plotly is given, with its few tags of HTML and its entities disarmed in all text.

    Templates of hovering are ours alone: what they put in is of the data, disarmed.
    """
    shown = without_nan({"data": figure.data, "layout": figure.layout})
    return {name: _escape(item) for name, item in shown.items()}


def _escape(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _escape(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item, key) for item in value]
    is_text = isinstance(value, str) and key != "hovertemplate"
    return html.escape(value, quote=False) if is_text else value


def _in_runs(blocks: Sequence[Block]) -> list[list[Block]]:
    """Small figures that follow each other, together; all others alone."""
    runs: list[list[Block]] = []
    for block in blocks:
        small = isinstance(block, Figure) and block.is_small
        if small and runs and isinstance(runs[-1][-1], Figure) and runs[-1][-1].is_small:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _read(name: str) -> str:
    return (_DATA / name).read_text(encoding="utf-8")


def _content_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
