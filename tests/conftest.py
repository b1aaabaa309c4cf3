"""Small synthetic hearts that many tests share."""

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import settings

from acdc_seg.config import Config, load_config

os.environ["COLUMNS"] = "200"  # read once, when rich's consoles are made
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")

SIZE = 48
SPLIT_OF_PATIENT = {
    "patient001": "train",
    "patient002": "train",
    "patient003": "val",
    "patient004": "test",
}

Heart = tuple[np.ndarray, np.ndarray]


def make_heart(seed: int) -> Heart:
    """A grey image and its mask, both uint8 (48, 48): a disk (LV) in a ring (myocardium) beside a
    disk (RV).
    """
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:SIZE, :SIZE]
    row, col, radius = rng.integers(20, 28), rng.integers(24, 30), rng.integers(6, 9)
    from_lv = np.hypot(rows - row, cols - col)
    from_rv = np.hypot(rows - row, cols - col + 2 * radius + 3)
    mask = np.select([from_lv < radius, from_lv < radius + 4, from_rv < radius], [3, 2, 1]).astype(
        np.uint8
    )
    grey = np.array([60, 200, 100, 230])[mask] + rng.normal(0, 8, mask.shape)
    return grey.clip(0, 255).astype(np.uint8), mask


@pytest.fixture
def hearts() -> list[Heart]:
    return [make_heart(seed) for seed in range(8)]


@pytest.fixture
def write_png() -> Callable[[Path, np.ndarray], Path]:
    """Writes a grey or RGB array, making the folder."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        done, encoded = cv2.imencode(path.suffix, pixels if pixels.ndim == 2 else pixels[..., ::-1])
        assert done
        path.write_bytes(encoded.tobytes())
        return path

    return write


@pytest.fixture
def paired_folder(
    tmp_path: Path, hearts: list[Heart], write_png: Callable[[Path, np.ndarray], Path]
) -> Path:
    """Eight hearts of four patients: four images to train on, two to validate, two to test."""
    root = tmp_path / "hearts"
    for number, (image, mask) in enumerate(hearts):
        patient = list(SPLIT_OF_PATIENT)[number // 2]
        folder, stem = root / SPLIT_OF_PATIENT[patient], f"{patient}_{number % 2}"
        write_png(folder / "image" / f"{stem}.png", image)
        write_png(folder / "mask" / f"{stem}_mask.png", mask)
    return root


@pytest.fixture
def tiny_config(paired_folder: Path, tmp_path: Path) -> Config:
    """A tiny U-Net for two epochs of two batches in fp32 on the CPU."""
    settings = {
        "data.path": str(paired_folder),
        "runs_dir": str(tmp_path / "runs"),
        "model.depth": 2,
        "model.base_channels": 4,
        "train.epochs": 2,
        "train.batch_size": 2,
        "train.device": "cpu",
        "train.precision": "fp32",
        "train.log_images_interval": 0,
    }
    return load_config(overrides=[f"{key}={value}" for key, value in settings.items()])


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
