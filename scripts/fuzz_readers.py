"""Damages files in thousands of ways and reads them: each must be read, or refused with an
AcdcError.

    python scripts/fuzz_readers.py --count 10000 --seed 0

A finding is any other exception, more than 10 seconds, or more than 1 GiB of new memory. Its file
is kept, and the exit code is 1.
"""

import argparse
import gzip
import io
import json
import resource
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image

from acdc_seg.config import ClassesConfig, Config, DataConfig, default_yaml, load_config
from acdc_seg.config.ensemble import read_ensemble
from acdc_seg.data.images import read_image
from acdc_seg.data.masks import read_mask
from acdc_seg.data.readers import read_records
from acdc_seg.data.splits import read_splits
from acdc_seg.data.volumes import read_volume
from acdc_seg.errors import AcdcError
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from acdc_seg.submission.check import check_submission
from acdc_seg.tuning.space import load_space

MOST_MEMORY = 1024**3
MOST_SECONDS = 10.0
EXTREMES = (
    0,
    1,
    2**7,
    2**8 - 1,
    2**15 - 1,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
TOKENS = (
    *(
        "\0",
        "\n",
        "\r",
        "\t",
        '"',
        "'",
        ",",
        ";",
        ":",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "%",
        "#",
        "=",
        "-",
        "~",
        "../",
        "/",
    ),
    *(
        "&a ",
        "*a",
        "<<: *a",
        "? ",
        "!!int ",
        "!!timestamp ",
        "!!python/object/apply:os.system ",
        "\ufeff",
        "\u2028",
        "\ud7ff",
    ),
    *(
        "-1",
        "0",
        "1e400",
        "nan",
        "inf",
        "null",
        "true",
        "9999999999999999999999",
        "0x1",
        "1:1:1",
        "2020-13-45",
        ".5",
        "id",
        "{stem}",
    ),
)

Rng = np.random.Generator


@dataclass(frozen=True)
class Reader:
    """A way to read a file: sound examples of it, where in a folder it is, and the reader."""

    examples: Callable[[], Sequence[bytes]]
    place: str
    read: Callable[[Path], object]
    mend: Callable[[bytes], bytes] = bytes
    """Makes checksums right again, so that damage reaches what is behind them; used for every
    other file.
    """
    prepare: Callable[[Path], None] = lambda folder: None


@dataclass
class Tally:
    """Counts of what a reader did with its files."""

    reader: str
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)


class Hang(BaseException):
    """Raised by the alarm; no reader catches it by mistake."""


def damage(data: bytes, other: bytes, rng: Rng) -> bytes:
    """One to three random mutations, mostly one; `other` is a file of the same kind to splice
    with.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](data, other, rng)
    return data


def _flip(data: bytes, other: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9) if data else 0):
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _truncate(data: bytes, other: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def _insert(data: bytes, other: bytes, rng: Rng) -> bytes:
    place = rng.integers(len(data) + 1)
    return data[:place] + rng.bytes(rng.integers(1, 33)) + data[place:]


def _write_word(data: bytes, other: bytes, rng: Rng) -> bytes:
    place = rng.integers(len(data) + 1)
    word = TOKENS[rng.integers(len(TOKENS))].encode() * int(rng.choice((1, 1, 1, 2, 30, 3000)))
    return data[:place] + word + data[place + int(rng.choice((0, len(word)))) :]


def _delete(data: bytes, other: bytes, rng: Rng) -> bytes:
    first, last = sorted(rng.integers(len(data) + 1, size=2))
    return data[:first] + data[min(last, first + 100) :]


def _duplicate(data: bytes, other: bytes, rng: Rng) -> bytes:
    first, last = sorted(rng.integers(len(data) + 1, size=2))
    return data[:last] + data[first:last] * int(rng.integers(1, 5)) + data[last:]


def _overwrite(data: bytes, other: bytes, rng: Rng) -> bytes:
    """An extreme number of 1, 2, 4 or 8 bytes, half of the time in the first 128."""
    size, order = int(rng.choice((1, 2, 4, 8))), ("little", "big")[rng.integers(2)]
    place = rng.integers(min(len(data), 128) + 1 if rng.random() < 0.5 else len(data) + 1)
    number = EXTREMES[rng.integers(len(EXTREMES))] % 2 ** (8 * size)
    return data[:place] + number.to_bytes(size, order) + data[place + size :]


def _splice(data: bytes, other: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(len(data) + 1)] + other[rng.integers(len(other) + 1) :]


MUTATIONS = (_flip, _truncate, _insert, _write_word, _delete, _duplicate, _overwrite, _splice)


def images(kind: str, **options: Any) -> list[bytes]:
    """Grey, 16-bit, colour and palette pictures of 24 x 20 pixels, as far as the format has
    them.
    """
    grey = (np.arange(480).reshape(20, 24) // 3 % 4).astype(np.uint8)
    palette = Image.fromarray(grey, mode="P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    pictures = [Image.fromarray(grey), Image.fromarray(np.stack([grey * 60] * 3, axis=-1))]
    if kind != "JPEG":
        pictures.append(palette)
    if kind in ("PNG", "TIFF"):
        pictures.append(Image.fromarray(grey.astype(np.uint16) * 999))
    streams = [io.BytesIO() for _ in pictures]
    for picture, stream in zip(pictures, streams, strict=True):
        picture.save(stream, kind, **options)
    return [stream.getvalue() for stream in streams]


def volumes() -> list[bytes]:
    voxels = (np.arange(6 * 5 * 4) % 4).astype(np.int16).reshape(6, 5, 4)
    kinds = (
        nib.Nifti1Image(voxels, np.eye(4)),
        nib.Nifti2Image(voxels, np.eye(4)),
        nib.Nifti1Image(voxels.astype(">f4"), np.eye(4)),
    )
    kinds[0].header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello " * 9))
    return [kind.to_bytes() for kind in kinds]


def mend_png(data: bytes) -> bytes:
    """The same chunks with their checksums right."""
    mended, place = data[:8], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        mended += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return mended + data[place:]


def mend_gzip(data: bytes) -> bytes:
    """Unpacks what can be unpacked, and packs it again."""
    unpacker = zlib.decompressobj(31)
    try:
        return gzip.compress(unpacker.decompress(data, 2**20), compresslevel=1)
    except zlib.error:
        return gzip.compress(data, compresslevel=1)


def checkpoints() -> list[bytes]:
    made = []
    for training in (
        None,
        {
            "epoch": 1,
            "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
            "history": [{"dice": 0.5}],
        },
    ):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "best.pt")
            weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}
            save_checkpoint(
                path,
                Checkpoint(
                    config=Config(),
                    weights=weights,
                    epoch=1,
                    dice=0.5,
                    data="paired",
                    training=training,
                ),
            )
            made.append(path.read_bytes())
    return made


def texts(*given: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in given]


def read_picture(path: Path) -> None:
    """As a grey image, a mask of values and a mask of colours; raises the first refusal where all
    refuse.
    """
    refusals = []
    for classes in (None, ClassesConfig(), ClassesConfig(mask_encoding="nearest_color")):
        try:
            read_image(path) if classes is None else read_mask(path, classes)
        except AcdcError as error:
            refusals.append(error)
    if len(refusals) == 3:
        raise refusals[0]


def make_pairs(folder: Path) -> None:
    for part, name in (("image", "a"), ("mask", "a_mask"), ("image", "b"), ("mask", "b_mask")):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / f"{name}.png").touch()


def make_patient(folder: Path) -> None:
    for frame in ("01", "05"):
        (folder / f"patient001_frame{frame}.nii.gz").touch()


INFO = "ED: 1\nES: 5\nGroup: NOR\nHeight: 170\nNbFrame: 20\nWeight: 70\n"
RECORDS = "id,patient,phase,group,spacing_row,spacing_col\na,p1,ED,DCM,1.8,1.25\nb,p2,ES,NOR,,\n"
CONFIG = (
    "name: heart 1\nseed: 3\ntrain: &t {epochs: 3, precision: bf16}\nmodel:\n  name: unet\n  "
    "depth: 3\ndata: {size: [64, 96], fold: null}\n"
)
ENSEMBLE = (
    "classes: [background, rv]\nmembers:\n- {path: ../runs/unet, weight: 2.0, tta: "
    "flips}\n- path: ../runs/fcn\nkeep_largest: [rv]\n"
)
SPACE = """
optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
loss.name: [dice, focal]
loss.gamma: {low: 1, high: 3, when: {loss.name: focal}}
"""
SUBMISSION = (
    "id,encoding\ncmr1_mask1,1 2 8 3\ncmr1_mask2,\ncmr1_mask3,100 "
    "5\ncmr2_mask1,\ncmr2_mask2,9 9\ncmr2_mask3,\n"
)

READERS: dict[str, Reader] = {
    "png": Reader(lambda: images("PNG"), "a.png", read_picture, mend_png),
    "jpeg": Reader(lambda: images("JPEG"), "a.jpg", read_picture),
    "tiff": Reader(
        lambda: [*images("TIFF"), *images("TIFF", compression="tiff_lzw")], "a.tif", read_picture
    ),
    "bmp": Reader(lambda: images("BMP"), "a.bmp", read_picture),
    "nifti": Reader(volumes, "a.nii", lambda path: read_volume(path, path)),
    "nifti.gz": Reader(
        lambda: list(map(gzip.compress, volumes())),
        "a.nii.gz",
        lambda path: read_volume(path, path),
        mend_gzip,
    ),
    "Info.cfg": Reader(
        texts(INFO),
        "patient001/Info.cfg",
        lambda path: read_records("acdc", path.parent, DataConfig()),
        prepare=make_patient,
    ),
    "records.csv": Reader(
        texts(RECORDS),
        "records.csv",
        lambda path: read_records("paired", path.parent, DataConfig()),
        prepare=make_pairs,
    ),
    "submission": Reader(texts(SUBMISSION), "submission.csv", check_submission),
    "splits.json": Reader(
        lambda: [json.dumps({"train": ["patient001", "größe"], "val": ["a"], "test": []}).encode()],
        "s.json",
        read_splits,
    ),
    "config": Reader(texts(CONFIG, default_yaml()), "config.yaml", load_config),
    "ensemble": Reader(texts(ENSEMBLE), "ensemble.yaml", read_ensemble),
    "space": Reader(texts(SPACE), "space.yaml", lambda path: load_space(path, Config())),
    "checkpoint": Reader(checkpoints, "best.pt", load_checkpoint),
}


@contextmanager
def limits(*, seconds: float, memory: int) -> Iterator[None]:
    """Raises Hang after so many seconds, and MemoryError where so many bytes more are wanted."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)

    def on_alarm(number: int, frame: Any) -> None:
        raise Hang

    handler = signal.signal(signal.SIGALRM, on_alarm)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, before[1]))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


def fuzz_reader(name: str, reader: Reader, count: int, *, seed: int, keep: Path) -> Tally:
    """Reads `count` damaged files; those that end in a finding are kept in the folder `keep`."""
    tally, examples = Tally(name), reader.examples()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.place
        path.parent.mkdir(exist_ok=True)
        reader.prepare(path.parent)
        for number in range(count):
            rng = np.random.default_rng((seed, zlib.crc32(name.encode()), number))
            data, other = (examples[rng.integers(len(examples))] for _ in range(2))
            data = damage(data, other, rng)
            data = reader.mend(data) if number % 2 else data
            path.write_bytes(data)
            if fault := read_one(reader, path, tally):
                kept = keep / f"{name}-{seed}-{number}{path.suffix}"
                keep.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(data)
                tally.findings.append(f"{kept}: {fault}")
    return tally


def read_one(reader: Reader, path: Path, tally: Tally) -> str:
    """Counts a file as read or refused, or says what is wrong with the reader."""
    started, fault = time.perf_counter(), ""
    try:
        with limits(seconds=MOST_SECONDS, memory=MOST_MEMORY):
            reader.read(path)
        tally.read += 1
    except AcdcError:
        tally.refused += 1
    except Hang:
        fault = f"more than {MOST_SECONDS:.0f} seconds"
    except Exception as error:
        fault = f"{type(error).__name__}: {str(error)[:200]}"
    seconds = time.perf_counter() - started
    tally.seconds, tally.slowest = tally.seconds + seconds, max(tally.slowest, seconds)
    return fault


def fuzz(
    count: int, *, seed: int, keep: Path, readers: Mapping[str, Reader] = READERS
) -> list[Tally]:
    """Divides `count` files evenly among the readers."""
    shares = [
        count // len(readers) + (index < count % len(readers)) for index in range(len(readers))
    ]
    return [
        fuzz_reader(name, reader, share, seed=seed, keep=keep)
        for (name, reader), share in zip(readers.items(), shares, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", choices=READERS, nargs="+", default=list(READERS), help="readers to try"
    )
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz"), help="folder of the files that are findings"
    )
    options = parser.parse_args()
    tallies = fuzz(
        options.count,
        seed=options.seed,
        keep=options.keep,
        readers={name: READERS[name] for name in options.only},
    )
    print(
        f"{'reader':<12} {'files':>6} {'read':>6} {'refused':>8} {'findings':>9} {'seconds':>8} "
        f"{'slowest':>8}"
    )
    for each in tallies:
        files = each.read + each.refused + len(each.findings)
        row = (
            f"{each.reader:<12} {files:>6} {each.read:>6} {each.refused:>8} {len(each.findings):>9}"
        )
        print(f"{row} {each.seconds:>8.1f} {each.slowest:>8.2f}")
    findings = [finding for each in tallies for finding in each.findings]
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, "
        f"{len(findings)} findings",
        *findings,
        sep="\n",
    )
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
