"""Folders as users bring them: other formats, names, classes and kinds of pixels."""

from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
from hearts import make_heart, write_image

MNMS = np.array([0, 3, 2, 1], np.uint8)
"""M&Ms' value of each of ACDC's classes."""
NAMES = ("anna", "bert", "cleo", "dora", "emil", "fritz", "greta", "hugo")
"""Names that share nothing, one per image."""


def write_nifti(path: Path, volume: np.ndarray) -> None:
    """Writes `(X, Y, Z)`, or `(X, Y, Z, frames)`, with pixels of 1.8 mm and slices of 8 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([-1.8, -1.8, 8.0, 1.0])), path)


def heart_volume(number: int, num_slices: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Image int16 and mask uint8 `(X, Y, Z)`."""
    slices = [make_heart(num_slices * number + z) for z in range(num_slices)]
    image, mask = (np.stack(planes, axis=-1) for planes in zip(*slices, strict=True))
    return image.astype(np.int16) * 4, mask


def nnunet_folder(root: Path, num_cases: int = 5) -> Path:
    """`imagesTr/NAME_0000.nii.gz` and `labelsTr/NAME.nii.gz`, and unlabelled `imagesTs`."""
    for number in range(num_cases):
        image, mask = heart_volume(number)
        write_nifti(root / "imagesTr" / f"heart_{number:03d}_0000.nii.gz", image)
        write_nifti(root / "labelsTr" / f"heart_{number:03d}.nii.gz", mask)
    write_nifti(root / "imagesTs" / "heart_100_0000.nii.gz", heart_volume(50)[0])
    return root


def cine_folder(root: Path, num_patients: int = 3) -> Path:
    """ACDC patients whose frames are inside `patientNNN_4d.nii.gz` alone: ED is 1, ES is 3."""
    for number in range(1, num_patients + 1):
        folder = root / f"patient{number:03d}"
        frames = [heart_volume(4 * number + frame) for frame in range(4)]
        write_nifti(
            folder / f"{folder.name}_4d.nii.gz", np.stack([image for image, _ in frames], axis=-1)
        )
        for frame in (1, 3):
            write_nifti(folder / f"{folder.name}_frame{frame:02d}_gt.nii.gz", frames[frame - 1][1])
        (folder / "Info.cfg").write_text("ED: 1\nES: 3\nNbFrame: 4\n")
    return root


def own_nifti_folder(root: Path, num_cases: int = 5) -> Path:
    """`scans/NAME.nii.gz` and `segmentations/NAME_seg.nii.gz`."""
    for number, name in enumerate(NAMES[:num_cases]):
        image, mask = heart_volume(number)
        write_nifti(root / "scans" / f"{name}.nii.gz", image)
        write_nifti(root / "segmentations" / f"{name}_seg.nii.gz", mask)
    return root


def folder_of(
    root: Path,
    write_pair: Callable[[Path, str, np.ndarray, np.ndarray], None],
    *,
    names: tuple[str, ...] = NAMES,
) -> Path:
    """A folder of hearts, each written by `write_pair(root, name, image, mask)`."""
    for number, name in enumerate(names):
        write_pair(root, name, *make_heart(number))
    return root


def binary_folder(root: Path) -> Path:
    """`images/NAME.jpg` in colour and of several sizes, `masks/NAME.png` of 0 and 255."""
    for number, name in enumerate(NAMES):
        image, mask = make_heart(number)
        size = (48 + 8 * (number % 3), 40 + 8 * (number % 4))  # width, height
        rgb = cv2.merge([image, 255 - image, image // 2])
        binary = (mask > 0).astype(np.uint8) * 255
        write_image(root / "images" / f"{name}.jpg", cv2.resize(rgb, size))
        scaled = cv2.resize(binary, size, interpolation=cv2.INTER_NEAREST)
        write_image(root / "masks" / f"{name}.png", scaled)
    return root


def many_classes_folder(root: Path, num_classes: int = 12) -> Path:
    """Masks of `num_classes` classes in stripes."""

    def write_pair(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
        stripes = (np.arange(48) * num_classes // 48).astype(np.uint8)
        write_image(root / "image" / f"{name}.png", np.repeat(20 * stripes[None], 48, axis=0))
        write_image(root / "mask" / f"{name}_mask.png", np.repeat(stripes[None], 48, axis=0))

    return folder_of(root, write_pair)


def grey_jpeg_masks_folder(root: Path) -> Path:
    """Masks of the classes stretched to 0..255 and saved as JPEG, whose values are not exact."""

    def write_pair(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
        write_image(root / "image" / f"{name}.png", image)
        write_image(root / "mask" / f"{name}_mask.jpg", mask * 85)

    return folder_of(root, write_pair)


def mixed_pixels_folder(root: Path) -> Path:
    """Grey, RGB, RGBA and grey images with alpha in one folder."""

    def write_pair(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
        path = root / "image" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        opaque = np.full_like(image, 255)
        kind = NAMES.index(name) % 4
        if kind == 3:
            from PIL import Image

            Image.merge("LA", [Image.fromarray(image), Image.fromarray(opaque)]).save(path)
        else:
            planes = [[image], [image] * 3, [image] * 3 + [opaque]][kind]
            write_image(path, image) if kind == 0 else cv2.imwrite(str(path), cv2.merge(planes))
        write_image(root / "mask" / f"{name}_mask.png", mask)

    return folder_of(root, write_pair)


def mnms_folder(root: Path) -> Path:
    """Another hospital's set: M&Ms' order of the classes, masks named `NAME_gt.png`."""

    def write_pair(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
        write_image(root / "image" / f"{name}.png", image)
        write_image(root / "mask" / f"{name}_gt.png", MNMS[mask])

    return folder_of(root, write_pair)


def kind_above_split_folder(root: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """`images/SPLIT/NAME.png` and `masks/SPLIT/NAME.png`: four, two and two hearts."""
    for number, name in enumerate(NAMES):
        image, mask = make_heart(number)
        split = splits[max(0, number // 2 - 1)]
        write_image(root / "images" / split / f"{name}.png", image)
        write_image(root / "masks" / split / f"{name}.png", mask)
    return root


def large_folder(root: Path, size: tuple[int, int] = (160, 224)) -> Path:
    """Images much larger than what a network trains on, `size` is height and width."""

    def write_pair(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
        (height, width), nearest = size, cv2.INTER_NEAREST
        write_image(root / "image" / f"{name}.png", cv2.resize(image, (width, height)))
        large = cv2.resize(mask, (width, height), interpolation=nearest)
        write_image(root / "mask" / f"{name}_mask.png", large)

    return folder_of(root, write_pair)
