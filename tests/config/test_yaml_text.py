import tracemalloc

import pytest

from acdc_seg.config import load_config, parse_override
from acdc_seg.config.ensemble import read_ensemble
from acdc_seg.config.yaml_text import LONGEST_TEXT, MOST_VALUES, parse_yaml, read_yaml
from acdc_seg.errors import ConfigError

LAUGHS = "a: &a [lol]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
"""Ten lines that stand for 9^9 values."""
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new}\n  <<: [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


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


def test_aliases_and_merges_within_reason_are_read():
    tree, lines = parse_yaml("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n", source="a.yaml")
    assert tree == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    assert (lines["b", "x"], lines["b", "y"]) == (1, 4)


@pytest.mark.parametrize("text", [LAUGHS, MERGES], ids=["aliases", "merges"])
def test_a_few_lines_that_stand_for_a_billion_values_cost_nothing(text):
    tracemalloc.start()
    try:
        message = message_of(text)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert message.endswith(
        f" values once its aliases (*name) are written out, at most {MOST_VALUES:,} are read"
    )
    assert int(message.split()[1].replace(",", "")) > 9**9


@pytest.mark.parametrize(
    "text",
    [
        "[" * 21 + "]" * 21,
        "[" * 100_000,
        "{a: " * 5000,
        "- " * 3000 + "1",
        "a: &a [*a]",
        "a: &a {b: *a}",
    ],
)
def test_deep_and_endless_nesting_is_refused(text):
    assert message_of(text) == "a.yaml: nested more than 20 levels deep; write it flat"
    assert parse_yaml("[" * 19 + "1" + "]" * 19, source="a.yaml")


def test_long_texts_are_refused_before_they_are_parsed(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text("- a\n" * LONGEST_TEXT)
    with pytest.raises(ConfigError, match=r"long\.yaml: longer than 200,000 characters"):
        read_yaml(path, what="config file")
    assert message_of("x" * (LONGEST_TEXT + 1)).startswith("a.yaml: longer than")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seed: 1\ntrain: {}\nseed: 2\n",
            "a.yaml, line 3: 'seed' stands in line 1 already; keep one of the two",
        ),
        (
            "train:\n  lr: 1\n  'lr': 2\n",
            "a.yaml, line 3: 'lr' stands in line 2 already; keep one of the two",
        ),
        ("a: [{b: 1, b: 1}]", "a.yaml, line 1: 'b' stands in line 1 already; keep one of the two"),
        (
            "yes: 1",
            "a.yaml, line 1: 'yes' is no name of a setting for YAML; put quotes around words",
        ),
        (
            "a:\n  2020-01-01: 1",
            "a.yaml, line 2: '2020-01-01' is no name of a setting for YAML; put quotes around "
            "words",
        ),
        (
            "? [a, b]\n: 1",
            "a.yaml, line 1: a list or block is no name of a setting for YAML; put quotes around "
            "words",
        ),
        ("a: 0x" + "f" * 5000, "a.yaml, line 1: a whole number of 5,002 characters; correct it"),
    ],
)
def test_keys_and_numbers_that_cannot_be_meant(text, message):
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


def test_all_readers_of_yaml_refuse_alike(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\nseed: 2\n")
    for read in (load_config, read_ensemble):
        with pytest.raises(ConfigError, match=r"a\.yaml, line 2: 'seed' stands in line 1 already"):
            read(path)
    for value in ("{a: 1, a: 2}", "[" * 3000, LAUGHS.replace("\n", "\n ")):
        with pytest.raises(ConfigError, match=r"^'data\.size="):
            parse_override(f"data.size={value}")
