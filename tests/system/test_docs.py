"""Documents name files and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "data/README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
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
