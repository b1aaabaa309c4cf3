import pytest

from acdc_seg.cli.app import expand_args


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("--runs a b --data d", "--runs a --runs b --data d"),
        ("--data d --runs a b c", "--data d --runs a --runs b --runs c"),
        ("--runs a --runs b", "--runs a --runs b"),
        ("--tta", "--tta both"),
        ("--tta --data d", "--tta both --data d"),
        ("--data d --tta flips --runs a b", "--data d --tta flips --runs a --runs b"),
        ("a b --data d", "a b --data d"),
        ("", ""),
    ],
)
def test_greedy_options_and_implied_values(given, expanded):
    assert (
        expand_args(given.split(), greedy=("--runs",), implied={"--tta": "both"})
        == expanded.split()
    )
