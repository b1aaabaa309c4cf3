"""The browser that pages are opened in."""

import pytest
from browser import Browser, install_chromium


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    install_chromium()
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
