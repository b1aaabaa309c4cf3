import csv

import pytest
import torch
from reports import Page

from acdc_seg.config import load_config, with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.training.loop import train
from acdc_seg.tuning.results import compare_with_recipe, write_results
from acdc_seg.tuning.trials import num_finished, ranked


def what_happened(study):
    return [
        (trial.number, trial.state, trial.params, trial.values, trial.intermediate_values)
        for trial in study.trials
    ]


def test_one_worker_repeats_a_study_and_best_yaml_its_score(make_spec, run_study, tmp_path):
    spec = make_spec(num_trials=4, pruner="median")
    study = run_study(spec)
    stopped = make_spec(num_trials=2, pruner="median", place="again")
    assert num_finished(run_study(stopped)) == 2
    again = run_study(make_spec(num_trials=4, pruner="median", place="again"))
    assert what_happened(again) == what_happened(study)
    config = load_config(write_results(study, spec))
    assert config.train.num_threads == 1
    config = with_overrides(config, {"runs_dir": str(tmp_path / "runs")})
    source = open_source(config.data, prepare_settings=config.prepare)
    torch.set_num_threads(2)
    assert train(config, source).dice == study.best_value
    rows = list(csv.DictReader((spec.folder / "trials.csv").open()))
    assert [float(row["dice"]) for row in rows] == [trial.value for trial in study.trials]
    page = (spec.folder / "report.html").read_text()
    for caption in (
        "History",
        "Parallel coordinates",
        "Slices: optimizer.lr, train.epochs, loss.name",
    ):
        assert f"<h3>{caption}</h3>" in page
    assert len(list((spec.folder / "tensorboard").glob("trial-*"))) == len(ranked(study))


def test_best_yaml_records_the_threads_that_the_trials_had(
    make_spec, run_study, tiny_config, tmp_path
):
    config = with_overrides(tiny_config, {"train.num_threads": 2})
    spec = make_spec(num_trials=1, config=config)
    study = run_study(spec)
    torch.set_num_threads(1)
    best = load_config(write_results(study, spec))
    assert best.train.num_threads == 2
    best = with_overrides(best, {"runs_dir": str(tmp_path / "runs")})
    assert train(best).dice == study.best_value


def test_best_yaml_of_a_study_over_folds_names_the_folds(make_spec, run_study, tmp_path):
    spec = make_spec(num_trials=1, num_folds=2)
    study = run_study(spec)
    path = write_results(study, spec)
    assert path.read_text().splitlines()[1].endswith(f"{path} --folds 2 --fold all")
    dice = []
    for fold in range(2):
        changes = {"runs_dir": str(tmp_path / "runs"), "data.num_folds": 2, "data.fold": fold}
        dice.append(train(with_overrides(load_config(path), changes)).dice)
    assert sum(dice) / 2 == study.best_value


def test_pareto_front_of_dice_and_parameters(make_spec, run_study, fake_train):
    fake_train(lambda config: [0.5 + config.model.base_channels / 100] * config.train.epochs)
    spec = make_spec(
        space="model.base_channels: [4, 8]",
        num_trials=2,
        sampler="grid",
        pruner="none",
        pareto="parameters",
    )
    study = run_study(spec)
    assert [trial.values[0] for trial in study.trials] == [0.54, 0.58]
    assert study.trials[0].values[1] < study.trials[1].values[1]
    write_results(study, spec)
    assert [row["pareto"] for row in csv.DictReader((spec.folder / "trials.csv").open())] == [
        "true",
        "true",
    ]
    assert "Pareto front" in (spec.folder / "report.html").read_text()


LRS = "optimizer.lr: [0.005, 0.01, 0.02]"


@pytest.mark.parametrize(
    ("best_lr", "sentence"),
    [
        (
            0.02,
            "Trial 2 beats the recipe by 0.1000 (Dice 0.6000 against 0.5000 of trial 0), as the "
            "best of 3 on 2 validation images: no proof that it is better on others.",
        ),
        (0.005, "No trial beat the recipe (trial 0, Dice 0.6000)."),
    ],
)
def test_the_recipe_is_the_first_trial_and_what_the_best_is_compared_with(
    make_spec, run_study, fake_train, tiny_config, best_lr, sentence
):
    fake_train(lambda config: [0.6 if config.optimizer.lr == best_lr else 0.5])
    config = with_overrides(tiny_config, {"optimizer.lr": 0.005})
    spec = make_spec(space=LRS, num_trials=3, sampler="grid", pruner="none", config=config)
    study = run_study(spec)
    assert [trial.params["optimizer.lr"] for trial in study.trials] == [0.005, 0.01, 0.02]
    assert compare_with_recipe(study, spec) == sentence
    assert f"# {sentence}" in write_results(study, spec).read_text().splitlines()
    assert sentence in (spec.folder / "report.html").read_text()


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_every_sampler_tries_the_recipe_first(make_spec, run_study, fake_train, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    fake_train()
    ranges = (
        "optimizer.lr: {times: [0.2, 5], log: true}\n"
        "optimizer.weight_decay: {times: [0.1, 10], log: true}\n"
    )
    spec = make_spec(space=ranges, num_trials=3, sampler=sampler)
    first, *others = run_study(spec).trials
    assert first.params == spec.recipe
    assert first.params == {
        "optimizer.lr": spec.config.optimizer.lr,
        "optimizer.weight_decay": spec.config.optimizer.weight_decay,
    }
    assert len({str(trial.params) for trial in (first, *others)}) == 3


def test_a_recipe_between_the_points_of_a_grid_is_a_point_more(make_spec):
    space = "optimizer.lr: {low: 1.0e-4, high: 1.0, log: true, points: 2}"
    spec = make_spec(space=space, num_trials=3, sampler="grid")
    rates = [point["optimizer.lr"] for point in spec.points()]
    assert rates == pytest.approx([spec.config.optimizer.lr, 1e-4, 1.0])


def test_a_space_without_the_recipe_says_so(make_spec, run_study, fake_train):
    fake_train()
    spec = make_spec(space="optimizer.lr: {low: 0.5, high: 0.9}", num_trials=1)
    study = run_study(spec)
    lr = spec.config.optimizer.lr
    assert (
        compare_with_recipe(study, spec)
        == f"The recipe was not tried: the space does not contain its optimizer.lr={lr}."
    )


def test_the_page_lists_its_trials_and_says_why_it_has_no_plots(make_spec, run_study, fake_train):
    fake_train()
    for num_trials in (1, 2):
        spec = make_spec(num_trials=num_trials, pruner="none")
        write_results(run_study(spec), spec)
        html = (spec.folder / "report.html").read_text()
        page = Page(html)
        assert page.tables[0][0][:3] == ["Trial", "Dice", "Result"]
        assert len(page.tables[0]) == 1 + num_trials
        assert page.tables[0][-1 if num_trials == 1 else 1][0] in ("0", "1")
        assert ("None: two complete trials are needed" in page.text) == (num_trials == 1)
        assert ("<h3>History</h3>" in html) == (num_trials == 2)
