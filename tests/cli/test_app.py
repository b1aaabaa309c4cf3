import os
import subprocess
import sys

import pytest

from acdc_seg.cli.app import expand_args

ACTIVE = {"OMP_WAIT_POLICY": "active"}


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


@pytest.mark.parametrize(("environment", "policy"), [({}, "passive"), (ACTIVE, "active")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(environment, policy):
    code = (
        "import os, sys, acdc_seg.cli.train; "
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    rest = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    outcome = subprocess.run(
        [sys.executable, "-c", code], env=rest | environment, capture_output=True, text=True
    )
    assert outcome.stdout.split() == [policy, "False"]
