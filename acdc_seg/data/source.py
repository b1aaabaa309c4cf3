"""Opens the data of a run: detects its format, cuts volumes into slices, and splits by patient."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from acdc_seg.config import ClassesConfig, DataConfig, PrepareConfig, to_dict
from acdc_seg.data.phantom import BUILTIN_FOLDER
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.data.problems import Scan, raise_errors
from acdc_seg.data.readers import READERS, read_records, scan_records
from acdc_seg.data.readers.folders import describe_content
from acdc_seg.data.record import SPLITS, ProgressCallback, Record, no_progress
from acdc_seg.data.slicing import SLICING_VERSION, prepare
from acdc_seg.data.splits import assign_splits, check_disjoint, hold_out
from acdc_seg.errors import DataError, path_hint
from acdc_seg.files import cached_sha256, lock, sha256_bytes
from acdc_seg.files import work_dir as default_work_dir

PHANTOM_PATIENTS = 25


@dataclass(frozen=True)
class Source:
    """Records with images below `root`; `kind` is phantom or a name in `READERS`.

    `own_splits` are those that its folders or records.csv tell; others are drawn from train.
    `notes` are sentences for the user about what was found by looking.
    """

    kind: str
    root: Path
    records: tuple[Record, ...]
    own_splits: tuple[str, ...] = SPLITS
    notes: tuple[str, ...] = ()

    @property
    def is_sliced(self) -> bool:
        """Whether the images are slices that were cut from volumes."""
        return self.kind not in READERS or READERS[self.kind].kind == "volumes"

    def split(self, name: str) -> list[Record]:
        """Records of train, val or test."""
        return [record for record in self.records if record.split == name]

    def digest(self) -> str:
        """SHA-256 over names and bytes of all files, equal for all folds; computed once.

        Raises:
            DataError: A file cannot be read any more.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        files = [path for record in self.records for path in (record.image, record.mask) if path]
        lines = [
            f"{Path(os.path.relpath(path, self.root)).as_posix()} {cached_sha256(path)}\n"
            for path in sorted(files)
        ]
        return sha256_bytes("".join(lines).encode())


def open_source(
    data: DataConfig,
    *,
    prepare_settings: PrepareConfig,
    classes: ClassesConfig | None = None,
    work_dir: Path | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Source:
    """Reads the data at `data.path`, or the phantom where it is null.

    Args:
        data: Path, format and splits.
        prepare_settings: Geometry of slices, for volumes.
        classes: Checked in the masks of volumes where they are cut into slices; None leaves it to
            whoever reads the slices.
        work_dir: Where the phantom is made, and volumes are cut into slices, once; None is
            `files.work_dir()`.
        on_progress: Called while either is done.

    Raises:
        DataError: Nothing there, no known format, or broken files.
        ConfigError: More folds than patients.
    """
    kind = "phantom" if data.path is None else detect_format(data)
    if data.path is not None and READERS[kind].kind == "images":
        root, scan = Path(data.path), scan_records(kind, Path(data.path), data)
        raise_errors(scan.problems)
        records, divided = scan.records, scan.records
    else:
        work_dir = work_dir or default_work_dir()
        with _locked(work_dir):
            volumes = data
            if data.path is None:
                phantom = work_dir / BUILTIN_FOLDER
                if not phantom.is_dir():
                    synthesize(phantom, num_patients=PHANTOM_PATIENTS, on_progress=on_progress)
                volumes = data.model_copy(update={"path": str(phantom), "format": "acdc"})
            root, scan = _slice_once(volumes, prepare_settings, classes, work_dir, on_progress)
        records, divided = read_records("table", root, DataConfig()), scan.records
    own_splits = tuple(sorted({record.split for record in divided} - {""}))
    records = assign_splits(records, data)
    notes = (*scan.notes, *_tell_validation(records, own_splits, data))
    source = Source(kind, root, tuple(records), own_splits, notes)
    try:
        check_disjoint({name: [record.patient for record in source.split(name)] for name in SPLITS})
    except DataError as error:
        raise DataError(
            f"{root}: {error}; if these are different people, say how to tell them apart with "
            "data.patient_rule"
        ) from None
    return source


def _tell_validation(
    records: Sequence[Record], own_splits: Sequence[str], data: DataConfig
) -> list[str]:
    """The note that tells how many patients were drawn to validate."""
    val = {record.patient for record in records if record.split == "val"}
    if data.fold is not None or not val or "val" in own_splits:
        return []
    patients = val | {record.patient for record in records if record.split == "train"}
    return [
        f"no val folder: {len(val)} of {len(patients)} patients validate (data.val_fraction, "
        "data.split_seed)"
    ]


def detect_format(data: DataConfig, *, kinds: Sequence[str] = ("images", "volumes")) -> str:
    """Name of the reader in `READERS` for `data.path`: `data.format`, or the first that recognizes
    it.

    Raises:
        DataError: There is no folder at the path, or no reader of these kinds recognizes it.
    """
    path = Path(data.path or "")
    readers = {name: reader for name, reader in READERS.items() if reader.kind in kinds}
    layouts = " or ".join(
        f"{reader.title} ({reader.layout.format(data=data)})" for reader in readers.values()
    )
    if not path.is_dir():
        raise DataError(f"{path}: no such folder, expected {layouts}; {path_hint(path)}")
    if data.format != "auto":
        return data.format
    for name, reader in readers.items():
        if reader.recognizes(path, data):
            return name
    fix = ", or set data.image_dir and data.mask_dir" if "images" in kinds else ""
    raise DataError(
        f"{path}: holds {describe_content(path)}, not recognized as {layouts}; check the path{fix}",
        code="format",
    )


def read_volumes(data: DataConfig) -> list[Record]:
    """Records of the volumes at `data.path`; raises DataError where there are none."""
    scan = scan_volumes(data)
    raise_errors(scan.problems)
    return scan.records


def scan_volumes(data: DataConfig) -> Scan:
    """Volumes at `data.path` and what is wrong with them; raises DataError where no format of
    volumes is recognized.
    """
    name = detect_format(data, kinds=("volumes",))
    return scan_records(name, Path(data.path or ""), data)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time into a folder, so that the processes of a training do not all
    write the same slices.

    Without effect where the folder cannot be made or there are no locks.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            lock(descriptor, wait=True)
        yield


def _slice_once(
    data: DataConfig,
    settings: PrepareConfig,
    classes: ClassesConfig | None,
    work_dir: Path,
    on_progress: ProgressCallback,
) -> tuple[Path, Scan]:
    """The folder of slices cut from these volumes with these settings, made where it is missing,
    and the volumes.
    """
    tree = Path(data.path or "").resolve()
    files = [
        (path.relative_to(tree).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(tree.rglob("*.*"))
        if path.exists()  # a link to nowhere is the reader's business, where it is a volume
    ]
    naming = (data.format, data.image_dir, data.mask_dir, data.mask_pattern, data.patient_rule)
    rule = [SLICING_VERSION, to_dict(settings), data.val_fraction, data.split_seed]
    key = json.dumps([files, rule, naming])
    out = work_dir / "prepared" / f"{tree.name}-{sha256_bytes(key.encode())[:8]}"
    scan = scan_volumes(data)
    raise_errors(scan.problems)
    if not out.is_dir():
        volumes = hold_out(scan.records, val_fraction=data.val_fraction, seed=data.split_seed)
        prepare(volumes, out, settings=settings, classes=classes, on_progress=on_progress)
    return out, scan
