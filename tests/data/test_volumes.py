import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from acdc_seg.data.volumes import read_volume
from acdc_seg.errors import DataError


def save(path: Path, voxels: np.ndarray, *, spacing=(1.5, 1.25, 10.0), origin=0.0) -> Path:
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])  # the axes that we keep
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.fixture
def pair(tmp_path):
    """Image and mask files of 4 x 3 x 2 voxels."""
    image = save(tmp_path / "image.nii.gz", np.arange(24, dtype=np.int16).reshape(4, 3, 2))
    mask = save(tmp_path / "mask.nii.gz", (np.arange(24) % 4).astype(np.uint8).reshape(4, 3, 2))
    return image, mask


def test_values_types_and_spacing(pair):
    volume = read_volume(*pair)
    assert volume.spacing == (1.5, 1.25, 10.0)
    assert (volume.image.dtype, volume.image.shape) == (np.float32, (4, 3, 2))
    assert (volume.mask.dtype, volume.mask.shape) == (np.uint8, (4, 3, 2))
    assert volume.image[3, 2, 1] == 23
    assert volume.mask[3, 2, 1] == 3


def test_without_label_uncompressed_and_one_frame_in_four_dimensions(tmp_path):
    path = save(tmp_path / "image.nii", np.ones((4, 3, 2, 1), np.float32))
    volume = read_volume(path, None)
    assert volume.image.shape == (4, 3, 2)
    assert volume.mask is None


def test_scale_slope_is_applied(tmp_path):
    image = nib.Nifti1Image(np.full((2, 2, 2), 1.5), np.eye(4))
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "image.nii.gz")
    assert np.allclose(read_volume(tmp_path / "image.nii.gz", None).image, 1.5, atol=1e-3)


def test_float_labels_that_are_whole_numbers(pair):
    save(pair[1], np.full((4, 3, 2), 2.0))
    assert (read_volume(*pair).mask == 2).all()


@pytest.mark.parametrize("kept", [0, 10, 60, -4])
def test_truncated_file(pair, kept):
    pair[0].write_bytes(pair[0].read_bytes()[:kept])
    with pytest.raises(
        DataError,
        match=r"image.nii.gz: not a readable NIfTI file, truncated or damaged .*copy it again",
    ):
        read_volume(*pair)


def test_flipped_bit_fails_the_checksum(pair):
    content = bytearray(pair[0].read_bytes())
    content[-8] ^= 1
    pair[0].write_bytes(content)
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(*pair)


def test_truncated_inside_the_voxels_of_an_uncompressed_file(tmp_path):
    path = save(tmp_path / "image.nii", np.ones((4, 3, 2), np.float32))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(path, None)


def test_missing_file(pair):
    pair[1].unlink()
    with pytest.raises(DataError, match=r"mask.nii.gz: the file is missing"):
        read_volume(*pair)


def test_text_named_nifti(tmp_path):
    (tmp_path / "image.nii").write_text("no image " * 100)
    with pytest.raises(DataError, match="not a readable NIfTI file"):
        read_volume(tmp_path / "image.nii", None)


def test_absurd_header_is_refused_before_loading(pair):
    header = bytearray(gzip.decompress(pair[0].read_bytes()))
    header[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    pair[0].write_bytes(gzip.compress(bytes(header)))
    with pytest.raises(
        DataError,
        match=r"the header claims \(30000, 30000, 30000\) voxels, 50291.4 GiB, from byte 352",
    ):
        read_volume(*pair)


@pytest.mark.parametrize(
    ("offset", "told"), [(1e9, "1,000,000,000"), (np.inf, "inf"), (np.nan, "nan")]
)
def test_voxels_far_behind_the_header_are_refused(pair, offset, told):
    content = bytearray(gzip.decompress(pair[0].read_bytes()))
    content[108:112] = np.array([offset], "<f4").tobytes()
    pair[0].write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        DataError,
        match=rf"image.nii.gz: the header claims .* from byte {told} on; it is damaged",
    ):
        read_volume(*pair)


def test_a_stream_that_goes_on_after_its_voxels_is_not_read_to_the_end(pair):
    content = gzip.decompress(pair[0].read_bytes())
    bomb = gzip.compress(content + bytes(300_000_000), compresslevel=1)
    assert len(bomb) < 2_000_000
    pair[0].write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(
            DataError, match=r"image.nii.gz: continues after the 400 bytes that its header claims"
        ):
            read_volume(*pair)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("extended", [False, True])
def test_both_versions_with_extensions_and_a_few_bytes_behind(tmp_path, ending, kind, extended):
    nifti = kind(np.arange(24, dtype=">i2").reshape(4, 3, 2), np.diag([-1.5, -1.25, 10, 1]))
    if extended:
        nifti.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello " * 200))
    path = tmp_path / f"image{ending}"
    nib.save(nifti, path)
    content = gzip.decompress(path.read_bytes()) if ending == ".nii.gz" else path.read_bytes()
    path.write_bytes(
        gzip.compress(content + bytes(100)) if ending == ".nii.gz" else content + bytes(100)
    )
    volume = read_volume(path, None)
    assert volume.image.ravel().tolist() == list(range(24))
    assert volume.spacing == (1.5, 1.25, 10)


@pytest.mark.parametrize("bad", [0.0, -1.5, np.nan])
def test_voxel_size_must_be_positive(pair, bad, capfd):
    content = bytearray(gzip.decompress(pair[0].read_bytes()))
    content[80:84] = np.array([bad], "<f4").tobytes()
    pair[0].write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        DataError, match=rf"image.nii.gz: the voxel size \({bad:g}, 1.25, 10\) mm must be positive"
    ):
        read_volume(*pair)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2, 5)])
def test_several_channels_or_frames_are_refused(tmp_path, shape):
    path = save(tmp_path / "image.nii.gz", np.ones(shape, np.float32))
    with pytest.raises(DataError, match=r"expected \(X, Y, Z\) or \(X, Y\); save the channel or"):
        read_volume(path, None)


def test_an_image_of_two_dimensions_is_one_slice(tmp_path):
    image = save(tmp_path / "image.nii.gz", np.arange(12, dtype=np.float32).reshape(4, 3))
    mask = save(tmp_path / "mask.nii.gz", np.full((4, 3, 1), 2, np.uint8))
    volume = read_volume(image, mask)
    assert volume.image.shape == volume.mask.shape == (4, 3, 1)
    assert volume.image[1, 2, 0] == 5
    assert volume.spacing == (1.5, 1.25, 10.0)


def test_one_frame_of_a_cine(tmp_path):
    voxels = np.arange(4 * 3 * 2 * 5, dtype=np.int16).reshape(4, 3, 2, 5)
    path = save(tmp_path / "cine.nii.gz", voxels)
    np.testing.assert_array_equal(read_volume(path, None, frame=3).image, voxels[..., 3])
    with pytest.raises(DataError, match="frame 6 does not exist, the file has 5; correct the"):
        read_volume(path, None, frame=5)


def test_values_of_other_data_sets(tmp_path):
    image = save(tmp_path / "image.nii.gz", np.ones((2, 2, 2), np.float32))
    for values, dtype in (((0, 4), np.uint8), ((0, 850), np.uint16)):
        voxels = np.resize(np.array(values, np.int16), (2, 2, 2))
        mask = save(tmp_path / "mask.nii.gz", voxels)
        for allowed in (values, None):
            volume = read_volume(image, mask, mask_values=allowed)
            assert volume.mask.dtype == dtype
            np.testing.assert_array_equal(volume.mask, voxels)
        with pytest.raises(DataError, match=r"expected one of \[0, 1, 2, 3\]; correct the"):
            read_volume(image, mask)


def test_colour_volume(tmp_path):
    path = save(
        tmp_path / "image.nii.gz", np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    )
    with pytest.raises(DataError, match="expected integers or real numbers"):
        read_volume(path, None)


def test_shape_mismatch(pair):
    save(pair[1], np.zeros((4, 3, 3), np.uint8))
    with pytest.raises(
        DataError,
        match=r"mask.nii.gz: the mask has shape \(4, 3, 3\), image.nii.gz has \(4, 3, 2\)",
    ):
        read_volume(*pair)


@pytest.mark.parametrize(
    ("changes", "difference"), [({"spacing": (1.5, 1.5, 10.0)}, "0.25"), ({"origin": 7.5}, "7.5")]
)
def test_masks_on_another_grid_are_refused(pair, changes, difference):
    save(pair[1], np.zeros((4, 3, 2), np.uint8), **changes)
    with pytest.raises(
        DataError,
        match=r"mask.nii.gz: voxel size, position or orientation \(affine\) differs from "
        rf"image.nii.gz by up to {difference}",
    ):
        read_volume(*pair)


def test_unknown_mask_values_are_counted(pair):
    mask = np.zeros((4, 3, 2), np.int16)
    mask[0, 0, 0], mask[1], mask[2, 0, 0] = 4, 300, -1
    save(pair[1], mask)
    with pytest.raises(
        DataError,
        match=r"the mask contains value -1 \(1 voxels\), 4 \(1 voxels\), 300 \(6 voxels\), "
        r"expected one of \[0, 1, 2, 3\]",
    ):
        read_volume(*pair)


def test_fractions_and_nan_are_no_mask_values(pair):
    mask = np.zeros((4, 3, 2), np.float32)
    mask[0, 0, 0], mask[0, 0, 1] = 0.5, np.nan
    save(pair[1], mask)
    with pytest.raises(
        DataError, match=r"the mask contains value 0.5 \(1 voxels\), nan \(1 voxels\)"
    ):
        read_volume(*pair)


def test_allowed_values_are_the_caller_s(pair):
    save(pair[1], np.full((4, 3, 2), 85, np.uint8))
    assert read_volume(*pair, mask_values=(0, 85, 170, 255)).mask[0, 0, 0] == 85


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_image(pair, value):
    image = np.ones((4, 3, 2), np.float32)
    image[0, :2, 0] = value
    save(pair[0], image)
    with pytest.raises(DataError, match=r"image.nii.gz: 2 voxels are NaN or infinite"):
        read_volume(*pair)
