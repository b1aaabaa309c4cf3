import json
import shutil
from pathlib import Path

import pytest
from reports import Page, read_page


@pytest.fixture
def scored(command, trained):
    """Two runs that differ: the trained one, and its vote with flips, as an evaluation."""
    outcome = command("evaluate", trained, "--tta", "flips", "--out", "vote/val")
    assert outcome.code == 0
    return trained, Path("vote/val")


def test_the_page_of_a_run_is_written_again(command, trained):
    before = (trained / "report.html").read_text()
    (trained / "report.html").unlink()
    outcome = command("report", trained)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"Wrote {trained}/report.html\n"
    page, old = read_page(trained / "report.html"), Page(before)
    assert page.tables == old.tables
    assert [case["id"] for case in page.viewer["cases"]] == ["patient003_0", "patient003_1"]
    for case, first in zip(page.viewer["cases"], old.viewer["cases"], strict=True):
        # labels and uncertainty come from probabilities of half precision
        assert case["image"] == first["image"]
        assert case["mask"] == first["mask"]
        assert case["means"] == first["means"]


def test_pictures_are_predicted_where_no_probabilities_are_stored(command, trained):
    shutil.rmtree(trained / "probabilities")
    assert command("report", trained, "--out", "page.html", "--device", "cpu").code == 0
    assert len(read_page(Path("page.html")).viewer["cases"]) == 2


def test_a_run_and_a_vote_are_compared(command, scored):
    outcome = command("report", *scored, "--out", "c.html")
    assert (outcome.code, outcome.err) == (0, "")
    verdict, wrote = outcome.out.splitlines()
    assert wrote == "Wrote c.html"
    assert "one patient says nothing of others" in verdict
    page = read_page(Path("c.html"))
    assert verdict in page.text
    assert sorted(page.viewer["runs"]) == ["unet", "vote"]
    assert sorted(row[0] for row in page.tables[0][1:]) == ["unet", "vote"]


def test_the_page_of_an_evaluation_with_flips_shows_their_mean(command, scored):
    run, vote = scored
    assert command("report", vote, "--out", "vote.html").code == 0
    assert command("report", run, "--out", "run.html").code == 0
    flipped, plain = (read_page(Path(name)).viewer for name in ("vote.html", "run.html"))
    assert flipped["cases"][0]["mask"] == plain["cases"][0]["mask"]
    assert flipped["cases"][0]["uncertainty"] != plain["cases"][0]["uncertainty"]


def test_pictures_that_cannot_be_had_cost_a_warning(command, trained, paired_folder):
    data = json.loads((trained / "metrics.json").read_text())["protocol"]["data"]
    config = (trained / "config.yaml").read_text()
    (trained / "config.yaml").write_text(config.replace(data, "/nowhere"))
    outcome = command("report", trained)
    assert outcome.code == 0
    assert outcome.err.startswith("Warning: No pictures of unet: /nowhere: no such folder")
    page = read_page(trained / "report.html")
    assert page.viewer is None
    assert "No pictures of unet: /nowhere" in page.text


def test_a_folder_without_scores_and_a_run_given_twice_are_refused(command, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = command("report", tmp_path / "empty")
    assert outcome.code == 2
    assert "no metrics.json in this folder" in outcome.err
    outcome = command("report", trained, trained)
    assert outcome.code == 2
    assert "a run is given twice" in outcome.err


def test_niivue_is_for_volumes_of_one_run_and_its_file_is_named(command, trained, monkeypatch):
    monkeypatch.delenv("ACDC_NIIVUE", raising=False)
    outcome = command("report", trained, "--viewer", "nivue")
    assert (outcome.code, outcome.err) == (2, "Error: --viewer nivue: did you mean 'niivue'?\n")
    outcome = command("report", trained, "--viewer", "niivue")
    assert outcome.code == 2
    assert (
        "niivue.umd.js: no such file; fetch it once with `npm pack @niivue/niivue@" in outcome.err
    )
    outcome = command("report", trained, Path("other"), "--viewer", "niivue")
    assert outcome.code == 2
    assert "--viewer niivue shows one run, 2 are given" in outcome.err
    Path("umd.js").write_text("(function(a){a.niivue={}})(this)")
    monkeypatch.setenv("ACDC_NIIVUE", "umd.js")
    outcome = command("report", trained, "--viewer", "niivue")
    assert outcome.code == 2
    assert "--viewer niivue shows volumes" in outcome.err
