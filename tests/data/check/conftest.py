"""Data sets that a test breaks in one place."""

from pathlib import Path

import pytest

from acdc_seg.data.phantom.patients import synthesize


@pytest.fixture(scope="session")
def pristine_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ACDC tree of three patients to train on and one to test."""
    root = tmp_path_factory.mktemp("tree") / "hearts"
    synthesize(root, num_patients=3, num_test_patients=1, seed=1)
    return root
