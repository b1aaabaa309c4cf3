import pytest

from acdc_seg.config import load_config, parse_override
from acdc_seg.config.ensemble import read_ensemble
from acdc_seg.config.yaml_text import MAX_CHARACTERS, parse_yaml, read_yaml
from acdc_seg.errors import ConfigError


def message_of(text):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, source="a.yaml")
    return str(caught.value)


def test_values_and_lines():
    text = "train:\n  epochs: 3\nmodel: {name: unet, 'x y': [1, null]}\n"
    tree, lines = parse_yaml(text, source="a.yaml")
    assert tree == {"train": {"epochs": 3}, "model": {"name": "unet", "x y": [1, None]}}
    assert lines == {
        ("train",): 1,
        ("train", "epochs"): 2,
        ("model",): 3,
        ("model", "name"): 3,
        ("model", "x y"): 3,
    }
    assert parse_yaml("# nothing", source="a.yaml") == (None, {})


def test_aliases_and_merges_are_read():
    tree, lines = parse_yaml("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n", source="a.yaml")
    assert tree == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    assert (lines["a", "x"], lines["b", "y"], lines["c", "y"]) == (1, 4, 1)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 5000,
        "- " * 3000 + "1",
        "a: &a [*a]",
        "a: &a {b: *a}",
    ],
)
def test_deep_and_endless_nesting_is_refused(text):
    assert message_of(text) == "a.yaml: nested too deep; write it flat"


def test_long_texts_are_refused_before_they_are_parsed(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text("- a\n" * MAX_CHARACTERS)
    with pytest.raises(ConfigError, match=r"long\.yaml: longer than 200,000 characters"):
        read_yaml(path, what="config file")
    assert message_of("x" * (MAX_CHARACTERS + 1)).startswith("a.yaml: longer than")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seed: 1\ntrain: {}\nseed: 2\n",
            "a.yaml, line 3: 'seed' is in line 1 already; keep one of the two",
        ),
        (
            "train:\n  lr: 1\n  'lr': 2\n",
            "a.yaml, line 3: 'lr' is in line 2 already; keep one of the two",
        ),
        ("a: [{b: 1, b: 1}]", "a.yaml, line 1: 'b' is in line 1 already; keep one of the two"),
        (
            "yes: 1",
            "a.yaml, line 1: 'yes' is not a valid setting name in YAML; put quotes around words",
        ),
        (
            "a:\n  2020-01-01: 1",
            "a.yaml, line 2: '2020-01-01' is not a valid setting name in YAML; put quotes around "
            "words",
        ),
        (
            "? [a, b]\n: 1",
            "a.yaml, line 1: a list or block is not a valid setting name in YAML; put quotes "
            "around words",
        ),
    ],
)
def test_invalid_and_duplicate_keys(text, message):
    assert message_of(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "!!int ''",
        "!!int a",
        "!!bool a",
        "!!timestamp a",
        "!!float a",
        "a: !!set [b]",
        "!!python/name:os.system a",
        "\0",
    ],
)
def test_values_that_are_not_what_their_tag_says(text):
    assert message_of(text).startswith("a.yaml: this is not YAML: ")


def test_all_yaml_readers_refuse_duplicate_keys(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\nseed: 2\n")
    for read in (load_config, read_ensemble):
        with pytest.raises(ConfigError, match=r"a\.yaml, line 2: 'seed' is in line 1 already"):
            read(path)
    for value in ("{a: 1, a: 2}", "[" * 3000):
        with pytest.raises(ConfigError, match=r"^'data\.size="):
            parse_override(f"data.size={value}")
