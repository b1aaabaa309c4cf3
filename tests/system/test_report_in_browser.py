"""The pages in a real browser: no errors, no requests, and everything can be worked by hand."""

import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from commands import make_command
from PIL import Image
from reports import make_scores, write_slices

from acdc_seg.config import load_config
from acdc_seg.report.comparison import write_comparison
from acdc_seg.report.niivue import BUNDLE, VERSION, read_bundle
from acdc_seg.report.paired import rank
from acdc_seg.report.reported import ReportedRun
from acdc_seg.report.run_page import write_run_page

pytestmark = pytest.mark.slow

HISTORY = [{"epoch": epoch, "train_loss": 1 / epoch, "dice": 0.1 * epoch} for epoch in range(1, 9)]
SHOWN = "document.getElementById('viewer').dataset.case"


@pytest.fixture(scope="module")
def niivue(tmp_path_factory):
    """The script of NiiVue: ACDC_NIIVUE, or the package of npm."""
    if given := os.environ.get("ACDC_NIIVUE"):
        return read_bundle(Path(given))
    folder = tmp_path_factory.mktemp("npm")
    pack = ["npm", "pack", "--fetch-retries=0", f"@niivue/niivue@{VERSION}"]
    if not shutil.which("npm") or subprocess.run(pack, cwd=folder, capture_output=True).returncode:
        pytest.skip("no NiiVue: name its niivue.umd.js with ACDC_NIIVUE")
    with tarfile.open(folder / f"niivue-niivue-{VERSION}.tgz") as package:
        package.extract(f"package/dist/{BUNDLE}", folder, filter="data")
    return read_bundle(folder / "package" / "dist" / BUNDLE)


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


def write_volumes(folder, niivue=""):
    """The page of a run on slices of volumes; gives its scores."""
    scores, evidence = make_scores(error=1, volumes=True, folder=folder / "slices")
    write_slices(evidence)
    write_run_page(
        folder,
        load_config(model="unet"),
        run={},
        history=HISTORY,
        content=scores.content,
        evidence=evidence,
        niivue=niivue,
    )
    return scores


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
    slide(page, "phase", 0)
    page.wait(f"{SHOWN} === 'p3_0'")
    title = page.evaluate("document.querySelector('[data-part=title]').textContent")
    assert title.startswith("p3_0 · p3 · ED")


def slide(page, part, value):
    """Moves a slider of the viewer."""
    page.evaluate(
        f"(() => {{ const slider = document.querySelector('#viewer [data-part={part}]');"
        f"slider.value = {value}; slider.dispatchEvent(new Event('input')); }})()"
    )


def test_slider_of_slices_and_arrows_walk_through_a_volume(chromium, tmp_path):
    write_volumes(tmp_path)
    chromium.open(tmp_path / "report.html")
    chromium.wait(f"{SHOWN} === 'p2_1'")
    pictures = set()
    for slice, id in enumerate(("p2_0", "p2_1", "p2_empty")):
        slide(chromium, "slice", slice)
        chromium.wait(f"{SHOWN} === '{id}'")
        pictures.add(canvas(chromium, 1))
        title = chromium.evaluate("document.querySelector('[data-part=title]').textContent")
        assert f"slice {slice + 1} of 3" in title
    assert len(pictures) == 3
    chromium.evaluate("document.getElementById('viewer').focus()")
    chromium.press("ArrowDown")  # the last one stays
    chromium.press("ArrowUp")
    chromium.wait(f"{SHOWN} === 'p2_1'")
    assert chromium.evaluate("document.querySelector('[data-part=slice]').value") == "1"
    assert chromium.problems() == []


def volume_colors(page, path):
    """Numbers of gray and of colored pixels of the screen of NiiVue."""
    time.sleep(0.5)  # it draws in the next frame
    page.evaluate("document.querySelector('#volumes .screen').scrollIntoView()")
    page.screenshot(path, whole=False)
    box = page.evaluate(
        "(() => { const box = document.querySelector('#volumes canvas').getBoundingClientRect();"
        "return [box.x, box.y, box.right, box.bottom]; })()"
    )
    pixels = np.asarray(Image.open(path).convert("RGB").crop(box), np.int16).reshape(-1, 3)
    spread = np.ptp(pixels, axis=1)
    return int(((pixels.max(1) > 40) & (spread < 8)).sum()), int((spread > 60).sum())


def test_niivue_draws_volumes_and_follows_the_viewer(chromium, niivue, tmp_path):
    write_volumes(tmp_path, niivue)
    chromium.events.clear()
    chromium.open(tmp_path / "report.html")
    volume = "document.getElementById('volumes').dataset.volume"
    chromium.wait(f"{volume} === 'p2'")  # the worst
    gray, colored = volume_colors(chromium, tmp_path / "shot.png")
    assert gray > 1000
    assert colored > 5000
    chromium.evaluate("document.querySelector('#volumes [data-part=labels]').click()")
    crosshair = volume_colors(chromium, tmp_path / "shot.png")[1]
    assert crosshair < colored - 2000
    chromium.evaluate("document.querySelector('#volumes [data-part=errors]').click()")
    assert volume_colors(chromium, tmp_path / "shot.png")[1] > crosshair + 300
    chromium.click("table.sortable tr[data-case='p1_0']")
    chromium.wait(f"{volume} === 'p1'")
    chromium.evaluate(
        "(() => { const box = document.querySelector('#volumes select');"
        "box.value = 0; box.dispatchEvent(new Event('change')); })()"
    )
    chromium.wait(f"{volume} === 'p0'")
    names = "[...document.querySelector('#volumes select').options].map((each) => each.text)"
    assert [text.split(" · ")[0] for text in chromium.evaluate(names)] == ["p0", "p1", "p2"]
    assert chromium.problems() == []


def test_a_browser_without_webgl_says_so(chromium, tmp_path):
    write_volumes(tmp_path, "unused")
    chromium.events.clear()
    path = tmp_path / "report.html"
    off = (
        "<script>const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind) {"
        "return kind === 'webgl2' ? null : get.call(this, kind); }</script>"
    )
    start = '<script type="application/json" id="niivue-data">'
    path.write_text(path.read_text().replace(start, off + start))
    chromium.open(path)
    note = "document.querySelector('#volumes [data-part=failure]')"
    chromium.wait(f"!{note}.hidden")
    assert "no WebGL 2" in chromium.evaluate(f"{note}.textContent")
    assert chromium.problems() == []


TINY = ("--epochs", "1", "--device", "cpu", "model.depth=2", "model.base_channels=4")


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return make_command(monkeypatch, capsys)


def train_pets(command, *names):
    """Runs on images of several sizes."""
    command("data", "synthesize", "pets", "--kind", "pets", "--images", "20", "--size", "64")
    settings = ("classes=binary", "data.channels=3", "loss.name=bce", *TINY)
    for seed, name in enumerate(names):
        arguments = ("--data", "pets", "--name", name, f"seed={seed}", *settings)
        assert command("train", *arguments).code == 0


def test_images_of_several_sizes_leave_the_controls_where_they_are(command, chromium, tmp_path):
    train_pets(command, "pets")
    chromium.events.clear()
    chromium.open(tmp_path / "runs" / "pets" / "report.html")
    chromium.wait(f"{SHOWN} !== undefined")
    cases = "JSON.parse(document.getElementById('viewer-data').textContent).cases"
    ids = chromium.evaluate(f"{cases}.map((each) => each.id)")
    sizes, tops = set(), set()
    for id in ids:
        chromium.click(f"table.sortable tr[data-case='{id}']")
        chromium.wait(f"{SHOWN} === '{id}'")
        sizes.add(tuple(chromium.evaluate(f"{cases}.find((each) => each.id === '{id}').size")))
        tops.add(
            chromium.evaluate(
                "document.querySelector('.controls').offsetTop"
                " - document.getElementById('viewer').offsetTop"
            )
        )
    assert len(sizes) > 1
    assert len(tops) == 1
    assert chromium.problems() == []


def test_the_pages_of_an_ensemble(command, chromium, tmp_path):
    train_pets(command, "a", "b")
    assert command("ensemble", "runs/a", "runs/b").code == 0
    assert command("evaluate", "ensembles/ensemble").code == 0
    assert command("report", "ensembles/ensemble", "--out", "scored.html").code == 0
    chromium.events.clear()
    for width in (1200, 390):
        chromium.open(tmp_path / "ensembles" / "ensemble" / "report.html", width=width)
        assert chromium.evaluate("document.querySelector('h1').textContent") == "Ensemble"
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
        chromium.open(tmp_path / "scored.html", width=width)
        chromium.wait(f"{SHOWN} !== undefined")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.problems() == []


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
