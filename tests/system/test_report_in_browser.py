"""The pages in a real browser: no errors, no requests, and everything can be worked by hand."""

import shutil
import subprocess
from pathlib import Path

import browser
import pytest
from browser import Browser
from reports import make_scores

from acdc_seg.config import load_config
from acdc_seg.report.comparison import write_comparison
from acdc_seg.report.paired import rank
from acdc_seg.report.reported import ReportedRun
from acdc_seg.report.run_page import write_run_page

pytestmark = pytest.mark.slow

HISTORY = [{"epoch": epoch, "train_loss": 1 / epoch, "dice": 0.1 * epoch} for epoch in range(1, 9)]
SHOWN = "document.getElementById('viewer').dataset.case"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if browser.CHROMIUM is None:
        install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
        if not shutil.which("apt-get") or subprocess.run(install, capture_output=True).returncode:
            pytest.skip("no chromium, and it cannot be installed: apt-get install chromium")
        browser.CHROMIUM = shutil.which("chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(chromium, tmp_path):
    scores, evidence = make_scores(num_patients=12, error=1)
    write_run_page(
        tmp_path / "unet",
        load_config(model="unet"),
        run={"data": "paired"},
        history=HISTORY,
        content=scores.content,
        evidence=evidence,
    )
    chromium.events.clear()
    chromium.open(tmp_path / "unet" / "report.html")
    chromium.wait(f"{SHOWN} !== undefined")
    chromium.scores = scores
    yield chromium
    assert chromium.problems() == []


def canvas(page, panel):
    """The pixels of a panel as text, to compare."""
    return page.evaluate(f"document.querySelectorAll('#viewer canvas')[{panel}].toDataURL()")


def rows(page, table):
    """Texts of the first cells of the rows that are shown."""
    return page.evaluate(
        f"[...document.querySelectorAll('table.sortable')[{table}].tBodies[0].rows]"
        ".filter((row) => !row.hidden).map((row) => row.cells[0].textContent)"
    )


def test_the_viewer_begins_with_the_worst_and_arrows_go_on(page):
    ranked = sorted((image["id"] for image in page.scores.images), key=page.scores.mean)
    assert page.evaluate(SHOWN) == ranked[0]
    page.evaluate("document.getElementById('viewer').focus()")
    page.press("ArrowRight")
    page.wait(f"{SHOWN} === '{ranked[1]}'")
    page.press("ArrowLeft")
    page.wait(f"{SHOWN} === '{ranked[0]}'")
    page.press("3")
    page.wait(f"{SHOWN} === '{ranked[-2]}'")  # the best; the last one's mask is empty
    page.press("2")
    page.wait(f"{SHOWN} === '{ranked[:-1][len(ranked[:-1]) // 2]}'")


def test_arrows_scroll_the_page_where_the_viewer_has_no_focus(page):
    before = page.evaluate(SHOWN)
    page.evaluate("document.activeElement.blur()")
    page.press("ArrowDown")
    page.press("ArrowRight")
    assert page.evaluate(SHOWN) == before


def test_keys_switch_overlays_and_boxes_follow(page):
    plain = canvas(page, 1)
    states = {}
    for key, name in (("m", "mask"), ("l", "labels"), ("e", "errors"), ("u", "uncertainty")):
        box = f"document.querySelector('[data-part={name}]').checked"
        before = page.evaluate(box)
        page.press(key)
        page.wait(f"{box} === {'false' if before else 'true'}")
        states[key] = canvas(page, 1)
    assert len({plain, *states.values()}) == 5
    image = canvas(page, 0)
    page.press("+")
    assert canvas(page, 1) != states["u"]
    assert canvas(page, 0) == image  # nothing is drawn over the image


def test_slider_of_phases_and_click_on_a_row(page):
    page.click("table.sortable tr[data-case='p3_0']")
    page.wait(f"{SHOWN} === 'p3_0'")
    assert page.evaluate("document.querySelector('tr.current').dataset.case") == "p3_0"
    page.press("p")
    page.wait(f"{SHOWN} === 'p3_1'")
    page.evaluate(
        "(() => { const slider = document.querySelector('[data-part=phase]');"
        "slider.value = 0; slider.dispatchEvent(new Event('input')); })()"
    )
    page.wait(f"{SHOWN} === 'p3_0'")
    title = page.evaluate("document.querySelector('[data-part=title]').textContent")
    assert title.startswith("p3_0 · p3 · ED")


def test_tables_sort_filter_and_show_all(page):
    ids = [image["id"] for image in page.scores.images]
    images = "document.querySelectorAll('table.sortable')[1]"
    assert len(rows(page, 1)) == 20
    page.evaluate(f"{images}.previousElementSibling")
    page.evaluate(f"{images}.tHead.rows[0].cells[0].click()")
    assert rows(page, 1)[:3] == ["p0_0", "p0_1", "p1_0"]
    page.evaluate(f"{images}.tHead.rows[0].cells[0].click()")
    assert rows(page, 1)[0] == "p11_empty"
    mean = f"{images}.tHead.rows[0].cells[3]"
    page.evaluate(f"{mean}.click()")
    assert page.evaluate(f"{mean}.getAttribute('aria-sort')") == "ascending"
    assert rows(page, 1)[0] == min(ids, key=page.scores.mean)
    page.evaluate(
        "(() => { const box = document.querySelectorAll('input[type=search]')[1];"
        "box.value = 'p7 es'; box.dispatchEvent(new Event('input')); })()"
    )
    assert rows(page, 1) == ["p7_1"]
    page.evaluate(
        "(() => { const box = document.querySelectorAll('input[type=search]')[1];"
        "box.value = ''; box.dispatchEvent(new Event('input'));"
        "document.querySelectorAll('.tools button')[1].click(); })()"
    )
    assert len(rows(page, 1)) == len(ids)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_nothing_is_wider_than_the_window(page, tmp_path, width, dark):
    page.open(tmp_path / "unet" / "report.html", width=width, dark=dark)
    page.wait(f"{SHOWN} !== undefined")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
    assert paper == ("rgb(23, 29, 36)" if dark else "rgb(255, 255, 255)")
    page.screenshot(tmp_path / "shot.png")


def test_a_comparison_shows_the_runs_side_by_side(chromium, tmp_path):
    runs, evidence = [], {}
    for name, error in (("a", 0), ("b", 2)):
        scores, pictures = make_scores(name, error=error)
        runs.append(ReportedRun(Path(name), None, {}, HISTORY, scores))
        evidence[Path(name)] = pictures
    write_comparison(tmp_path / "c.html", rank(runs), evidence=evidence)
    chromium.events.clear()
    chromium.open(tmp_path / "c.html")
    chromium.wait(f"{SHOWN} === 'p2_1'")
    assert chromium.evaluate("document.querySelectorAll('#viewer canvas').length") == 3
    assert canvas(chromium, 1) != canvas(chromium, 2)
    assert chromium.problems() == []


def test_a_page_that_asks_for_the_network_is_noticed(page, tmp_path):
    html = (tmp_path / "unet" / "report.html").read_text()
    image = '<img src="https://example.org/a.png">'
    (tmp_path / "bad.html").write_text(html.replace("</main>", f"{image}</main>"))
    page.open(tmp_path / "bad.html")
    page.wait(f"{SHOWN} !== undefined")
    assert any("Content Security Policy" in problem for problem in page.problems())
    page.events.clear()
