import pytest

from acdc_seg.config import DataConfig, setting_choices
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.data.readers import READERS, read_records
from acdc_seg.data.source import detect_format
from acdc_seg.errors import DataError


def test_the_words_of_data_format_are_the_readers():
    assert set(setting_choices("data.format")) == {"auto", *READERS}


def test_a_folder_is_read_by_the_format_that_recognizes_it(tmp_path, paired_folder):
    synthesize(tmp_path / "tree", num_patients=1, num_test_patients=0)
    for path, name in ((tmp_path / "tree", "acdc"), (paired_folder, "paired")):
        data = DataConfig(path=str(path))
        assert detect_format(data) == name
        assert [key for key, reader in READERS.items() if reader.recognizes(path, data)] == [name]
        assert read_records(name, path, data)
    assert detect_format(DataConfig(path=str(tmp_path), format="acdc")) == "acdc"


def test_what_no_reader_recognizes_is_refused_with_all_layouts(tmp_path, paired_folder):
    with pytest.raises(DataError, match="gone: no such folder, expected table"):
        detect_format(DataConfig(path=str(tmp_path / "gone")))
    with pytest.raises(DataError, match=r"not recognized as ACDC tree \(patient001/Info.cfg"):
        detect_format(DataConfig(path=str(paired_folder)), kinds=("volumes",))
    with pytest.raises(DataError) as caught:
        detect_format(DataConfig(path=str(tmp_path), image_dir="scans"))
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path}: holds 16 .png files in hearts/test/image/, hearts/test/mask/, "
        "hearts/train/image/, 3 more folders, not recognized as table (records.csv with a column "
        "image) or ACDC tree (patient001/Info.cfg ..., also below training, testing) or "
    )
    assert message.endswith("; check the path, or set data.image_dir and data.mask_dir")
    assert all(reader.layout in message for reader in READERS.values())
