import psutil
import pytest

from acdc_seg.runtime.memory import available_memory

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
