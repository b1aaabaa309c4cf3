"""Names and settings of variants, from mappings, lists and grids."""

import pytest

from acdc_seg.config.experiment import (
    ExperimentFile,
    find_experiment,
    read_experiment,
    shipped_experiments,
)
from acdc_seg.errors import ConfigError
from acdc_seg.experiments.variants import expand_variants


def variants_of(**content):
    return expand_variants(ExperimentFile(title="t", **content))


def test_named_variants_keep_their_names():
    first, second = variants_of(
        variants={"no flip": {"augment.preset": "none"}, "flip": {"augment.preset": "vertical"}}
    )
    assert (first.name, first.slug, second.changes) == (
        "no flip",
        "no_flip",
        {"augment.preset": "vertical"},
    )


def test_a_list_is_named_by_its_values():
    names = [
        variant.name
        for variant in variants_of(
            variants=[{"optimizer.name": "adam", "optimizer.lr": 1e-4}, {"data.size": [64, 32]}]
        )
    ]
    assert names == ["adam, 1e-4", "64x32"]


def test_a_grid_is_all_combinations_in_groups():
    variants = variants_of(
        grid={
            "network": {"big": {"model.depth": 5}, "small": {"model.depth": 2}},
            "optimizer.lr": [0.01, 1e-5],
        },
        group_by="network",
    )
    assert [variant.name for variant in variants] == [
        "big, 0.01",
        "big, 1e-5",
        "small, 0.01",
        "small, 1e-5",
    ]
    assert (variants[3].group, variants[3].label) == ("small", "1e-5")
    assert variants[3].changes == {"model.depth": 2, "optimizer.lr": 1e-5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"variants": {"best": {}}}, "a variant cannot be called 'best'"),
        ({"variants": {"a b": {}, "a_b": {}}}, "two variants are called 'a b'"),
        ({"variants": {"a": {}, "vote": {}}, "vote": "vote"}, "two variants are called 'vote'"),
        (
            {"variants": {"adam": {}, "sgd": {}}, "comparisons": [{"better": "adm"}]},
            "'adm' is compared, but is not a variant; did you mean 'adam'?",
        ),
        ({"variants": {"a": {}}, "study_dice": {"b": 0.5}}, "'b' is compared, but is not a"),
    ],
)
def test_mistakes_in_names(content, message):
    with pytest.raises(ConfigError, match=message):
        variants_of(**content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: t\n", "give variants or a grid"),
        ("title: t\nvariants: {a: {}}\ngrid: {x.y: [1]}\n", "give variants or a grid"),
        (
            "title: t\nvariant: {a: {}}\n",
            "line 2: variant: unknown setting; did you mean 'variants'",
        ),
        ("title: t\nvariants: {a: {}}\nfigures: [axis]\n", "needs the setting: axis: optimizer.lr"),
        ("title: t\nvariants: {a: {}}\ngroup_by: a\n", "group_by: 'a' is not a factor of the grid"),
        ("title: t\nvariants: {a: {}}\nseeds: [x]\n", "seeds.0: got 'x'"),
        ("- a\n", "an experiment has a title, a base and variants"),
    ],
)
def test_mistakes_in_files(tmp_path, text, message):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_experiment(tmp_path / "e.yaml")


def test_unknown_experiments_are_guessed(tmp_path):
    with pytest.raises(ConfigError, match="'loses' is unknown; did you mean 'losses'"):
        find_experiment("loses")
    with pytest.raises(ConfigError, match="no such experiment file"):
        find_experiment(str(tmp_path / "mine.yaml"))


def test_the_experiments_of_the_study_are_there():
    assert set(shipped_experiments()) >= {
        *("optimizers", "weight_decay", "losses", "augmentations", "learning_rate", "batch_size"),
        *("epochs", "architectures", "backbones", "unet_depth", "ensemble", "ce_vs_dice"),
        *("unet_vs_resnet34", "street_scenes", "transfer"),
    }
