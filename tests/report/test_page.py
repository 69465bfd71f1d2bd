"""The page as a file: what is in it, what is not, and that data stays text."""

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from ntpscore.errors import OutputError
from ntpscore.report import page
from ntpscore.report.write import write_report
from tests.support.reports import LABELS, SCRIPT, make_folders

_DATA = Path(page.__file__).parent / "data"


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts.append((self.tags[-1][1], data))
        else:
            self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_folders(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def written(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    path = write_report(list(folders.values()), tmp_path_factory.mktemp("page") / "all.html")
    return Parsed(path.read_text(encoding="utf-8"))


def test_nothing_outside_is_named_and_the_policy_lets_nothing_in(written: Parsed) -> None:
    for _, attributes in written.tags:
        assert "src" not in attributes
        assert re.match(r"#r?\w|data:,$", attributes.get("href") or "#main")
        assert not [name for name in attributes if name.startswith("on")]
    assert {tag for tag, _ in written.tags}.isdisjoint({"img", "iframe", "object", "form", "b"})
    (policy,) = [one["content"] for one in written.all("meta") if "http-equiv" in one]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    allowed = re.findall(r"'(sha256-[^']+)'", policy)
    run = ["".join(t for a, t in written.scripts if a is kind) for kind in
           [a for a in written.all("script") if "type" not in a]]  # fmt: skip
    assert len(run) == 2
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in run]
    assert allowed == [f"sha256-{one}" for one in hashes]
    assert "plotly.js" in run[0][:200]
    assert "connect-src" not in policy  # falls back to none
    assert "unsafe-eval" not in policy


def test_data_is_shown_as_text(written: Parsed) -> None:
    assert written.text.count(SCRIPT) > 20
    assert "\u2028" not in written.text
    shown = [text for attributes, text in written.scripts if "type" in attributes]
    assert len(shown) > 20
    ticks = set()
    for text in shown:
        assert not set("<>\u2028") & set(text)
        figure = json.loads(text)
        for key, value in leaves(figure):
            assert "<" not in value or key == "hovertemplate"
            if key == "ticktext":
                ticks.add(value)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in ticks
    assert any(tick.startswith("&lt;b&gt;x&lt;/b&gt; &amp;amp; %{y}") for tick in ticks)


def leaves(value: object, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [leaf for name, one in value.items() for leaf in leaves(one, name)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one, key)]
    return [(key, value)] if isinstance(value, str) else []


def test_no_template_of_hovering_holds_a_text_of_the_data(written: Parsed) -> None:
    templates = {
        value
        for attributes, text in written.scripts
        if "type" in attributes
        for key, value in leaves(json.loads(text))
        if key == "hovertemplate"
    }
    assert templates
    for template in templates:
        assert not [label for label in LABELS if label[:6] in template]
        assert template.endswith("<extra></extra>")


def test_headings_are_in_order_and_every_figure_has_words_and_a_table(written: Parsed) -> None:
    levels = [int(tag[1]) for tag, _ in written.tags if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert levels.count(2) == 5
    assert all(next_ - level <= 1 for level, next_ in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(written.all(landmark)) == 1
    plots = [one for one in written.all("div") if one.get("class") == "plot"]
    assert len(plots) == len(written.all("figcaption")) == len(written.all("details")) > 20
    for plot in plots:
        assert plot["role"] == "img"
        assert len(plot["aria-label"] or "") > 30
    ids = [one["id"] for _, one in written.tags if "id" in one]
    assert len(ids) == len(set(ids))
    for one in written.all("a"):
        assert (one["href"] or "")[1:] in ids
    assert written.all("html") == [{"lang": "en"}]
    assert len(written.all("caption")) == len(written.all("table"))


def _contrast(one: str, other: str) -> float:
    """Of WCAG 2.2, from relative luminances."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_are_told_apart_from_their_ground(scheme: int) -> None:
    style = (_DATA / "report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", style)
    assert len(blocks) == 2
    colours = dict(re.findall(r"(--[\w-]+): (#\w{6})", blocks[scheme]))
    for ground in ("--page", "--panel"):
        for text in ("--text", "--muted", "--link"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for i in range(1, 7):
        assert _contrast(colours[f"--series-{i}"], colours["--page"]) >= 3


def test_what_is_missing_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(OutputError, match=r"package plotly: pip install 'ntpscore\[report\]'"):
        page.check_packages()
