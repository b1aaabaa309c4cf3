import numpy as np
import pytest
import torch

from acdc_seg.config import AugmentConfig, ClassesConfig, Config, DataConfig, LossConfig
from acdc_seg.data.examples import FileExamples, read_example
from acdc_seg.data.loader import TrainingSet
from acdc_seg.data.readers import read_records
from acdc_seg.data.transforms import preprocess, preprocess_batch
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.inference.arrays import as_batch
from acdc_seg.inference.predictors import (
    TTA,
    WINDOWS_AT_ONCE,
    Ensemble,
    ModelPredictor,
    Predictor,
    _rotate,
)
from acdc_seg.models import create_model

CPU = torch.device("cpu")
CLASSES = ClassesConfig()
TWO = ClassesConfig(names=("background", "heart"), values=(0, 1), colors=((0, 0, 0), (255, 0, 0)))


def small_predictor(channels=1, seed=0, loss="dice_ce", **settings):
    torch.manual_seed(seed)
    network = create_model("unet", channels, 4, depth=2, base_channels=4)
    config = Config(data=DataConfig(channels=channels, **settings), loss=LossConfig(name=loss))
    return ModelPredictor(network, config, device=CPU, precision="fp32")


@pytest.fixture(scope="module")
def predictor():
    return small_predictor()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 40), np.uint8)


class Fake(Predictor):
    """Gives every pixel the same probabilities."""

    config = Config()

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

    config, classes, channels = Config(), TWO, 1

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


def test_what_bce_trained_is_read_with_sigmoids(image, monkeypatch):
    predictor = small_predictor(loss="bce")
    logits = torch.tensor([0.02, 0.03, 0.60, 0.55]).logit()[None, :, None, None]
    monkeypatch.setattr(predictor, "logits", lambda images: logits.clone())
    expected = [0.02 / 1.2, 0.03 / 1.2, 0.60 / 1.2, 0.55 / 1.2]
    for by_sigmoids in (predictor, TTA(predictor), Ensemble([predictor, predictor])):
        assert by_sigmoids(image).ravel().tolist() == pytest.approx(expected, abs=1e-6)
    logits[:] = -300  # every sigmoid is zero in fp32
    assert predictor(image).ravel().tolist() == pytest.approx([0.25] * 4)


def test_sigmoids_and_softmax_have_the_same_labels(image):
    probabilities = small_predictor(loss="bce")(image)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(0), small_predictor()(image).argmax(0))
    assert not np.allclose(probabilities, small_predictor()(image), atol=1e-3)


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


def test_every_member_gets_its_own_channels(image):
    members = [small_predictor(), small_predictor(channels=3, seed=1, size=(32, 32))]
    ensemble = Ensemble(members)
    assert ensemble.channels == 3
    np.testing.assert_allclose(
        ensemble(image), (members[0](image) + members[1](image)) / 2, atol=1e-6
    )
    color = np.random.default_rng(0).random((3, 40, 36), np.float32)
    luma = np.tensordot((0.299, 0.587, 0.114), color, 1)
    np.testing.assert_allclose(
        ensemble(color), (members[0](luma) + members[1](color)) / 2, atol=1e-5
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


def test_a_predictor_says_what_it_is(predictor):
    assert repr(predictor) == "ModelPredictor(unet, cpu, fp32)"
    assert repr(Fake(1.0)) == "Fake(background, rv, myo, lv)"
    both = Ensemble([predictor, Fake(1.0)], weights=[1, 3])
    assert repr(TTA(both, views="flips")) == (
        "TTA(Ensemble([ModelPredictor(unet, cpu, fp32), Fake(background, rv, myo, lv)], "
        "weights=[0.25, 0.75]), views='flips')"
    )


def test_a_path_or_a_batch_is_told_what_to_do(predictor):
    with pytest.raises(DataError, match=r"'x\.png' is a path, not an image; read it first"):
        predictor("x.png")
    with pytest.raises(DataError, match="is a batch of images; predict one at a time"):
        predictor(np.zeros((2, 1, 40, 40), np.float32))


def window_predictor(network=None, **settings):
    """A predictor of windows of 32x48, and the same network for whole images."""
    predictor = small_predictor(size=(32, 48), fit="crop", **settings)
    predictor.model = network or predictor.model
    config = Config(data=DataConfig(**settings))
    whole = ModelPredictor(predictor.model, config, device=CPU, precision="fp32")
    return predictor, whole


SIZES = [(32, 48), (70, 131), (33, 49), (20, 100), (90, 30), (7, 5)]


@pytest.mark.parametrize("normalize", ["per_image", "fixed"])
@pytest.mark.parametrize("size", SIZES)
def test_windows_of_a_network_of_single_pixels_give_the_whole(size, normalize):
    network = torch.nn.Conv2d(1, 4, 1)
    predictor, whole = window_predictor(network, normalize=normalize)
    images = torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(predictor.logits(images), whole.logits(images), atol=1e-5)
    assert predictor.logits(images).shape == (3, 4, *size)


def test_a_network_of_windows_sees_nothing_but_windows(image):
    predictor, _ = window_predictor()
    seen = []
    predictor.model.encoder.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].shape)
    )
    assert predictor(np.zeros((60, 200))).shape == (4, 60, 200)
    assert {shape[-2:] for shape in seen} == {(32, 48)}
    assert max(shape[0] for shape in seen) == WINDOWS_AT_ONCE
    assert sum(shape[0] for shape in seen) == 3 * 6


def test_windows_are_normalized_as_those_that_train(paired_folder):
    """The window of an image of its size is what training gives the network."""
    data = DataConfig(path=str(paired_folder), size=(48, 48), fit="crop")
    record = read_records("paired", paired_folder, data)[0]
    files = FileExamples([record], data=data, classes=CLASSES, for_training=True)
    dataset = TrainingSet(files, augment=AugmentConfig(preset="none"), seed=0, window=data.window)
    trained = preprocess_batch(dataset[(0, 0)][0][None], data)
    image = read_example(record, data=data, classes=CLASSES).image
    assert torch.equal(preprocess(image[None], data), trained)


def test_the_seams_of_windows_do_not_show():
    """Where windows overlap their logits are blended, here of a network that adds the column."""

    class Column(torch.nn.Module):
        def forward(self, images):
            column = torch.linspace(-1, 1, images.shape[-1])
            return (images * 0 + column).repeat(1, 2, 1, 1)

    predictor, _ = window_predictor(Column())
    logits = predictor.logits(torch.zeros(1, 1, 32, 84))[0, 0, 0]
    steps = logits.diff()[40:]  # the second window begins at column 36
    assert steps.min() < -0.1  # it turns back ...
    assert steps.min() > -0.3  # ... and never jumps, as it would without blending: by 1.5


@pytest.mark.parametrize("fit", ["resize", "stretch", "pad", "crop"])
@pytest.mark.parametrize("views", ["flips", "dihedral"])
def test_views_of_images_of_any_size_are_predicted(fit, views):
    predictor = small_predictor(size=(32, 64), fit=fit)
    for size in ((20, 60), (37, 91)):
        probabilities = TTA(predictor, views=views)(np.random.default_rng(0).random(size))
        assert probabilities.shape == (4, *size)
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("size", [(61, 83), (130, 45)])
def test_members_of_different_sizes_and_fits_vote_at_the_images_size(size):
    members = [
        small_predictor(size=(32, 48), fit="crop", seed=1),
        small_predictor(size=(64, 64), fit="resize", seed=2),
        small_predictor(size=(96, 64), fit="stretch", seed=3),
        small_predictor(seed=4),
    ]
    image = np.random.default_rng(0).random(size)
    expected = np.mean([member(image) for member in members], axis=0)
    np.testing.assert_allclose(Ensemble(members)(image), expected, atol=1e-6)


def test_padding_is_cut_off_and_the_aspect_kept():
    """A network that passes the image on gives it back, at its place and size."""

    class Copy(torch.nn.Module):
        def forward(self, images):
            return images.repeat(1, 2, 1, 1)

    ramp = torch.linspace(0, 1, 80)[None, None, None].expand(1, 1, 30, 80)
    for fit, tolerance in (("resize", 0.02), ("pad", 0), ("crop", 1e-6)):
        data = DataConfig(size=(64, 64) if fit != "pad" else (64, 96), fit=fit, normalize="none")
        predictor = ModelPredictor(Copy(), Config(data=data), device=CPU, precision="fp32")
        logits = predictor.logits(ramp)
        torch.testing.assert_close(logits, ramp.expand(1, 2, -1, -1), atol=tolerance, rtol=0)


@pytest.mark.parametrize("quarter_turns", range(-3, 4))
def test_rotations_are_those_of_torch(quarter_turns):
    images = torch.arange(24.0).reshape(1, 2, 3, 4)
    expected = torch.rot90(images, quarter_turns, (-2, -1))
    assert torch.equal(_rotate(images, quarter_turns), expected)
