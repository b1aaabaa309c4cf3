"""Some hundreds of damaged files; scripts/fuzz_readers.py reads ten thousand."""

import runpy
import time
from pathlib import Path

import pytest

from acdc_seg.errors import DataError

script = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "fuzz_readers.py"))
READERS, Reader, fuzz = script["READERS"], script["Reader"], script["fuzz"]


@pytest.mark.parametrize("name", READERS)
def test_examples_are_read_and_damaged_files_read_or_refused(tmp_path, name):
    reader = READERS[name]
    path = tmp_path / reader.place
    path.parent.mkdir(exist_ok=True)
    reader.prepare(path.parent)
    for example in reader.examples():
        path.write_bytes(reader.mend(example))
        reader.read(path)
    (tally,) = fuzz(50, seed=1, keep=tmp_path / "kept", readers={name: reader})
    assert tally.findings == []
    assert tally.read + tally.refused == 50
    assert tally.refused > 10


def refuse(path):
    raise DataError("no")


def crash(path):
    raise KeyError("a")


def swallow(path):
    try:
        time.sleep(9)
    except Exception:
        raise DataError("slow") from None


@pytest.mark.parametrize(
    ("read", "finding"),
    [
        (crash, "KeyError: 'a'"),
        (lambda path: bytearray(2 * 1024**3), "MemoryError: "),
        (swallow, "more than 0 seconds"),
    ],
)
def test_findings_are_told_and_their_files_kept(tmp_path, monkeypatch, read, finding):
    monkeypatch.setitem(script["read_one"].__globals__, "MOST_SECONDS", 0.2)
    (tally,) = fuzz(
        2, seed=0, keep=tmp_path, readers={"a": Reader(lambda: [b"hello"], "a.txt", read)}
    )
    assert tally.findings == [f"{tmp_path}/a-0-{number}.txt: {finding}" for number in range(2)]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_refused_is_no_finding(tmp_path):
    tallies = fuzz(
        5,
        seed=0,
        keep=tmp_path,
        readers={name: Reader(lambda: [b"hello"], "a.txt", refuse) for name in "ab"},
    )
    assert [(tally.reader, tally.read, tally.refused, tally.findings) for tally in tallies] == [
        ("a", 0, 3, []),
        ("b", 0, 2, []),
    ]


def test_equal_seeds_damage_alike():
    rngs = [script["np"].random.default_rng(seed) for seed in (0, 0, 1)]
    made = [
        [script["damage"](b"hello" * 50, b"there" * 50, rng) for _ in range(20)] for rng in rngs
    ]
    assert made[0] == made[1] != made[2]
