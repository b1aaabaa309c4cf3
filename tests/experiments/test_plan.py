"""Settings of trainings and the digests that they are known by."""

import shutil

import pytest
from hearts import make_heart, write_image
from tiny_experiments import RATES

from acdc_seg.config import with_overrides
from acdc_seg.config.experiment import read_experiment, shipped_experiments
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.experiments.plan import read_plan
from acdc_seg.experiments.settings import QUICK_EPOCHS, Options, variant_configs


def digests(plan):
    return [job.digest for job in plan.jobs]


@pytest.mark.parametrize("name", shipped_experiments())
@pytest.mark.parametrize("quick", [False, True])
def test_every_shipped_experiment_resolves_to_valid_settings(name, quick):
    experiment = read_experiment(shipped_experiments()[name])
    given = tuple(f"{key}=file.pt" for key in experiment.needs)
    configs = variant_configs(experiment, Options(overrides=given, quick=quick))
    assert len(configs) >= 2
    for variant, config in configs:
        assert with_overrides(config, variant.changes) == config
        assert (config.train.epochs == QUICK_EPOCHS) == quick
        assert config.optimizer.name == variant.changes.get("optimizer.name", "adam")


def test_a_training_is_known_by_settings_and_data_and_not_by_their_place(
    plan_of, paired_folder, tmp_path
):
    plan = plan_of()
    moved = shutil.copytree(paired_folder, tmp_path / "elsewhere")
    assert digests(plan_of(data=moved, place="other")) == digests(plan)
    assert digests(plan_of(overrides=("data.num_workers=1",))) == digests(plan)
    assert not set(digests(plan_of(overrides=("optimizer.weight_decay=0.1",)))) & set(digests(plan))
    image, _ = make_heart(99)
    write_image(moved / "train" / "image" / "patient001_0.png", image)
    assert not set(digests(plan_of(data=moved))) & set(digests(plan))


def test_weights_to_start_from_count_by_their_content(plan_of, tmp_path):
    weights = tmp_path / "weights.pt"
    change = {"model.name": "resnet34_unet", "model.pretrained": str(weights)}
    text = RATES.replace("model.depth: 2", "").replace("model.base_channels: 4", "")
    text = text.replace("model.name: unet", "".join(f"{k}: {v}\n  " for k, v in change.items()))
    weights.write_bytes(b"first")
    before = digests(plan_of(text))
    assert digests(plan_of(text)) == before
    weights.write_bytes(b"other")
    assert not set(digests(plan_of(text))) & set(before)


def test_seeds_are_outermost_and_every_fold_is_a_training(plan_of):
    plan = plan_of(num_seeds=2, num_folds=2)
    assert [job.label for job in plan.jobs[:4]] == [
        "0.1, seed 0, fold 0",
        "0.1, seed 0, fold 1",
        "0.01, seed 0, fold 0",
        "0.01, seed 0, fold 1",
    ]
    assert [job.config.seed for job in plan.jobs] == [0] * 4 + [1] * 4
    assert len(set(digests(plan))) == 8


def test_settings_of_the_command_win_over_the_base_and_not_over_variants(plan_of):
    plan = plan_of(overrides=("train.epochs=7",))
    assert [job.config.train.epochs for job in plan.jobs] == [7, 7]
    with pytest.raises(ConfigError, match=r"optimizer\.lr: every variant sets it"):
        plan_of(overrides=("optimizer.lr=1",))
    with pytest.raises(ConfigError, match="seed: is set by the experiment; use --seeds"):
        plan_of(overrides=("seed=3",))
    with pytest.raises(ConfigError, match="compares by validation images"):
        plan_of(overrides=("data.validation=false",))


def test_only_some_variants(plan_of):
    assert [job.variant.name for job in plan_of(only=("0.0*",)).jobs] == ["0.01"]
    with pytest.raises(ConfigError, match="--only '1': no variant"):
        plan_of(only=("1",))


def test_mistakes_of_all_variants_at_once(plan_of):
    text = RATES.replace("[0.1, 0.01]", "[-1.0, 0.1, x]")
    with pytest.raises(ConfigError) as error:
        plan_of(text)
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == [
        "variant '-1'",
        "variant 'x'",
    ]


def test_what_an_experiment_needs_is_asked_for(plan_of):
    with pytest.raises(ConfigError, match=r"needs data.size=... \(why\)"):
        plan_of(f"{RATES}needs: {{data.size: why}}\n")


def test_missing_data_ends_the_command_and_that_of_a_variant_does_not(plan_of, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        plan_of(data=tmp_path / "nowhere")
    text = RATES.replace("{optimizer.lr: [0.1, 0.01]}", "{data.image_dir: [image, nothing]}")
    assert len(plan_of(text).jobs) == 2


def test_a_plan_is_read_as_it_was_written(plan_of, tmp_path):
    plan = plan_of(num_folds=2)
    assert read_plan(plan.folder) == plan
    with pytest.raises(ConfigError, match="no experiment was run here"):
        read_plan(tmp_path / "experiments" / "other")
