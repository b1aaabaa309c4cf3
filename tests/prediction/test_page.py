from pathlib import Path

from volumes import GreyPredictor, make_labels, save

from acdc_seg.data.exams import find_exams
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.prediction import page
from acdc_seg.prediction.page import write_report
from acdc_seg.prediction.run import predict_exams


def test_a_page_lists_as_many_exams_as_a_browser_can_take(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", make_labels(6))
    (case,) = predict_exams(find_exams([path]), VolumePredictor(GreyPredictor()), tmp_path / "out")
    good = [{**case, "id": f"good{number}", "failed_rules": []} for number in range(4)]
    doubtful = {**case, "id": "doubtful", "failed_rules": ["no RV"]}
    failed = [
        {"id": f"bad{number}", "status": "failed", "error": f"reason {number}"}
        for number in range(3)
    ]
    cases = [*good, doubtful, *failed]
    monkeypatch.setattr(page, "MAX_DETAILED", 1)

    def read(limit: int) -> str:
        monkeypatch.setattr(page, "MAX_ROWS", limit)
        write_report(cases, tmp_path / "out")
        return Path(tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    def listed(text: str) -> list[str]:
        names = [str(case["id"]) for case in cases[:5]]
        found = {name: text.find(f"<td>{name}</td>") for name in names}
        return sorted((name for name in names if found[name] >= 0), key=found.__getitem__)

    every = read(5)
    assert listed(every) == ["good0", "good1", "good2", "good3", "doubtful"]
    assert "reason 2" in every
    assert "more exams are in measurements.csv;" not in every
    few = read(2)
    assert listed(few) == ["doubtful", "good0"]
    assert "3 more exams are in measurements.csv; those with a failed rule come first" in few
    assert "reason 1" in few
    assert "reason 2" not in few
    assert "1 more are in measurements.csv" in few
    assert "5 exams, 3 failed, 1 with a failed rule" in few
