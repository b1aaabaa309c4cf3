from acdc_seg.report.curves import best_epoch, draw_dice, draw_losses, draw_shared

HISTORY = [
    {"epoch": 1, "train_loss": 0.9, "val_loss": 0.8, "dice": 0.5, "dice_rv": 0.4, "dice_lv": 0.6},
    {"epoch": 2, "train_loss": 0.7, "val_loss": None, "dice": None, "dice_rv": None},
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


def lines_of(figure):
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def names_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_losses_skip_epochs_without_validation_and_mark_the_best():
    figure = draw_losses(HISTORY)
    lines = lines_of(figure)
    assert lines["training"] == [[1, 0.9], [2, 0.7], [3, 0.5], [4, 0.4]]
    assert lines["validation"] == [[1, 0.8], [3, 0.6], [4, 0.7]]
    assert lines["best: 0.600 at epoch 3"] == [[3, 0.6]]
    assert figure.axes[0].get_yscale() == "linear"


def test_losses_that_fall_far_have_a_logarithmic_axis():
    history = [{"epoch": epoch, "train_loss": 2.0 / epoch**2} for epoch in range(1, 6)]
    figure = draw_losses(history)
    assert figure.axes[0].get_yscale() == "log"
    (name,) = figure.axes[0].texts
    assert 0 <= name.get_position()[1] <= 1  # beside the end of its line


def test_dice_of_every_class_and_their_mean_with_names_beside_the_lines():
    figure = draw_dice(HISTORY, {"rv": (255, 0, 0)})
    lines = lines_of(figure)
    assert lines["rv"] == [[1, 0.4], [3, 0.7], [4, 0.8]]
    assert lines["lv"] == [[1, 0.6], [3, 0.9]]
    assert lines["best: 0.800 at epoch 3"] == [[3, 0.8]]
    assert figure.axes[0].lines[0].get_color() == "#ff0000"
    assert names_of(figure) == ["rv", "lv", "mean"]
    assert figure.axes[0].get_legend() is None
    assert figure.axes[0].get_title(loc="left") == "best epoch 3: 0.800"


def test_one_class_has_one_line():
    figure = draw_dice([{"epoch": 1, "dice": 0.5, "dice_tumor": 0.5}], {})
    assert names_of(figure) == ["tumor"]


def test_runs_share_axes():
    figure = draw_shared({"a": HISTORY, "b": HISTORY[:1]}, "dice", "Dice")
    assert lines_of(figure) == {"a": [[1, 0.5], [3, 0.8], [4, 0.8]], "b": [[1, 0.5]]}
    assert names_of(figure) == ["a", "b"]


def test_best_epoch_is_the_first_of_equals():
    assert best_epoch(HISTORY)["epoch"] == 3
    assert best_epoch([{"epoch": 1, "dice": None}]) is None
    assert best_epoch([]) is None


def test_curves_of_nothing_are_empty_axes():
    assert len(draw_losses([]).axes[0].lines) == len(draw_dice([], {}).axes[0].lines) == 0


def test_a_run_has_the_color_of_its_place_among_all():
    alone, after_a_vote = ({"b": HISTORY}, {"vote": [], "b": HISTORY})
    (first,) = draw_shared(alone, "dice", "Dice").axes[0].lines
    (second,) = draw_shared(after_a_vote, "dice", "Dice").axes[0].lines
    assert second.get_label() == "b"
    assert first.get_color() != second.get_color()
