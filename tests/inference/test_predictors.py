import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, DataConfig, load_config
from acdc_seg.errors import CheckpointError, ConfigError, DataError
from acdc_seg.inference.predictors import (
    TTA,
    Ensemble,
    KeepLargest,
    ModelPredictor,
    Predictor,
    as_batch,
    batches_of_one_size,
    keep_largest,
    load_predictor,
    open_predictor,
    predict_labels,
)
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

CPU = torch.device("cpu")
CLASSES = ClassesConfig()
TWO = ClassesConfig(names=("background", "heart"), values=(0, 1), colors=((0, 0, 0), (255, 0, 0)))


def small_predictor(channels=1, seed=0, **settings):
    torch.manual_seed(seed)
    network = create_model("unet", channels, 4, depth=2, base_channels=4)
    data = DataConfig(channels=channels, **settings)
    return ModelPredictor(network, data=data, classes=CLASSES, device=CPU, precision="fp32")


@pytest.fixture(scope="module")
def predictor():
    return small_predictor()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 40), np.uint8)


class Fake(Predictor):
    """Gives every pixel the same probabilities."""

    def __init__(self, *probabilities, classes=CLASSES, channels=1):
        self.probabilities, self.classes, self.channels = (
            torch.tensor(probabilities),
            classes,
            channels,
        )

    def predict_batch(self, images):
        return self.probabilities.reshape(1, -1, 1, 1).expand(len(images), -1, *images.shape[-2:])


class Columns(Predictor):
    """Gives every pixel a probability by its place in the array, so that no symmetry of the image
    holds for the prediction.
    """

    classes, channels = TWO, 1

    def predict_batch(self, images):
        heart = (
            images[:, :1]
            * torch.linspace(0, 1, images.shape[-1])
            * torch.linspace(1, 0.5, images.shape[-2])[:, None]
        )
        return torch.cat([1 - heart, heart], dim=1)


def test_probabilities_sum_to_one(predictor, image):
    probabilities = predictor(image)
    assert (probabilities.shape, probabilities.dtype) == ((4, 48, 40), np.float32)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)


def test_equal_images_of_all_types_are_predicted_equally(predictor, image):
    expected = predictor(image)
    np.testing.assert_array_equal(predictor(image[None]), expected)
    np.testing.assert_array_equal(predictor(image.astype(np.float32) / 255), expected)
    np.testing.assert_allclose(predictor(image / 255), expected, atol=1e-6)
    np.testing.assert_allclose(predictor(image.astype(np.uint16) * 257), expected, atol=1e-6)
    np.testing.assert_array_equal(predictor(image[::1, ::-1][:, ::-1]), expected)


def test_the_range_of_floats_does_not_matter_when_images_are_normalized(predictor, image):
    np.testing.assert_allclose(predictor(image * 17.0 - 300), predictor(image), atol=1e-4)


def test_predictions_repeat_and_leave_the_image_alone(predictor, image):
    before = image.copy()
    predictor.model.train()
    np.testing.assert_array_equal(predictor(image), predictor(image))
    np.testing.assert_array_equal(image, before)


def test_grey_images_fit_color_models(image):
    predictor = small_predictor(channels=3)
    np.testing.assert_array_equal(predictor(image), predictor(np.stack([image] * 3)))


def test_color_images_do_not_fit_grey_models(predictor, image):
    with pytest.raises(
        DataError,
        match="the image has 3 channels, the model takes 1; convert the image to 1 channel",
    ):
        predictor(np.stack([image] * 3))


@pytest.mark.parametrize("size", [(33, 47), (97, 100), (32, 75)])
def test_any_size_is_predicted(predictor, size):
    assert predictor(np.random.default_rng(0).random(size)).shape == (4, *size)


def test_images_are_resized_to_the_models_size_and_back(image):
    predictor = small_predictor(size=(64, 64))
    seen = []
    predictor.model.encoder.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].shape)
    )
    assert predictor(image).shape == (4, 48, 40)
    assert predictor(np.zeros((20, 200))).shape == (4, 20, 200)
    assert seen == [(1, 1, 64, 64)] * 2


def test_half_precision_is_close_and_returns_floats(image):
    full, half = small_predictor(), small_predictor()
    half.precision = "bf16"
    probabilities = half(image)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, full(image), atol=0.05)
    assert not np.array_equal(probabilities, full(image))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((4, 40, 40)),
            r"an image of shape \(4, 40, 40\) cannot be predicted; give \(H, W\), \(1, H, W\) or "
            r"\(3, H, W\)",
        ),
        (np.zeros((40, 40, 3)), r"shape \(40, 40, 3\)"),
        (np.zeros(40), r"shape \(40,\)"),
        (
            np.zeros((40, 40), int),
            "an image of int64 cannot be predicted; convert it to uint8, uint16 or float",
        ),
        (np.zeros((40, 40), bool), "an image of bool"),
        (np.full((40, 40), np.nan), "NaN or infinity"),
        (np.full((40, 40), np.inf, np.float32), "NaN or infinity"),
        (np.zeros((20, 40)), "height=20, width=40 are too small"),
    ],
)
def test_what_is_no_image_is_refused(predictor, image, message):
    with pytest.raises(DataError, match=message):
        predictor(image)


def test_one_bad_pixel_is_enough(image):
    image = image / 255
    image[5, 5] = np.nan
    with pytest.raises(DataError, match="replace them before prediction"):
        as_batch(image)


def test_an_ensemble_is_the_weighted_mean():
    a, b, c = Fake(0.5, 0.5, 0.0, 0.0), Fake(0.1, 0.2, 0.3, 0.4), Fake(1.0, 0.0, 0.0, 0.0)
    for members, weights, expected in (
        ([a, b], None, [0.3, 0.35, 0.15, 0.2]),
        ([a, b], [3, 1], [0.4, 0.425, 0.075, 0.1]),
        ([a, b, c], [0, 0.5, 0.5], [0.55, 0.1, 0.15, 0.2]),
        ([b], None, [0.1, 0.2, 0.3, 0.4]),
    ):
        probabilities = Ensemble(members, weights=weights)(np.zeros((2, 3)))
        assert probabilities.shape == (4, 2, 3)
        np.testing.assert_allclose(probabilities[:, 1, 2], expected, atol=1e-6)


def test_an_ensemble_of_one_is_its_member(predictor, image):
    np.testing.assert_array_equal(Ensemble([predictor])(image), predictor(image))


def test_members_may_differ_in_channels_and_size(image):
    members = [small_predictor(), small_predictor(channels=3, seed=1, size=(32, 32))]
    ensemble = Ensemble(members)
    assert ensemble.channels == 1
    np.testing.assert_allclose(
        ensemble(image), (members[0](image) + members[1](image)) / 2, atol=1e-6
    )


def test_members_are_left_as_they_were(predictor, image):
    before = predictor(image)
    Ensemble([predictor, small_predictor(seed=1)], weights=[0.2, 0.8])(image)
    np.testing.assert_array_equal(predictor(image), before)


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ([], None, "at least one member"),
        ([Fake(1.0), Fake(1.0)], [1], "1 weights for 2 members; give one weight each"),
        ([Fake(1.0), Fake(1.0)], [1, -1], r"weights \[1, -1\] must be numbers from 0 up"),
        ([Fake(1.0), Fake(1.0)], [0, 0], "not all 0"),
        ([Fake(1.0), Fake(1.0)], [1, float("nan")], "must be numbers"),
        (
            [Fake(1.0), Fake(1.0, classes=TWO)],
            None,
            "do not share their classes: background, heart against background, rv, myo, lv",
        ),
    ],
)
def test_ill_ensembles_are_refused(members, weights, message):
    with pytest.raises(ConfigError, match=message):
        Ensemble(members, weights=weights)


@pytest.mark.parametrize(
    ("views", "changes"),
    [
        ("flips", [lambda x: x, np.fliplr, np.flipud, lambda x: np.fliplr(np.flipud(x))]),
        (
            "dihedral",
            [
                lambda x, k=k, flip=flip: np.rot90(np.fliplr(x) if flip else x, k)
                for k in range(4)
                for flip in (False, True)
            ],
        ),
    ],
)
def test_augmented_prediction_is_the_mean_over_the_views(image, views, changes):
    """Each pixel's place is carried along as a second image, to find where the prediction of a view
    belongs.
    """
    predictor = Columns()
    expected = np.zeros((2, *image.shape))
    places = np.arange(image.size).reshape(image.shape)
    for change in changes:
        probabilities = predictor(np.ascontiguousarray(change(image)))
        expected.reshape(2, -1)[:, change(places).ravel()] += probabilities.reshape(2, -1) / len(
            changes
        )
    np.testing.assert_allclose(TTA(predictor, views=views)(image), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("views", "change"),
    [
        ("flips", np.fliplr),
        ("flips", np.flipud),
        ("dihedral", np.fliplr),
        ("dihedral", np.rot90),
        ("dihedral", np.transpose),
    ],
)
def test_augmented_prediction_moves_with_the_image(predictor, image, views, change):
    averaged = TTA(predictor, views=views)
    expected = np.stack([change(plane) for plane in averaged(image)])
    np.testing.assert_allclose(averaged(np.ascontiguousarray(change(image))), expected, atol=1e-5)
    plain = np.stack([change(plane) for plane in predictor(image)])
    assert np.abs(predictor(np.ascontiguousarray(change(image))) - plain).max() > 1e-3


def test_augmented_prediction_takes_ensembles_and_refuses_other_views(predictor, image):
    ensemble = TTA(Ensemble([predictor, small_predictor(seed=1)]), views="flips")
    np.testing.assert_allclose(ensemble(image).sum(0), 1, atol=1e-5)
    with pytest.raises(ConfigError, match="'rotations' is unknown; choose from: flips, dihedral"):
        TTA(predictor, views="rotations")


def labelled(labels, num_classes=4, sure=0.7):
    """Probabilities (K, H, W) whose most probable class is the label; the rest is shared
    equally.
    """
    rest = (1 - sure) / (num_classes - 1)
    return np.where(np.arange(num_classes)[:, None, None] == np.array(labels), sure, rest).astype(
        np.float32
    )


def test_all_but_the_largest_region_goes_to_the_next_best_class():
    probabilities = labelled([[3, 3, 0, 3], [3, 0, 0, 0]])
    probabilities[:, 0, 3] = [0.1, 0.2, 0.3, 0.4]
    kept = keep_largest(probabilities, [3])
    np.testing.assert_array_equal(kept.argmax(0), [[3, 3, 0, 2], [3, 0, 0, 0]])
    np.testing.assert_allclose(kept[:, 0, 3], np.array([0.1, 0.2, 0.3, 0]) / 0.6, atol=1e-6)
    np.testing.assert_array_equal(kept[:, :, :3], probabilities[:, :, :3])
    np.testing.assert_array_equal(
        probabilities[:, 0, 3], np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    )
    np.testing.assert_array_equal(keep_largest(probabilities, [1, 2]), probabilities)


def test_corners_connect_and_equal_regions_leave_the_first():
    np.testing.assert_array_equal(
        keep_largest(labelled([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), [1]).argmax(0), np.eye(3)
    )
    np.testing.assert_array_equal(
        keep_largest(labelled([[1, 0, 1]], sure=0.6), [1]).argmax(0), [[1, 0, 0]]
    )


def test_what_one_class_loses_may_not_become_a_speck_of_another():
    """The single 2 is next best a 1, which would be a second region of 1."""
    probabilities = labelled([[2, 2, 0, 1, 1, 0, 2]])
    probabilities[:, 0, 6] = [0.1, 0.3, 0.5, 0.1]
    np.testing.assert_array_equal(
        keep_largest(probabilities, [2]).argmax(0), [[2, 2, 0, 1, 1, 0, 1]]
    )
    np.testing.assert_array_equal(
        keep_largest(probabilities, [1, 2]).argmax(0), [[2, 2, 0, 1, 1, 0, 0]]
    )


def test_a_pixel_without_any_class_left_is_background():
    kept = keep_largest(labelled([[1, 1, 0, 1]], num_classes=2, sure=1.0), [1])
    np.testing.assert_array_equal(kept, [[[0, 0, 1, 1]], [[1, 1, 0, 0]]])


class Painted(Predictor):
    """Finds hearts where the image is bright."""

    classes, channels = TWO, 1

    def predict_batch(self, images):
        return torch.cat([1 - images, images], dim=1)


def test_every_image_of_a_batch_keeps_its_own_largest_region():
    images = torch.tensor([[[[0.9, 0.1, 0.9, 0.9]]], [[[0.9, 0.9, 0.1, 0.9]]]])
    kept = KeepLargest(Painted(), ["heart"]).predict_batch(images)
    assert kept.argmax(1).tolist() == [[[0, 0, 1, 1]], [[1, 1, 0, 0]]]
    np.testing.assert_allclose(kept.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        KeepLargest(Painted(), []).predict_batch(images), Painted().predict_batch(images)
    )


@pytest.mark.parametrize("name", ["lung", "background"])
def test_only_foreground_classes_have_a_largest_region(name):
    with pytest.raises(
        ConfigError, match=f"keep_largest names '{name}'; choose from the foreground classes: heart"
    ):
        KeepLargest(Painted(), ["heart", name])


def test_a_stream_is_predicted_in_order_whatever_the_sizes(predictor):
    rng = np.random.default_rng(0)
    images = [
        rng.random((1, *size), np.float32) for size in [(32, 32)] * 5 + [(40, 32)] * 2 + [(32, 32)]
    ]
    done = []
    found = list(predict_labels(predictor, iter(images), batch_size=2, on_image=done.append))
    assert done == list(range(1, 9))
    for image, labels in zip(images, found, strict=True):
        assert (labels.dtype, labels.shape) == (np.uint8, image.shape[1:])
        assert (labels == predictor(image).argmax(0)).mean() > 0.999


def test_a_stream_reads_no_further_than_its_batch(predictor):
    taken = []

    def images():
        for number in range(10):
            taken.append(number)
            yield np.zeros((1, 32, 32), np.float32)

    next(predict_labels(predictor, images(), batch_size=3))
    assert len(taken) <= 4


def test_batches_are_neighbours_of_one_size():
    items = ["a", "b", "c", "dd", "e", "ff", "gg"]
    assert list(batches_of_one_size(items, 2, size_of=len)) == [
        ["a", "b"],
        ["c"],
        ["dd"],
        ["e"],
        ["ff", "gg"],
    ]


@pytest.fixture
def run_folder(tmp_path, predictor):
    config = load_config(overrides=["model.depth=2", "model.base_channels=4"])
    save_checkpoint(
        tmp_path / "best.pt",
        Checkpoint(
            config=config, weights=predictor.model.state_dict(), epoch=1, dice=0.5, data="paired"
        ),
    )
    return tmp_path


def test_predictors_load_from_run_folders_and_files(run_folder, predictor, image):
    for path in (run_folder, run_folder / "best.pt", str(run_folder)):
        loaded = load_predictor(path, device="cpu", precision="fp32")
        np.testing.assert_array_equal(loaded(image), predictor(image))
        assert (loaded.classes, loaded.channels) == (CLASSES, 1)


def test_what_cannot_be_loaded_is_named(run_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        CheckpointError, match=r"empty: no best\.pt in this folder; give a folder that acdc-train"
    ):
        load_predictor(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="gone: cannot read the checkpoint"):
        load_predictor(tmp_path / "gone")
    with pytest.raises(ConfigError, match="device 'gpu' is unknown"):
        load_predictor(run_folder, device="gpu")


@pytest.mark.parametrize(
    "change", [{"head.weight": torch.zeros(5, 4, 1, 1)}, {"extra": torch.zeros(1)}]
)
def test_weights_that_do_not_fit_are_refused(run_folder, change):
    path = run_folder / "best.pt"
    checkpoint = load_checkpoint(path)
    save_checkpoint(
        path,
        Checkpoint(
            config=checkpoint.config,
            weights={**checkpoint.weights, **change},
            epoch=1,
            dice=0.5,
            data="paired",
        ),
    )
    with pytest.raises(
        CheckpointError, match=r"best\.pt: weights do not fit their config: .*(head\.weight|extra)"
    ):
        load_predictor(path)


@pytest.fixture
def ensemble_folder(run_folder, predictor):
    """Three parts of the run with flips, one of it as it is; class lv in one region."""
    text = """classes: [background, rv, myo, lv]
members:
- {path: .., weight: 3, tta: flips}
- {path: ../best.pt}
keep_largest: [lv]
"""
    (run_folder / "both").mkdir()
    (run_folder / "both" / "ensemble.yaml").write_text(text)
    return run_folder / "both"


def test_an_ensemble_loads_like_a_model(ensemble_folder, predictor, image):
    expected = keep_largest((3 * TTA(predictor, views="flips")(image) + predictor(image)) / 4, [3])
    for path in (ensemble_folder, ensemble_folder / "ensemble.yaml"):
        loaded, config = open_predictor(path, device="cpu", precision="fp32")
        np.testing.assert_allclose(loaded(image), expected, atol=1e-6)
        assert (loaded.classes, loaded.channels, config.model.depth) == (CLASSES, 1, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "lv]\nmembers",
            "left]\nmembers",
            "the ensemble is of background, rv, myo, left, its member .* of background, rv, myo, "
            "lv",
        ),
        (
            "keep_largest: [lv]",
            "keep_largest: [rvv]",
            r"ensemble\.yaml: keep_largest names 'rvv'; choose from the foreground classes",
        ),
        (
            "weight: 3",
            "weight: 0",
            r"not an ensemble as acdc-ensemble writes it: members\.0\.weight: Input should be "
            r"greater than 0",
        ),
        (
            "tta: flips",
            "tta: turns",
            r"members\.0\.tta: Input should be 'none', 'flips' or 'dihedral'",
        ),
        ("keep_largest", "keep_smallest", "keep_smallest: Extra inputs are not permitted"),
        ("members:", "members: [", "this is not YAML"),
        (
            "path: ..,",
            "path: !!python/name:os.system ,",
            "this is not YAML: could not determine a constructor",
        ),
    ],
)
def test_ill_ensemble_files_are_refused(ensemble_folder, old, new, message):
    path = ensemble_folder / "ensemble.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_predictor(path)


def test_missing_parts_of_an_ensemble_are_named(ensemble_folder):
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot read this ensemble"):
        load_predictor(ensemble_folder / "gone.yaml")
    (ensemble_folder.parent / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"no best\.pt in this folder"):
        load_predictor(ensemble_folder)
