"""The site of the documents: it builds without warnings, every link leads somewhere, it can be
searched, and it loads nothing from elsewhere.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import typer
import yaml
from documents import ROOT, app_of
from mkdocs.commands.build import build
from mkdocs.config import load_config

from acdc_seg.config import MODEL_SECTIONS, Config, Section

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Document(HTMLParser):
    """Links, anchors, and files that are loaded, of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors.update(values[key] for key in ("id", "name") if key in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel") != "canonical":
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


@pytest.fixture(scope="module")
def documents(site) -> dict[Path, Document]:
    """All pages of the site."""
    return {path.resolve(): Document(path) for path in site.rglob("*.html")}


def find_target(page: Path, link: str) -> tuple[Path, str]:
    """File and anchor that a link of a page leads to."""
    path, anchor = urldefrag(link)
    target = (page.parent / unquote(path)).resolve() if path else page
    return (target / "index.html" if target.is_dir() else target), unquote(anchor)


def test_every_link_leads_to_a_file_and_an_anchor(documents):
    dead, checked = [], 0
    for page, document in documents.items():
        if page.name == "404.html":  # its links are those of a server
            continue
        for link in document.links + document.loaded:
            if urlsplit(link).scheme:
                continue
            target, anchor = find_target(page, link)
            checked += 1
            anchors = documents[target].anchors if target in documents else {""}
            if not target.is_file() or (anchor and anchor not in anchors):
                dead.append(f"{page.name}: {link}")
    assert dead == []
    assert checked > 1000


def test_nothing_is_loaded_from_elsewhere(site, documents):
    loaded = [link for document in documents.values() for link in document.loaded]
    assert [link for link in loaded if urlsplit(link).netloc] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//", styles) == []
    assert "mermaid" not in {  # its script would be loaded from elsewhere
        anchor for document in documents.values() for anchor in document.anchors
    }


def test_the_index_finds_settings_and_pages(site):
    script = (site / "search/search_index.js").read_text(encoding="utf-8")
    index = json.loads(script[script.index("{") : script.rindex("}") + 1])
    texts = {entry["location"]: entry["title"] + entry["text"] for entry in index["docs"]}
    assert any("data.patient_rule" in text for text in texts.values())
    pages = {location.partition("#")[0] for location in texts}
    written = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert written - pages == {"404.html"}


def test_every_setting_has_an_anchor_and_its_default(site, documents):
    page = (site / "reference/settings.html").resolve()
    expected = {f"{name}.model.{key}" for name, key in _options_of_networks()}
    for name, field in Config.model_fields.items():
        if isinstance(field.default, Section) and name != "model":
            expected |= {f"{name}.{key}" for key in type(field.default).model_fields}
    assert len(expected) > 100
    assert expected - documents[page].anchors == set()
    text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    assert "Number of resolution levels; 5 means four times halved." in text
    assert "integer ≥ 1, ≤ 6; default 5" in text


def _options_of_networks() -> list[tuple[str, str]]:
    return [
        (name, key)
        for name, section in MODEL_SECTIONS.items()
        for key in section.model_fields
        if key != "name"
    ]


@pytest.mark.parametrize("name", ["train", "data", "predict", "experiment"])
def test_every_option_of_a_command_is_on_its_page(site, name):
    text = (site / "reference/commands.html").read_text(encoding="utf-8")
    command = typer.main.get_command(app_of(name))
    commands = getattr(command, "commands", {"": command})
    for subcommand, parsed in commands.items():
        assert f"acdc-{name} {subcommand}".strip() in text
        names = [name for parameter in parsed.params for name in parameter.opts]
        missing = [name for name in names if name.startswith("--") and name not in text]
        assert missing == []


def test_the_python_functions_are_described(site):
    text = (site / "reference/python.html").read_text(encoding="utf-8")
    for words in ("Scores a predictor on a split", "allow_seen", "write_submission", "ConfigError"):
        assert words in text
    assert "Parameters:" in text


def test_every_document_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r": ([\w/]+\.md)$", text, re.MULTILINE))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert written - listed == set(), "add these pages to nav in mkdocs.yml"
    assert yaml.safe_load(text)["theme"]["font"] is False


def test_the_workflow_builds_the_site_and_keeps_it():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    steps = jobs["docs"]["steps"]
    assert any("mkdocs build --strict" in step.get("run", "") for step in steps)
    kept = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert kept == ["build/site/"]


@pytest.mark.slow
def test_the_site_is_searched_from_disk(chromium, site):
    chromium.events.clear()
    chromium.open(site / "index.html")
    chromium.wait("document.querySelector('[data-md-component=search-query]') !== null")
    chromium.evaluate(
        "(() => { const field = document.querySelector('[data-md-component=search-query]');"
        "field.focus(); field.value = 'grad_accum_steps';"
        "field.dispatchEvent(new Event('keyup', { bubbles: true })); })()"
    )
    found = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    chromium.wait(f"{found}.some(link => link.includes('reference/settings.html'))")
    assert chromium.problems() == []


@pytest.mark.slow
def test_no_page_is_wider_than_a_phone(chromium, site):
    chromium.events.clear()
    wide = []
    for path in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # its links are a server's
        chromium.open(path, width=390, height=844)
        if chromium.evaluate("document.documentElement.scrollWidth") > 390:
            wide.append(path.name)
    assert wide == []
    assert chromium.problems() == []
