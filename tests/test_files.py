import csv
import errno
import json
import os
import resource
import sys
from itertools import islice

import pytest

from acdc_seg.errors import DataError
from acdc_seg.files import (
    lock,
    new_folder,
    numbered,
    replacing,
    sha256_bytes,
    sha256_file,
    write_json,
    write_table,
    write_text,
)


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


def test_tables_are_written_with_quotes_where_needed(tmp_path):
    rows = [["id", "größe"], [-1, -0.5], ["=1", ""], ["a,b", 'c"d'], ["e\nf", " g"]]
    write_table(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert file.read().startswith('id,größe\n-1,-0.5\n=1,\n"a,b","c""d"\n')
        file.seek(0)
        assert list(csv.reader(file)) == [[str(cell) for cell in row] for row in rows]


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "a") == sha256_bytes(b"abc") == expected


def test_numbered_names():
    assert list(islice(numbered("unet"), 3)) == ["unet", "unet-2", "unet-3"]


def test_a_new_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder"
    with new_folder(path) as unfinished:
        (unfinished / "a.txt").write_text("a")
        assert not path.exists()
    assert [each.name for each in path.parent.iterdir()] == ["folder"]
    assert (path / "a.txt").read_text() == "a"
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777


def test_an_empty_folder_is_used_and_another_one_refused(tmp_path):
    for _ in range(2):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with new_folder(tmp_path / "empty") as unfinished:
            pass
    (tmp_path / "empty" / "mine.txt").write_text("mine")
    for path in (tmp_path / "empty", tmp_path / "empty" / "mine.txt"):
        with (
            pytest.raises(DataError, match="exists already and is not an empty folder; remove it"),
            new_folder(path),
        ):
            pytest.fail("entered")
    assert not unfinished.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def make_half(path, error):
    with new_folder(path) as unfinished:
        (unfinished / "a.txt").write_text("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_an_unfinished_folder_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        make_half(tmp_path / "folder", error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"file/folder: cannot write this folder \("),
        new_folder(tmp_path / "file" / "folder"),
    ):
        pytest.fail("entered")


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    content = {"ä": [1, None, 0.1], "b": {"c": True}}
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert path.read_bytes() == json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"long": list(range(10_000)), "last": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


@pytest.fixture
def opened_twice(tmp_path):
    """Two descriptors of one folder, as two processes have them."""
    descriptors = [os.open(tmp_path, os.O_RDONLY) for _ in range(2)]
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_lock_excludes_others(opened_twice):
    first, second = opened_twice
    lock(first, wait=False)
    with pytest.raises(BlockingIOError):
        lock(second, wait=False)


def test_a_lock_ends_with_its_descriptor(tmp_path, opened_twice):
    third = os.open(tmp_path, os.O_RDONLY)
    lock(third, wait=True)
    os.close(third)
    lock(opened_twice[0], wait=False)
    with pytest.raises(BlockingIOError):
        lock(opened_twice[1], wait=False)


@pytest.mark.parametrize("wait", [True, False])
def test_a_system_without_locks_says_so(monkeypatch, opened_twice, wait):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(OSError, match="no file locks") as caught:
        lock(opened_twice[0], wait=wait)
    assert not isinstance(caught.value, BlockingIOError)  # which would be waited for
