"""Hooks of mkdocs.yml: pages that are made at build time, and links out of docs/.

The documents are written for the repository, where they link to files beside docs/. Those become
pages of the site, or files of it.
"""

import logging
import os
import posixpath
import re
from pathlib import Path
from typing import Any

import docs_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[1]
ADOPTED = {
    "data/README.md": "data.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "acdc_seg/weights/README.md": "weights.md",
    "acdc_seg/diagnosis/features.md": "features.md",
}
"""Documents outside docs/, and the pages of the site that they become."""
GENERATED = {
    "reference/commands.md": docs_reference.commands_page,
    "reference/settings.md": docs_reference.settings_page,
}
NOTEBOOK, NOTEBOOK_PAGE = "tutorials/tutorial.ipynb", "tutorials/notebook.md"
LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
logger = logging.getLogger("mkdocs.plugins.docs_site")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors as GitHub makes them, so that a link works in both."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not written in docs/."""
    for source, page in ADOPTED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for page, make in GENERATED.items():
        files.append(File.generated(config, page, content=make()))
    text, pictures = docs_reference.notebook_page(ROOT / "docs" / NOTEBOOK)
    files.append(File.generated(config, NOTEBOOK_PAGE, content=text))
    for name, content in pictures.items():
        place = posixpath.join(posixpath.dirname(NOTEBOOK_PAGE), name)
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(
    markdown: str, *, page: Page, config: MkDocsConfig, files: Files, **_: Any
) -> str:
    """Turns links between files of the repository into links between files of the site."""
    own = page.file.src_uri
    sources = {target: source for source, target in ADOPTED.items()}
    source = sources.get(own, f"docs/{own}")

    def rewrite(match: re.Match[str]) -> str:
        start, link, end = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        target = _site_path(path, config, files)
        if target is None:
            return match.group()
        return start + os.path.relpath(target, posixpath.dirname(own) or ".") + end

    return LINK.sub(rewrite, markdown)


def _site_path(path: str, config: MkDocsConfig, files: Files) -> str | None:
    """Where a path of the repository is on the site; a file of neither is copied there."""
    if path in ADOPTED:
        return ADOPTED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    source = ROOT / path
    if path.startswith("..") or not source.is_file():
        return None  # MkDocs says what is wrong with it
    copy = f"files/{path}"
    if files.get_file_from_path(copy) is None:
        files.append(File.generated(config, copy, abs_src_path=str(source)))
    return copy
