"""Pictures and folders that the tests of the check share."""

from pathlib import Path

import numpy as np
from hearts import write_image

from acdc_seg.config import load_config
from acdc_seg.data.check.run import Check, check_data

SIZE = 48


def draw_scene(
    seed: int, *, height: int = SIZE, width: int = SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """A textured picture unlike that of any other seed, and a mask with an LV in a myocardium
    beside an RV, uint8.
    """
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    image = np.full((height, width), 90.0)
    for _ in range(40 * height * width // SIZE**2):
        row, col = rng.uniform(0, height), rng.uniform(0, width)
        radius, level = rng.uniform(2, 7), rng.uniform(-60, 60)
        image += level * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / radius**2)
    row, col = height / 2 + rng.integers(-3, 4), width / 2 + rng.integers(-1, 4)
    from_lv, from_rv = np.hypot(rows - row, cols - col), np.hypot(rows - row, cols - col + 14)
    mask = np.select([from_lv < 6, from_lv < 9, from_rv < 7], [3, 2, 1]).astype(np.uint8)
    image += np.array([0, 40, -30, 70])[mask] + rng.normal(0, 3, image.shape)
    low, high = np.percentile(image, (1, 99))
    return ((image - low) / (high - low) * 255).clip(0, 255).astype(np.uint8), mask


def write_scenes(root: Path) -> Path:
    """Paired folders: patients 1 to 3 train, 4 validates, 5 tests, two images of each."""
    for patient, split in enumerate(("train", "train", "train", "val", "test"), start=1):
        for number in range(2):
            image, mask = draw_scene(10 * patient + number)
            stem = f"patient{patient:03d}_{number}"
            write_image(root / split / "image" / f"{stem}.png", image)
            write_image(root / split / "mask" / f"{stem}_mask.png", mask)
    return root


def check_folder(root: Path, *settings: str, **options: bool) -> Check:
    """The check of a folder with `section.key=value`."""
    config = load_config(overrides=[*settings, f'data.path="{root}"'])
    return check_data(config.data, config.classes, **options)
