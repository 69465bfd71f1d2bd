"""Reports as Chromium shows them: `make test-browser`; its pictures stay in build/browser."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ntpscore.report.write import write_report
from tests.support.browser import chromium, find_browser, open_page, run
from tests.support.paths import ROOT
from tests.support.reports import SCRIPT, make_folders

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="there is no chromium with chromedriver"),
    # Selenium leaves a socket to be closed by the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
KINDS = ("score", "multilabel", "rank", "adapt", "study", "all")
PICTURES = ROOT / "build" / "browser"
# A figure that is drawn has marks: points, lines, bars, or the picture of a heat map.
MARKS = ".point, .points path, .js-line, .heatmaplayer image, .bars path"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = make_folders(tmp_path_factory.mktemp("results"))
    out = tmp_path_factory.mktemp("pages")
    made = {kind: write_report([folder], out / f"{kind}.html") for kind, folder in folders.items()}
    return made | {"all": write_report(list(folders.values()), out / "all.html")}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Chrome]":
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


def take_picture(browser: "Chrome", name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    width, height = run(browser, "[innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 12_000), "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def messages(browser: "Chrome") -> list[str]:
    return [one["message"] for one in browser.get_log("browser")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_drawn_in_its_place(
    browser: "Chrome", pages: dict[str, Path], kind: str, width: int, scheme: str
) -> None:
    open_page(browser, pages[kind], width=width, scheme=scheme)
    assert messages(browser) == []
    take_picture(browser, f"{kind}-{width}-{scheme}")
    plots, empty = run(
        browser,
        "(() => { const all = [...document.querySelectorAll('.plot')];"
        f"return [all.length, all.filter((p) => !p.querySelector('{MARKS}'))"
        ".map((p) => p.getAttribute('aria-label'))]; })()",
    )
    assert plots >= 3
    assert empty == []
    # Nothing is wider than the page.
    assert run(browser, "document.documentElement.scrollWidth") <= width
    assert run(browser, "performance.getEntriesByType('resource').length") == 0


def test_markup_in_data_is_shown_as_text(browser: "Chrome", pages: dict[str, Path]) -> None:
    open_page(browser, pages["all"])
    assert run(browser, "document.querySelectorAll('img, iframe, .plot a').length") == 0
    ticks = run(
        browser, "[...document.querySelectorAll('.ytick text')].map((one) => one.textContent)"
    )
    assert SCRIPT in ticks
    assert any(tick.startswith("<b>x</b> &amp; %{y}") for tick in ticks)
    bold = "[...document.querySelectorAll('tspan')].filter((t) => t.style.fontWeight).length"
    assert run(browser, bold) == 0
    assert SCRIPT in run(browser, "document.querySelector('h2').textContent")


@pytest.mark.parametrize(
    ("kind", "figure", "words"),
    [
        ("score", "Which class is taken", f"true: {SCRIPT}"),
        ("score", "retained", "shuffled"),
        ("rank", "Accuracy by seconds", "accuracy: 70.0%"),
        ("adapt", "Accuracy, with", "80.0%"),
        ("study", "m: retained", "layer"),
    ],
)
def test_hovering_tells_the_value(
    browser: "Chrome", pages: dict[str, Path], kind: str, figure: str, words: str
) -> None:
    open_page(browser, pages[kind])
    plots = "[...document.querySelectorAll('.plot')]"
    find = f"{plots}.find((p) => p.ariaLabel.startsWith('{figure}'))"
    box = run(
        browser,
        f"(() => {{ const p = {find}; p.scrollIntoView({{behavior: 'instant', block: 'center'}});"
        "const m = p.querySelector('.point, .heatmaplayer image').getBoundingClientRect();"
        "const isHeat = m.width > 40;"
        "return [m.x + (isHeat ? 8 : m.width / 2), m.y + (isHeat ? 8 : m.height / 2)]; })()",
    )
    for step in (3, 0):
        browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent", {"type": "mouseMoved", "x": box[0] + step, "y": box[1]}
        )
    layer = f"{find}.querySelector('.hoverlayer')"
    for _ in range(50):  # it comes with the next frame
        if run(browser, f"{layer}.childElementCount"):
            break
    told = run(browser, f"{layer}.textContent")
    assert words in told
    assert messages(browser) == []


def test_colours_follow_the_scheme_and_print_is_light(
    browser: "Chrome", pages: dict[str, Path]
) -> None:
    text = "document.querySelector('.ytick text').style.fill"
    open_page(browser, pages["score"], scheme="light")
    light = run(browser, text), run(browser, "getComputedStyle(document.body).backgroundColor")
    open_page(browser, pages["score"], scheme="dark")
    dark = run(browser, text), run(browser, "getComputedStyle(document.body).backgroundColor")
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    run(browser, "dispatchEvent(new Event('beforeprint'))")
    assert run(browser, text) == light[0]
    assert run(browser, "document.querySelector('.plot').clientWidth") <= 700
    run(browser, "dispatchEvent(new Event('afterprint'))")
    assert run(browser, text) == dark[0]
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    (PICTURES / "score.pdf").write_bytes(content)


def test_the_keyboard_reaches_every_link_table_and_command(
    browser: "Chrome", pages: dict[str, Path]
) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(browser, pages["rank"])
    body = browser.find_element("tag name", "body")
    reached = []
    for _ in range(60):
        (browser.switch_to.active_element if reached else body).send_keys(Keys.TAB)
        name = run(browser, "document.activeElement.className || document.activeElement.tagName")
        if name == "BODY":
            break
        reached.append(name)
    assert reached[0] == "skip"
    wanted = "a, summary, .scroll, pre"
    there = run(
        browser,
        f"[...document.querySelectorAll('{wanted}')].filter((e) => e.checkVisibility()).length",
    )
    assert len(reached) == there > 10
    summary = browser.find_element("tag name", "summary")
    summary.send_keys(Keys.ENTER)
    assert run(browser, "document.querySelector('details').open")
    assert run(browser, "document.querySelector('details table').checkVisibility()")
