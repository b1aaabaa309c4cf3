import csv
import errno
import re
import resource
from pathlib import Path

import pytest

import acdc_seg
from acdc_seg.errors import DataError
from acdc_seg.files import replacing, write_table, write_text


def test_text_is_written_as_it_is_into_new_folders(tmp_path):
    path = tmp_path / "größe 1" / "a.txt"
    write_text(path, "é\r\nb\n")
    assert path.read_bytes() == b"\xc3\xa9\r\nb\n"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_what_was_there_can_be_kept(tmp_path):
    path, previous = tmp_path / "a.txt", tmp_path / "before.txt"
    for text in ("one", "two", "three"):
        with replacing(path, previous=previous) as file:
            file.write(text.encode())
    assert (path.read_text(), previous.read_text()) == ("three", "two")
    assert len(list(tmp_path.iterdir())) == 2


def write_half(path, error):
    with replacing(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(type(error)):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"a\.txt: cannot write this file \(File too large\)"):
            write_text(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(DataError, match=r"folder/a\.txt: cannot write this file"):
        write_text(tmp_path / "folder" / "a.txt", "x")


def test_a_folder_in_the_way_of_the_file_is_named(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(DataError, match=r"a\.txt: cannot write this file \(Is a directory\)"):
        write_text(tmp_path / "a.txt", "x")
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_the_reason_of_the_system_is_given(tmp_path):
    with pytest.raises(DataError, match="No space left on device"):
        write_half(tmp_path / "a.txt", OSError(errno.ENOSPC, "No space left on device"))


@pytest.mark.parametrize(
    "text", ["=1+1", "+a", "-a", "@sum", "\ta", "\ra", "\n=1", "＝1", "-1+1", "+", "-2 3", "-inf"]
)
def test_texts_that_a_spreadsheet_would_run_get_an_apostrophe(tmp_path, text):
    write_table(tmp_path / "a.csv", [["id", text], [text, 1]])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["id", f"'{text}"], [f"'{text}", "1"]]


def test_numbers_and_other_texts_are_written_as_they_are(tmp_path):
    write_table(
        tmp_path / "a.csv",
        [
            ["id", "größe"],
            [-1, -0.5],
            ["-2", "-0.5"],
            ["+1e-07", "-1.5e+20"],
            ["a=b", ""],
            ["a,b", 'c"d'],
        ],
    )
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == (
        'id,größe\n-1,-0.5\n-2,-0.5\n+1e-07,-1.5e+20\na=b,\n"a,b","c""d"\n'
    )


def test_no_other_module_writes_tables():
    """submission.csv is the exception: Kaggle compares its ids letter by letter."""
    package = Path(acdc_seg.__file__).parent
    writers = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"csv\.(Dict)?[wW]riter", path.read_text(encoding="utf-8"))
    ]
    assert sorted(writers) == ["files.py", "table.py"]
