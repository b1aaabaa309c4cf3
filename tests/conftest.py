"""Small synthetic hearts that many tests share."""

import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hearts import Heart, make_heart, tiny_settings, write_image, write_paired_folder
from hypothesis import settings
from scenes import write_scenes

from acdc_seg.config import Config

os.environ["COLUMNS"] = "200"  # read once, when rich's consoles are made
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")


@pytest.fixture
def hearts() -> list[Heart]:
    return [make_heart(seed) for seed in range(8)]


@pytest.fixture
def write_png() -> Callable[[Path, np.ndarray], Path]:
    """Writes a grey or RGB array, making the folder."""
    return write_image


@pytest.fixture
def paired_folder(tmp_path: Path) -> Path:
    """Eight hearts of four patients: four images to train on, two to validate, two to test."""
    return write_paired_folder(tmp_path / "hearts")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Ten pictures of five patients that differ more than hearts: three train, one validates, one
    tests.
    """
    return write_scenes(tmp_path / "Herz 1")


@pytest.fixture
def tiny_config(paired_folder: Path, tmp_path: Path) -> Config:
    """A tiny U-Net for two epochs of two batches in fp32 on the CPU."""
    return tiny_settings(paired_folder, tmp_path / "runs")


class _Capabilities(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@pytest.fixture
def under_permissions() -> Iterator[None]:
    """Lets permissions of files hold for root too, who otherwise writes everywhere: two Linux
    capabilities are put aside.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the structure, this thread
    capabilities = (_Capabilities * 2)()
    assert libc.capget(header, capabilities) == 0
    effective = capabilities[0].effective
    capabilities[0].effective = effective & ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.capset(header, capabilities) == 0
    yield
    capabilities[0].effective = effective
    assert libc.capset(header, capabilities) == 0


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Address of a PostgreSQL: ACDC_TEST_POSTGRESQL, or a server of our own on loopback."""
    pytest.importorskip(
        "psycopg", reason="psycopg is not installed: pip install 'acdc_seg[postgresql]'"
    )
    if given := os.environ.get("ACDC_TEST_POSTGRESQL"):
        yield given
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip(
            "no PostgreSQL: set ACDC_TEST_POSTGRESQL, or install the server (/usr/lib/postgresql)"
        )
    folder = Path(tempfile.mkdtemp(prefix="acdc-pg-"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        if as_user:
            shutil.chown(folder, "postgres")
        database = str(folder / "db")
        options = ("-D", database, "-U", "postgres", "-A", "trust", "-N")
        _run(*as_user, str(binaries[-1] / "initdb"), *options)
        server = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = [*as_user, str(binaries[-1] / "pg_ctl"), "-D", database, "-w"]
        _run(*control, "-l", str(folder / "log"), "-o", server, "start")
    except (LookupError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    _run(*control, "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> None:
    subprocess.run(
        command,
        check=True,
        timeout=60,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
