import pytest

from acdc_seg.config import with_overrides
from acdc_seg.errors import ConfigError
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.trials import num_finished


def test_a_study_that_exists_with_other_options_is_refused_naming_them(make_spec, tiny_config):
    open_study(make_spec())
    config = with_overrides(tiny_config, {"train.epochs": 9, "train.ema_decay": None})
    with pytest.raises(ConfigError, match="study 's' exists with different settings; ") as error:
        open_study(make_spec(sampler="random", seed=1, config=config))
    assert set(str(error.value).splitlines()[1:]) == {
        "train.epochs: 2 in the study, 9 here",
        f"train.ema_decay: {tiny_config.train.ema_decay} in the study, null here",
        'sampler: "tpe" in the study, "random" here',
        "seed: 0 in the study, 1 here",
    }
    with pytest.raises(ConfigError, match=r"space\.loss\.name\.choices: \[.* in the study, \["):
        open_study(make_spec(space="loss.name: [dice]"))


def test_runs_of_a_study_that_is_gone_are_not_mixed_with_a_new_one(
    make_spec, run_study, fake_train
):
    fake_train()
    spec = make_spec(num_trials=1)
    run_study(spec)
    (spec.folder / "journal.log").unlink()
    with pytest.raises(ConfigError, match="holds runs of a study that is no longer stored"):
        open_study(spec)


def test_sqlite_with_one_worker_works(make_spec, run_study, fake_train, tmp_path):
    fake_train()
    assert (
        num_finished(run_study(make_spec(num_trials=2, storage=f"sqlite:///{tmp_path}/s.db"))) == 2
    )


def test_a_database_that_cannot_be_opened(make_spec):
    for storage, message in (
        ("sqlite:////nowhere/s.db", "cannot open this database"),
        (
            "somewhere",
            "--storage is not a valid database address; write postgresql://USER@HOST/NAME",
        ),
        (
            "postgresql://tuner:secret@127.0.0.1:1/s",
            r"--storage postgresql://tuner:\*\*\*@127\.0\.0\.1:1/s: (cannot open|its driver)",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            open_study(make_spec(storage=storage))
