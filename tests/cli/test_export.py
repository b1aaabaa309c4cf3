import json
from pathlib import Path

import nibabel as nib
import pytest
from volumes import make_labels, save

onnx = pytest.importorskip("onnx", reason="pip install 'acdc_seg[onnx]'")


def test_a_run_becomes_a_file_that_is_compared(command, trained):
    outcome = command("export", trained, "--out", "a/m.onnx", "--input", "uint8")
    assert (outcome.code, outcome.err) == (0, "")
    wrote, images, *_, parity = outcome.out.splitlines()
    assert wrote.startswith("Wrote a/m.onnx (0.")
    assert '"type": "uint8"' in images
    assert parity.startswith("Against PyTorch, on 41,900 pixels of synthetic images:")
    assert parity.endswith("labels are equal in 100.0000%.")
    stored = {prop.key: prop.value for prop in onnx.load("a/m.onnx").metadata_props}
    (member,) = json.loads(stored["model"])["members"]
    assert len(member["sha256"]) == 64
    assert str(trained) not in str(stored)


def test_an_ensemble_with_largest_regions_says_what_is_left_out(command, trained):
    Path("ensemble.yaml").write_text(
        "classes: [background, rv, myo, lv]\n"
        f"members: [{{path: {trained}, weight: 2}}, {{path: {trained}, tta: flips}}]\n"
        "keep_largest: [lv]\n"
    )
    outcome = command("export", "ensemble.yaml", "--size", "40x48", "--no-check")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith("Not in the file: the largest regions of lv alone are kept.\n")
    shape = onnx.load("model.onnx").graph.input[0].type.tensor_type.shape
    assert [size.dim_value or size.dim_param for size in shape.dim] == ["batch", 1, 40, 48]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "onx"), "--format onx: did you mean 'onnx'?"),
        (("--size", "96"), "--size 96: expected HEIGHTxWIDTH, for example 96x96"),
        (
            ("--volumes", "--size", "96x96"),
            "--volumes: slices of all sizes are normalized before; leave out --input and --size",
        ),
        (
            ("--format", "huggingface", "--whole"),
            "--whole: not for --format huggingface; leave it out",
        ),
        (("--input", "float16"), "input type 'float16': did you mean 'float32'?"),
    ],
)
def test_mistakes_are_one_message(command, trained, arguments, message):
    outcome = command("export", trained, *arguments)
    assert (outcome.code, outcome.err) == (2, f"Error: {message}\n")
    assert not Path("model.onnx").exists()


def test_a_file_that_differs_is_an_error(command, trained, monkeypatch):
    monkeypatch.setattr("acdc_seg.export.parity.MAX_DIFFERENCE", 0.0)
    outcome = command("export", trained)
    assert outcome.code == 2
    assert "model.onnx: differs from PyTorch by more than 0, or in labels" in outcome.err


def test_a_file_for_volumes_segments_exams(command, trained):
    outcome = command("export", trained, "--volumes")
    assert (outcome.code, outcome.err) == (0, "")
    save(Path("in/case.nii.gz"), make_labels(6, num_slices=2))
    for model, out in (("model.onnx", "a"), (trained, "b")):
        assert command("predict", "in", "--out", out, "--model", model).code == 0
    first, second = (nib.load(f"{out}/case_seg.nii.gz").get_fdata() for out in "ab")
    assert (first == second).mean() > 0.999
    outcome = command("predict", "in", "--model", "model.onnx", "--tta", "flips")
    assert outcome.code == 2
    assert "leave out --tta and --precision" in outcome.err


def test_a_folder_for_the_hub_is_a_model_of_every_command(command, trained):
    outcome = command("export", trained, "--format", "huggingface", "--license", "mit")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith("Next: huggingface-cli upload OWNER/NAME huggingface\n")
    save(Path("in/case.nii.gz"), make_labels(6, num_slices=2))
    for model, out in (("huggingface", "a"), (trained, "b")):
        assert command("predict", "in", "--out", out, "--model", model).code == 0
    first, second = (nib.load(f"{out}/case_seg.nii.gz").get_fdata() for out in "ab")
    assert (first == second).all()


def test_a_bundle_tells_the_command_that_runs_it(command, trained):
    outcome = command("export", trained, "--format", "bundle", "--out", "b/heart")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == (
        "Next: python -m monai.bundle run --config_file b/heart/configs/inference.json "
        "--bundle_root b/heart --dataset_dir DIR"
    )
    assert Path("b/heart/models/model.pt").is_file()
