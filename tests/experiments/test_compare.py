"""Scores with intervals by patient, the conclusion, and the tables."""

import csv

import pytest
from tiny_experiments import make_result

from acdc_seg.config.experiment import ExperimentFile
from acdc_seg.experiments.compare import VariantSummary, compare, conclude
from acdc_seg.experiments.tables import make_table, write_tables
from acdc_seg.experiments.variants import Variant


def summary(name, *scores, **options):
    return VariantSummary(
        Variant(name, {}, label=name), tuple(make_result(each) for each in scores), **options
    )


LOW = [0.5, 0.6, 0.5, 0.7, 0.6, 0.6, 0.5, 0.5]
HIGH = [value + gain for value, gain in zip(LOW, [0.1, 0.2] * 4, strict=True)]
MIXED = [value + gain for value, gain in zip(LOW, [0.3, 0.3, -0.3, -0.2] * 2, strict=True)]


def sentences(*summaries, **content):
    experiment = ExperimentFile(title="t", variants={"x": {}}, **content)
    return conclude(experiment, summaries)


def test_seeds_are_averaged_by_image():
    both = summary("a", [0.2, 0.4], [0.4, 0.8])
    assert both.scores() == {"i0": pytest.approx(0.3), "i1": pytest.approx(0.6)}
    assert both.mean() == pytest.approx(0.45)
    assert both.mean("iou") == pytest.approx(0.225)


def test_the_interval_is_over_patients():
    low, high = summary("a", [0.0, 0.0, 1.0, 1.0]).interval
    assert (low, high) == (0, 1)
    assert summary("a", [0.5, 0.7]).interval == pytest.approx((float("nan"),) * 2, nan_ok=True)


def test_differences_are_paired_by_image():
    difference = compare(summary("a", HIGH), summary("b", LOW))
    assert difference.gain == pytest.approx(0.15)
    assert (difference.low, difference.high) == pytest.approx((0.15, 0.15))  # alike in all patients
    fewer = compare(summary("a", HIGH[:4]), summary("b", LOW))
    assert fewer.gain == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (
            {"better": "b", "than": "a", "found": 0.017},
            "B beats a by 0.150 (0.150 to 0.150); the study found 0.017.",
        ),
        ({"better": "a", "than": "b"}, "A is behind b by 0.150 (0.150 to 0.150)."),
        (
            {"better": "best"},
            "No proven difference between b and the best of the others (c): +",
        ),
        ({"better": "best", "than": "worst"}, "B beats the worst (a) by 0.150"),
        ({"better": "c", "than": "a"}, "No proven difference between c and a: +0.025 ("),
        ({"better": "d"}, "No comparison yet: d is not finished."),
    ],
)
def test_the_conclusion_is_computed(comparison, expected):
    others = [summary("a", LOW), summary("b", HIGH), summary("c", MIXED), summary("d")]
    (sentence,) = sentences(*others, comparisons=[comparison])
    assert sentence.startswith(expected)


def test_without_a_second_variant_or_patient_there_is_no_claim():
    assert sentences(summary("a", LOW)) == ["No comparison yet: another variant is not finished."]
    (sentence,) = sentences(summary("a", [0.5, 0.5]), summary("b", [0.6, 0.6]))
    assert sentence == "B against a: +0.100, of one patient, so without an interval."


def test_tables(tmp_path):
    experiment = ExperimentFile(title="t", variants={"a": {}, "b": {}}, study_dice={"a": 0.55})
    rows = [summary("a", LOW), summary("b", failures=("the loss is nan",), num_jobs=2)]
    titles, lines = make_table(experiment, rows)
    assert lines[0] == [
        *("a", "0.5625", "0.525 to 0.600", "0.2812", "0.3", "2", "1,000,000", "4.0", "1.5", "1"),
        "0.5500",
    ]
    assert lines[1] == ["b", *[""] * 8, "0 of 2, 1 failed", ""]
    assert "Cross-entropy" not in titles
    write_tables(tmp_path, experiment, rows)
    with (tmp_path / "table.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["dice"]) == pytest.approx(0.5625)
    assert (second["dice"], second["failures"]) == ("", "the loss is nan")
    assert (tmp_path / "table.md").read_text().count("|\n") == 4
