"""Documents name files and tests that exist, and commands that can be typed."""

import functools
import re
from pathlib import Path

import pytest
from commands import MAIN, make_command
from documents import PAGES, ROOT, app_of, find_commands, option_names

from acdc_seg.config import load_config

OF_OTHER_PACKAGES = {ROOT / "CHANGELOG.md", ROOT / "docs/adding.md"}
"""Their commands are those of earlier versions, and of a changed package (test_adding.py)."""
PAGES_WITH_COMMANDS = [page for page in PAGES if page not in OF_OTHER_PACKAGES]


def page_name(page: Path) -> str:
    """Name of a page for pytest."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_tests_of_the_reliability_page_exist():
    missing = []
    for row in (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines():
        source = ""
        for name in re.findall(r"`([^`]+)`", row.rpartition(" | ")[2]):
            if name.endswith(".py"):
                paths = [ROOT / "tests" / name, ROOT / name]
                source = "".join(path.read_text() for path in paths if path.is_file())
                missing += [] if source else [name]
            elif name.startswith("test_"):
                pattern = re.escape(name).replace(r"\.\.\.", r"\w*")
                missing += [] if re.search(rf"def {pattern}\(", source) else [name]
    assert missing == []


def test_the_files_of_the_architecture_page_exist():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "acdc_seg").rglob("*.py")} | {
        "NAME.py",
        "test_layers.py",
    }
    assert set(re.findall(r"\w+\.py", page)) - files == set()


@pytest.fixture
def parse(monkeypatch, capsys):
    """Parses a command line as its command does; the options that it would work with are in
    `parse.options`.
    """
    call = make_command(monkeypatch, capsys)
    call.options = []
    for name in MAIN:
        for info in app_of(name).registered_commands:
            idle = functools.wraps(info.callback)(lambda **options: call.options.append(options))
            monkeypatch.setattr(info, "callback", idle)
    return call


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=page_name)
def test_commands_of_code_blocks_parse(page, parse):
    refused = []
    for line in find_commands(page):
        if line.is_whole:
            outcome = parse(line.words[0].removeprefix("acdc-"), *line.words[1:])
            refused += [f"{line}: {outcome.err}"] if outcome.code else []
    assert refused == []


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=page_name)
def test_options_in_texts_exist(page):
    unknown = []
    for line in find_commands(page):
        options = {word.partition("=")[0] for word in line.words if word.startswith("--")}
        unknown += [f"{line}: {name}" for name in options - option_names(line)]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=page_name)
def test_settings_of_trainings_are_accepted(page, parse):
    for line in find_commands(page):
        if line.is_whole and line.words[0] == "acdc-train":
            parse("train", *line.words[1:])
    for options in parse.options:
        words = [word for word in options["overrides"] or () if not word.endswith(".yaml")]
        load_config(model=options["model"], overrides=words)  # refuses what is unknown


def test_commands_that_are_wrong_are_noticed(tmp_path, parse):
    page = tmp_path / "page.md"
    page.write_text("```bash\nacdc-tune \\\n  --trails 3  # many\n```\n`acdc-data info\n--jsn`\n")
    block, text = find_commands(page)
    assert (block.words, block.is_whole) == (["acdc-tune", "--trails", "3"], True)
    outcome = parse("tune", *block.words[1:])
    assert outcome.code == 2
    assert "--trials" in outcome.err
    assert "--trails" not in option_names(block)
    assert "--json" in option_names(text)
