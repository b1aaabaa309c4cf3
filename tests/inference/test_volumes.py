import nibabel as nib
import numpy as np
import pytest
from volumes import AFFINE, GREY, GreyPredictor, make_cine, make_labels, save

import acdc_seg.inference.api as api
from acdc_seg import predict_volume
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.inference.shipped import find_model
from acdc_seg.inference.volumes import VolumePredictor, keep_largest_regions


def test_labels_are_those_of_the_scanner_s_grid():
    labels = make_labels(7)
    predictor = VolumePredictor(GreyPredictor(), batch_size=4)
    found = predictor(GREY[labels], (1.5, 1.5, 8.0))
    np.testing.assert_array_equal(found.labels, labels)
    assert found.labels.dtype == np.uint8
    assert (found.probabilities, found.uncertainty) == (None, None)
    assert predictor.predictor.num_batches == 2


def test_another_pixel_size_changes_borders_only():
    labels = make_labels(7)
    found = VolumePredictor(GreyPredictor(1.0))(GREY[labels], (1.5, 1.5, 8.0)).labels
    assert (found != labels).mean() < 0.02
    for value in (1, 2, 3):
        overlap = ((found == value) & (labels == value)).sum()
        assert 2 * overlap / ((found == value).sum() + (labels == value).sum()) > 0.95


def test_probabilities_and_uncertainty_are_on_the_grid():
    labels = make_labels(7)
    predictor = VolumePredictor(GreyPredictor())
    found = predictor(GREY[labels], (1.5, 1.5, 8), probabilities=True, uncertainty=True)
    assert found.probabilities.shape == (4, *labels.shape)
    np.testing.assert_array_equal(found.probabilities.argmax(0), labels)
    assert (found.uncertainty == 0).all()


def far_heart():
    """A heart of 34 x 30 pixels away from the middle of slices of 90 x 80."""
    return np.pad(make_labels(7, num_slices=3), ((40, 10), (5, 35), (0, 0)))


def test_the_heart_is_found_and_predicted_in_one_window():
    labels = far_heart()
    predictor = VolumePredictor(GreyPredictor(window=64), batch_size=6)
    center = predictor.locate(GREY[labels], (1.5, 2.0, 8.0))
    places = np.argwhere(labels.any(axis=2))
    middle = (places.min(0) + places.max(0) + 1) / 2
    assert center == pytest.approx(middle * (1.5, 2.0))
    found = predictor(GREY[labels], (1.5, 2.0, 8.0), center=center, probabilities=True)
    assert predictor.predictor.size == (64, 64)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.probabilities.sum(0), 1)
    assert (found.probabilities[0, 0] == 1).all()
    np.testing.assert_array_equal(predictor(GREY[labels], (1.5, 2.0, 8.0)).labels, labels)


def test_windows_stay_inside_of_the_slice_and_others_see_all():
    labels = far_heart()
    predictor = VolumePredictor(GreyPredictor(window=64), batch_size=6)
    for center in ((0.0, 0.0), (1e4, 1e4)):
        predictor(GREY[labels], (1.5, 1.5, 8), center=center)
        assert predictor.predictor.size == (64, 64)
    # no heart, one too small to be a heart, and one too large for the window
    for image, window in ((labels * 0, 64), (labels * 0 + (labels == 3), 64), (labels, 44)):
        predictor = VolumePredictor(GreyPredictor(window=window), batch_size=6)
        spacing = (1.5, 1.5, 8) if window == 44 or not image.any() else (0.5, 0.5, 4)
        assert predictor.locate(GREY[image], spacing) is None
        predictor(GREY[image], spacing)
        assert predictor.predictor.size == (90, 80)


def test_values_of_files_are_those_of_the_classes():
    predictor = GreyPredictor()
    classes = predictor.classes
    changed = [
        label.model_copy(update={"value": value})
        for label, value in zip(classes.labels, (0, 10, 20, 30), strict=True)
    ]
    predictor.classes = classes.model_copy(update={"labels": tuple(changed)})
    labels = make_labels(7)
    found = VolumePredictor(predictor)(GREY[labels], (1.5, 1.5, 8)).labels
    np.testing.assert_array_equal(found, labels * 10)


def test_only_the_largest_region_of_each_class_is_left():
    labels = np.zeros((9, 9, 3), np.uint8)
    labels[1:4, 1:4, :2] = 3
    labels[4, 4, 2] = 3  # touches at a corner
    labels[7:, 7:, 0] = 3
    labels[7, 0, 1] = 1
    kept = keep_largest_regions(labels)
    assert (kept == 3).sum() == 19
    assert (kept[7:, 7:, 0] == 0).all()
    assert kept[7, 0, 1] == 1
    assert (labels[7:, 7:, 0] == 3).all()


def test_shapes_that_are_no_volume():
    with pytest.raises(DataError, match=r"a volume of shape \(4, 4\), expected \(X, Y, Z\)"):
        VolumePredictor(GreyPredictor())(np.zeros((4, 4)), (1, 1, 1))


@pytest.fixture
def grey_model(monkeypatch):
    monkeypatch.setattr(api, "_load", lambda *args: VolumePredictor(GreyPredictor()))
    monkeypatch.setattr(api, "find_model", lambda name: "grey")


@pytest.mark.usefixtures("grey_model")
class TestPredictVolume:
    def test_arrays_with_spacing(self):
        cine = make_cine(3)
        np.testing.assert_array_equal(
            predict_volume(GREY[cine[..., 0]], spacing=(1.5, 1.5, 8)), cine[..., 0]
        )
        np.testing.assert_array_equal(predict_volume(GREY[cine], spacing=(1.5, 1.5, 8)), cine)

    def test_arrays_of_other_axes_with_their_affine(self):
        image = nib.Nifti1Image(GREY[make_labels(7)], AFFINE)
        turned = image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        labels = predict_volume(np.asarray(turned.dataobj), affine=turned.affine)
        np.testing.assert_array_equal(GREY[labels], np.asarray(turned.dataobj))

    def test_files(self, tmp_path):
        cine = make_cine(3)
        path = save(tmp_path / "cine.nii.gz", cine)
        np.testing.assert_array_equal(predict_volume(path), cine)
        np.testing.assert_array_equal(
            predict_volume(str(save(tmp_path / "a" / "a.nii", cine[..., 0]))), cine[..., 0]
        )
        with pytest.raises(DataError, match="holds 2 exams; give one, or use acdc-predict"):
            predict_volume(tmp_path)

    @pytest.mark.parametrize(
        ("image", "arguments", "message"),
        [
            (np.zeros((4, 4)), {"spacing": (1, 1, 1)}, r"an image of shape \(4, 4\), expected"),
            (np.zeros((4, 4, 2)), {}, "spacing None: give the voxel size"),
            (np.zeros((4, 4, 2)), {"spacing": (1, 0, 1)}, r"voxel size \(1, 0, 1\) mm must be pos"),
            (np.full((4, 4, 2), np.nan), {"spacing": (1, 1, 1)}, "the image holds NaN"),
        ],
    )
    def test_mistakes(self, image, arguments, message):
        with pytest.raises(DataError, match=message):
            predict_volume(image, **arguments)


def test_models_by_name_and_path(tmp_path, monkeypatch):
    monkeypatch.setattr("acdc_seg.inference.shipped.FOLDER", tmp_path)
    with pytest.raises(ConfigError, match=r"has no model .* train one with acdc-train"):
        find_model()
    (tmp_path / "acdc_volumes.pt").touch()
    assert find_model() == find_model("acdc_volumes") == tmp_path / "acdc_volumes.pt"
    assert find_model(tmp_path) == tmp_path
    with pytest.raises(ConfigError, match=r"'acdc_volume' is neither .* did you mean"):
        find_model("acdc_volume")
