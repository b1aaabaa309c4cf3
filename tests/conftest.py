"""Small synthetic hearts that many tests share."""

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hearts import Heart, make_heart, tiny_settings, write_image, write_paired_folder
from hypothesis import settings
from scenes import write_scenes

from acdc_seg.config import Config

os.environ["COLUMNS"] = "200"  # read once, when rich's consoles are made
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")


@pytest.fixture
def hearts() -> list[Heart]:
    return [make_heart(seed) for seed in range(8)]


@pytest.fixture
def write_png() -> Callable[[Path, np.ndarray], Path]:
    """Writes a grey or RGB array, making the folder."""
    return write_image


@pytest.fixture
def paired_folder(tmp_path: Path) -> Path:
    """Eight hearts of four patients: four images to train on, two to validate, two to test."""
    return write_paired_folder(tmp_path / "hearts")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Ten pictures of five patients that differ more than hearts: three train, one validates, one
    tests.
    """
    return write_scenes(tmp_path / "Herz 1")


@pytest.fixture
def tiny_config(paired_folder: Path, tmp_path: Path) -> Config:
    """A tiny U-Net for two epochs of two batches in fp32 on the CPU."""
    return tiny_settings(paired_folder, tmp_path / "runs")


class _Capabilities(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@pytest.fixture
def under_permissions() -> Iterator[None]:
    """Lets permissions of files hold for root too, who otherwise writes everywhere: two Linux
    capabilities are put aside.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the structure, this thread
    capabilities = (_Capabilities * 2)()
    assert libc.capget(header, capabilities) == 0
    effective = capabilities[0].effective
    capabilities[0].effective = effective & ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.capset(header, capabilities) == 0
    yield
    capabilities[0].effective = effective
    assert libc.capset(header, capabilities) == 0
