import pytest

from acdc_seg.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"storage": "sqlite:///s.db", "num_workers": 2},
            "SQLite locks its whole file for every write",
        ),
        ({"sampler": "tpee"}, "--sampler 'tpee' is unknown; did you mean 'tpe'"),
        ({"pruner": "mediann"}, "--pruner 'mediann' is unknown; did you mean 'median'"),
        ({"pareto": "time"}, "--pareto has two goals: it needs --pruner none"),
        ({"num_folds": 1}, "cross-validation needs two folds"),
        ({"sampler": "cmaes"}, "--sampler cmaes searches plain ranges only"),
    ],
)
def test_options_that_do_not_fit(make_spec, options, message):
    with pytest.raises(ConfigError, match=message):
        make_spec(**options)


def test_a_grid_has_no_more_trials_than_points(make_spec):
    make_spec(space="loss.name: [dice_ce, dice]", num_trials=2, sampler="grid")
    with pytest.raises(ConfigError, match="--trials 3: the grid has 2 points; give 2 at most"):
        make_spec(space="loss.name: [dice_ce, dice]", num_trials=3, sampler="grid")
