import psutil
import pytest

from acdc_seg.errors import DataError
from acdc_seg.runtime.memory import available_memory, choose_storage

FREE = 2000
STAT = "anon 300\ninactive_file 50\nactive_file 20\n"


def write_group(folder, limit, used):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("memory.max", f"{limit}\n"),
        ("memory.current", f"{used}\n"),
        ("memory.stat", STAT),
    ):
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("own", "groups", "expected"),
    [
        (None, {}, FREE),
        ("0::/job\n", {"job": ("max", 10)}, FREE),
        ("0::/job\n", {"job": (1000, 400)}, 1000 - 400 + 50),
        ("0::/job/step\n", {"job": (1000, 400), "job/step": (5000, 300)}, 650),
        ("0::/job\n", {"job": (1000, 1200)}, 0),
        ("0::/outside/of/this/container\n", {"": (700, 100)}, 650),
        ("0::/job\n", {"job": (9000, 400)}, FREE),
        ("8:pids:/\n4:memory:/job\n", {}, FREE),
    ],
    ids=["none", "no limit", "limit", "limit above", "full", "container", "larger", "version 1"],
)
def test_a_control_group_limits_the_memory(tmp_path, monkeypatch, own, groups, expected):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": FREE}))
    if own:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(own)
    for name, numbers in groups.items():
        write_group(tmp_path / "sys/fs/cgroup" / name, *numbers)
    assert available_memory(tmp_path) == expected


def test_free_memory_is_part_of_the_machines():
    assert 0 < available_memory() <= psutil.virtual_memory().total


def test_what_does_not_fit_into_memory_goes_to_disk_and_else_nowhere(monkeypatch):
    assert choose_storage(100, 80, memory=200, disk=0) == "memory"
    assert choose_storage(101, 80, memory=200, disk=80) == "disk"
    with pytest.raises(
        DataError,
        match=r"take 300 MB in memory or 200 MB on disk; 400 MB of memory \(of which 50%.* and "
        r"100 MB of disk",
    ):
        choose_storage(300_000_000, 200_000_000, memory=400_000_000, disk=100_000_000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert choose_storage(50, 40, memory=200, disk=0) == "memory"
    assert choose_storage(51, 40, memory=200, disk=80) == "disk"
    with pytest.raises(DataError):
        choose_storage(51, 41, memory=200, disk=80)
