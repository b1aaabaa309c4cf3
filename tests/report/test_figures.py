import numpy as np
import pytest

from acdc_seg.report.figures import (
    best_epoch,
    curves,
    overlay,
    pick_cases,
    prediction_grid,
    score_boxplot,
)

COLORS = ((0, 0, 0), (200, 0, 100), (0, 100, 0))


def rows_of(*dice):
    return [
        {"id": f"cmr{index}", "dice": {"rv": first, "lv": second}}
        for index, (first, second) in enumerate(dice)
    ]


def test_overlay_mixes_image_and_color_by_hand():
    image = np.array([[-1.0, 0.0], [1.0, 0.0]])  # stretched: 0, 127.5 -> 128, 255, 128
    labels = np.array([[1, 0], [1, 2]])
    painted = overlay(image, labels, colors=COLORS, alpha=0.25)
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[[50, 0, 25], [128, 128, 128]], [[241, 191, 216], [96, 121, 96]]]


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (3, 4, 5)])
def test_overlay_takes_gray_and_color_images(shape):
    image = np.linspace(0, 900, np.prod(shape)).reshape(shape)
    painted = overlay(image, np.zeros((4, 5), np.uint8), colors=COLORS)
    assert painted.shape == (4, 5, 3)
    assert (painted.min(), painted.max()) == (0, 255)
    channel = image[0] if len(shape) == 3 else image
    np.testing.assert_array_equal(painted[..., 0], np.rint(channel * (255 / 900)).astype(np.uint8))


def test_overlay_of_a_constant_image_is_black_and_void_stays_unpainted():
    assert not overlay(np.full((3, 3), 7.0), np.full((3, 3), 255, np.uint8), colors=COLORS).any()


def test_overlay_leaves_its_input_alone():
    image = np.array([[0, 255]], np.uint8)
    overlay(image, np.array([[1, 1]]), colors=COLORS)
    assert image.tolist() == [[0, 255]]


HISTORY = [
    {"epoch": 1, "train_loss": 0.9, "val_loss": 0.8, "dice": 0.5, "dice_rv": 0.4, "dice_lv": 0.6},
    {
        "epoch": 2,
        "train_loss": 0.7,
        "val_loss": None,
        "dice": None,
        "dice_rv": None,
        "dice_lv": None,
    },
    {"epoch": 3, "train_loss": 0.5, "val_loss": 0.6, "dice": 0.8, "dice_rv": 0.7, "dice_lv": 0.9},
    {
        "epoch": 4,
        "train_loss": 0.4,
        "val_loss": 0.7,
        "dice": 0.8,
        "dice_rv": 0.8,
        "dice_lv": float("nan"),
    },
]


def test_curves_skip_epochs_without_validation_and_mark_the_best():
    loss, dice = curves(HISTORY, colors={"rv": (255, 0, 0)}).axes
    lines = {line.get_label(): line for axes in (loss, dice) for line in axes.lines}
    assert lines["training"].get_xydata().tolist() == [[1, 0.9], [2, 0.7], [3, 0.5], [4, 0.4]]
    assert lines["validation"].get_xydata().tolist() == [[1, 0.8], [3, 0.6], [4, 0.7]]
    assert lines["lv"].get_xydata().tolist() == [[1, 0.6], [3, 0.9]]
    assert lines["rv"].get_color() == "#ff0000"
    assert lines["best: 0.800 at epoch 3"].get_xydata().tolist() == [[3, 0.8]]


def test_best_epoch_is_the_first_of_equals():
    assert best_epoch(HISTORY)["epoch"] == 3
    assert best_epoch([{"epoch": 1, "dice": None}]) is None
    assert best_epoch([]) is None


def test_curves_of_nothing_are_empty_axes():
    assert [len(axes.lines) for axes in curves([]).axes] == [0, 0]


@pytest.mark.parametrize(
    ("truths", "columns"),
    [(True, ["image", "truth", "prediction"]), (False, ["image", "prediction"])],
)
def test_prediction_grid_shows_every_case_in_a_row(truths, columns):
    images = [np.eye(4), np.eye(4)[None]]
    labels = [np.zeros((4, 4), int), np.ones((4, 4), int)]
    figure = prediction_grid(
        images,
        labels,
        labels[::-1] if truths else None,
        colors=COLORS,
        names=("background", "rv", "lv"),
        titles=("cmr1", "cmr2"),
    )
    axes = np.array(figure.axes).reshape(2, len(columns))
    assert [each.get_title() for each in axes[0]] == columns
    assert [each.get_ylabel() for each in axes[:, 0]] == ["cmr1", "cmr2"]
    np.testing.assert_array_equal(
        axes[1, -1].images[0].get_array(), overlay(images[1], labels[1], colors=COLORS)
    )
    assert [text.get_text() for text in figure.legends[0].texts] == ["rv", "lv"]


def test_boxplot_has_a_dot_for_every_image():
    (axes,) = score_boxplot(
        rows_of((0.1, 0.5), (0.2, 0.6), (0.3, 1.0)),
        "dice",
        label="Dice",
        colors={"lv": (0, 0, 255)},
    ).axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata().tolist() for line in dots] == [[0.1, 0.2, 0.3], [0.5, 0.6, 1.0]]
    assert dots[1].get_color() == "#0000ff"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rv", "lv"]


def test_cases_are_picked_by_mean_dice():
    assert pick_cases(rows_of((0.5, 0.5), (0.9, 0.9), (0.1, 0.3), (0.6, 0.8), (0, 1))) == {
        "best": 1,
        "median": 0,
        "worst": 2,
    }
    assert pick_cases(rows_of((0.5, 0.5))) == {"best": 0, "median": 0, "worst": 0}
    assert pick_cases([]) == {}
