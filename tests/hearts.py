"""Small synthetic hearts in paired folders, and settings for a training of seconds."""

from pathlib import Path

import cv2
import numpy as np

from acdc_seg.config import Config, load_config

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


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """Writes a grey or RGB array, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(path.suffix, pixels if pixels.ndim == 2 else pixels[..., ::-1])
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def write_paired_folder(root: Path) -> Path:
    """Eight hearts of four patients: four images to train on, two to validate, two to test."""
    for number in range(8):
        image, mask = make_heart(number)
        patient = list(SPLIT_OF_PATIENT)[number // 2]
        folder, stem = root / SPLIT_OF_PATIENT[patient], f"{patient}_{number % 2}"
        write_image(folder / "image" / f"{stem}.png", image)
        write_image(folder / "mask" / f"{stem}_mask.png", mask)
    return root


def tiny_settings(data: Path, runs_dir: Path) -> Config:
    """A tiny U-Net for two epochs of two batches in fp32 on the CPU."""
    settings = {
        "data.path": str(data),
        "runs_dir": str(runs_dir),
        "model.depth": 2,
        "model.base_channels": 4,
        "train.epochs": 2,
        "train.batch_size": 2,
        "train.device": "cpu",
        "train.precision": "fp32",
        "train.log_images_interval": 0,
        "train.keep_last": True,
    }
    return load_config(overrides=[f"{key}={value}" for key, value in settings.items()])
