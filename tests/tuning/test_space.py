from pathlib import Path

import optuna
import pytest

from acdc_seg.config import MODEL_SECTIONS, configs_dir, load_config, with_overrides
from acdc_seg.errors import ConfigError
from acdc_seg.tuning.space import find_space, load_space


@pytest.fixture
def read(tmp_path):
    def load(text: str):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return load_space(path, load_config(model="unet"))

    return load


@pytest.mark.parametrize(
    "path", sorted((configs_dir() / "tune").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_spaces_fit_the_config_and_draw_settings_that_it_takes(path):
    base = load_config(model="unet")
    space = load_space(find_space(path.stem), base)
    assert space.outside(base) == {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(10):
        with_overrides(base, space.suggest(study.ask()))
    assert len(space.grid()) > 1


RECIPES = sorted({path.stem for path in configs_dir().glob("*.yaml")} & MODEL_SECTIONS.keys())


@pytest.mark.parametrize("model", RECIPES)
def test_every_recipe_is_inside_its_default_space(model):
    base = load_config(model=model)
    space = load_space(find_space("default"), base)
    assert space.params_of(base) == {
        "optimizer.lr": base.optimizer.lr,
        "optimizer.weight_decay": base.optimizer.weight_decay,
    }
    grid = space.grid(space.params_of(base))
    assert len(grid) == 9
    assert grid[0] == space.params_of(base)
    lr = space.entries["optimizer.lr"]
    assert (lr.low, lr.high) == pytest.approx((base.optimizer.lr / 5, base.optimizer.lr * 5))


def test_a_range_relative_to_the_config(read):
    space = read("optimizer.lr: {times: [0.5, 2]}\ntrain.epochs: {times: [0.25, 2], step: 40}\n")
    lr, epochs = space.entries["optimizer.lr"], space.entries["train.epochs"]
    assert (lr.low, lr.high) == (0.001, 0.004)
    assert (epochs.low, epochs.high, epochs.step) == (40, 320, 40)


def test_settings_of_a_config_that_a_space_cannot_draw(read):
    base = load_config(model="unet", overrides=["train.epochs=7", "loss.name=dice"])
    space = read(
        "train.epochs: {low: 5, high: 9, step: 4}\nloss.name: [dice_ce, tversky]\n"
        "loss.tversky_alpha: {low: 0.8, high: 0.9, when: {loss.name: tversky}}\n"
        "optimizer.lr: {low: 0.01, high: 1.0}\ntrain.ema_decay: [null, 0.995]\n"
    )
    assert space.outside(base) == {"train.epochs": 7, "loss.name": "dice", "optimizer.lr": 0.002}
    assert space.params_of(base) is None


def test_settings_of_the_command_are_not_varied(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "loss.name: [dice_ce, tversky]\ntrain.epochs: {low: 20, high: 100}\n"
        "loss.tversky_alpha: {low: 0.2, high: 0.6, when: {loss.name: tversky}}\n"
        "loss.lambda_ce: {low: 0.2, high: 0.6, when: {loss.name: dice_ce}}\n"
    )

    def load(*overrides):
        keys = [text.partition("=")[0] for text in overrides]
        base = load_config(model="unet", overrides=overrides)
        return load_space(tmp_path / "space.yaml", base, fixed=keys)

    space = load("train.epochs=3", "seed=1")
    assert list(space.entries) == ["loss.name", "loss.tversky_alpha", "loss.lambda_ce"]
    assert space.fixed == {"train.epochs": 3}
    space = load("loss.name=tversky")
    assert list(space.entries) == ["train.epochs", "loss.tversky_alpha"]
    assert space.entries["loss.tversky_alpha"].when == {}
    assert list(load("loss.name=dice").entries) == ["train.epochs"]
    with pytest.raises(ConfigError, match="which leaves nothing to vary; leave out one of loss"):
        load("loss.name=dice", "train.epochs=3")


def test_kinds_of_settings(read):
    space = read(
        "optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
        "train.epochs: {low: 4, high: 8, step: 2}\n"
        "train.ema_decay: [null, 0.9]\n"
        "data.size: [[32, 32], [48, 64]]\n"
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))
    drawn = [(trial := study.ask(), space.suggest(trial)) for _ in range(30)]
    assert all(1e-4 <= values["optimizer.lr"] <= 1e-2 for _, values in drawn)
    assert {values["train.epochs"] for _, values in drawn} == {4, 6, 8}
    assert {values["train.ema_decay"] for _, values in drawn} == {None, 0.9}
    assert [48, 64] in [values["data.size"] for _, values in drawn]
    assert all(space.values_of(trial.params) == values for trial, values in drawn)


def test_conditional_settings_are_drawn_only_where_they_apply(read):
    space = read(
        "loss.name: [dice, tversky]\nloss.tversky_alpha: {low: 0.1, high: 0.9, when: {loss.name: "
        "tversky}}\n"
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    drawn = [space.suggest(study.ask()) for _ in range(20)]
    assert {values["loss.name"] for values in drawn} == {"dice", "tversky"}
    assert all(
        ("loss.tversky_alpha" in values) == (values["loss.name"] == "tversky") for values in drawn
    )


def test_grid_has_every_combination_once_and_no_setting_without_effect(read):
    space = read(
        "loss.name: [dice, tversky]\n"
        "loss.tversky_alpha: {low: 0.2, high: 0.6, points: 3, when: {loss.name: tversky}}\n"
        "train.epochs: {low: 1, high: 3, step: 2}\n"
    )
    tversky = [
        {"loss.name": "tversky", "loss.tversky_alpha": pytest.approx(alpha)}
        for alpha in (0.2, 0.4, 0.6)
    ]
    assert space.grid() == [
        {**given, "train.epochs": epochs}
        for given in ({"loss.name": "dice"}, *tversky)
        for epochs in (1, 3)
    ]


def test_grid_points_by_ratio(read):
    assert read("optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true, points: 3}").grid() == [
        {"optimizer.lr": pytest.approx(lr)} for lr in (1e-4, 1e-3, 1e-2)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lrr: [1]", "line 1: optimizer.lrr: unknown setting; did you mean 'lr'?"),
        ("loss.name: [dice, tverski]", "line 1: loss.name: got 'tverski'; did you mean 'tversky'?"),
        (
            "optimizer.lr: {low: 0.0, high: 1.0}",
            "optimizer.lr: got 0.0; input should be greater than 0",
        ),
        ("train.epochs: {low: 1.5, high: 4.5}", "train.epochs: got 1.5"),
        (
            "optimizer.lr: {low: 1.0, high: 2.0, stpe: 0.1}",
            "optimizer.lr.stpe: unknown setting; did you mean 'step'?",
        ),
        ("optimizer.lr: {low: 2.0, high: 1.0}", "low=2.0 must be below high=1.0"),
        (
            "optimizer.lr: {low: 0.1, high: 1.0, log: true, step: 0.1}",
            "log and step exclude each other",
        ),
        ("optimizer.lr: 0.1", "optimizer.lr: got 0.1; write a list of values, or low and high"),
        (
            "optimizer.lr: {times: 5}",
            "optimizer.lr.times: got 5; write two factors in place of low",
        ),
        (
            "optimizer.lr: {times: [1, 2], low: 1}",
            "optimizer.lr.times: got [1, 2]; write two factors",
        ),
        (
            "loss.name: {times: [1, 2]}",
            "loss.name.times: the config has 'dice_ce', and only a numb",
        ),
        ("optimizer.lrr: {times: [1, 2]}", "unknown setting; did you mean 'lr'?"),
        ("loss.name: []", "choices must be at least one value, each once"),
        ("data.fold: [0, 1]", "data.fold: is set by the study itself and cannot be varied"),
        (
            "loss.gamma: {low: 1.0, high: 2.0, when: {loss.name: focal}}",
            "loss.gamma.when: 'loss.name' is not a choice above this line",
        ),
        (
            "loss.name: [dice]\nloss.gamma: {low: 1.0, high: 2.0, when: {loss.name: focal}}",
            "line 2: loss.gamma.when.loss.name: 'focal'",
        ),
        ("- a", "a space is lines such as"),
        ("a: [", "this is not YAML"),
    ],
)
def test_mistakes(read, text, message):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert message in str(error.value)


def test_all_mistakes_at_once(read):
    with pytest.raises(ConfigError) as error:
        read("optimizer.lrr: [1]\ntrain.epochs: [0]\n")
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == [
        "optimizer.lrr",
        "train.epochs",
    ]


def test_a_grid_needs_to_know_how_fine(read):
    with pytest.raises(
        ConfigError, match=r"optimizer\.lr: a grid needs to know how fine; add points: 5"
    ):
        read("optimizer.lr: {low: 0.1, high: 1.0}").grid()


def test_unknown_space():
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        find_space("defualt")
    assert find_space("loss") == Path(configs_dir() / "tune" / "loss.yaml")
