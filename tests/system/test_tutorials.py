"""Every command of the tutorials does what its page says, on tiny data; and the notebook runs."""

import csv
from pathlib import Path

import dicom
import nbformat
import nibabel
import numpy as np
import pytest
from commands import make_command
from documents import ROOT, code_lines, split_words

from acdc_seg.data.phantom.patients import synthesize

FOLDER = ROOT / "docs/tutorials"
NOTEBOOK = FOLDER / "tutorial.ipynb"
TINY = "model.base_channels=4 train.log_images_interval=0 train.device=cpu"
HEARTS = ("--patients 15 --test-patients 5", "--patients 3 --test-patients 1")
NOT_OURS = ("pip install ", "createuser ", "createdb ")
MAX_NOTEBOOK_BYTES = 300_000


@pytest.fixture
def follow(tmp_path, monkeypatch, capsys):
    """Types all commands of a tutorial into an empty folder.

    Args of the function: the page's name, texts and what is typed for each, and the exit codes of
    commands that do not end with 0, by their number. Gives what the commands printed.
    """
    monkeypatch.chdir(tmp_path)
    call = make_command(monkeypatch, capsys)

    def run(name: str, *smaller: tuple[str, str], codes: dict[int, int] | None = None) -> str:
        lines = [line for line in code_lines(FOLDER / name, "bash") if line]
        text = "\n".join(line for line in lines if not line.startswith(NOT_OURS))
        for old, new in smaller:
            assert old in text, f"{name} has no '{old}'"
            text = text.replace(old, new)
        printed = ""
        for number, line in enumerate(text.splitlines()):
            command, *words = split_words(line)
            outcome = call(command.removeprefix("acdc-"), *words)
            assert outcome.code == (codes or {}).get(number, 0), f"{line}: {outcome.err}"
            printed += outcome.out
        return printed

    return run


@pytest.mark.slow
def test_the_coursework_tutorial(follow):
    shorter = ("--config fast", f"--config fast --epochs 1 {TINY}")
    printed = follow("coursework.md", HEARTS, shorter, codes={2: 1})
    assert "Patients" in printed
    assert Path("runs/coursework/report.html").is_file()
    rows = Path("submission.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * len(list(Path("slices/test/image").iterdir()))


@pytest.mark.slow
def test_the_tutorial_of_a_patient(follow, tmp_path):
    pytest.importorskip("highdicom")
    write_study(tmp_path / "study")
    printed = follow("patient.md")
    assert "LVEF" in printed
    with Path("results/measurements.csv").open(newline="") as file:
        (measured,) = csv.DictReader(file)
    assert float(measured["LVEDV (mL)"]) > float(measured["LVESV (mL)"]) > 0
    assert len(list(Path("results").glob("*_seg.dcm"))) == 2
    assert len(list(Path("results_synthetic").glob("*_seg.nii.gz"))) >= 1


def write_study(folder: Path) -> None:
    """A DICOM cine of a synthetic heart: ED and ES of three slices in its middle."""
    (patient,) = synthesize(folder.parent / "source", num_patients=1, num_test_patients=0)
    files = sorted(path for path in patient.glob("*_frame??.nii.gz"))
    ed, es = (nibabel.load(path) for path in files)
    middle = ed.shape[2] // 2
    slices = slice(middle - 1, middle + 2)
    frames = np.stack([np.asarray(each.dataobj)[:, :, slices] for each in (ed, es)], axis=-1)
    dicom.write_series(folder, frames.astype(np.float32), ed.affine)


@pytest.mark.slow
def test_the_tutorial_of_your_own_data(follow):
    printed = follow(
        "own_data.md",
        ("--images 60", "--images 10 --size 64"),
        ("--epochs 15", f"--epochs 1 {TINY}"),
        codes={1: 2},  # the first check ends with errors, and their remedy
    )
    assert "Try: acdc-data check pets data.channels=3 classes=binary" in printed
    assert Path("sheet.png").is_file()
    assert len(list(Path("masks").iterdir())) == 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_of_ten_machines(follow, postgresql):
    follow(
        "ten_machines.md",
        HEARTS,
        ("--trials 4", f"--trials 1 train.epochs=1 {TINY}"),
        ("--trials 6", f"--trials 2 train.epochs=1 {TINY}"),
        ("--trials 200", f"--trials 1 train.epochs=1 {TINY}"),
        ("postgresql://tuner@db/tuning", postgresql),
    )
    for study in ("first", "wide"):
        assert Path(f"studies/{study}/report.html").is_file()
        assert Path(f"studies/{study}/best.yaml").is_file()
    assert Path("runs/best/best.pt").is_file()


def test_the_notebook_is_small_and_was_run_from_top_to_bottom():
    assert NOTEBOOK.stat().st_size < MAX_NOTEBOOK_BYTES
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {"error"} & {output.output_type for output in outputs} == set()
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch, tmp_path):
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("train.epochs=12", "train.epochs=1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
    NotebookClient(notebook, timeout=250, km=kernel).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    assert "Dice by volume" in printed
    assert "id,encoding" in printed
