"""Data leakage: which images and patients the weights of a checkpoint were trained on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from acdc_seg.config import DataConfig
from acdc_seg.data.record import Record
from acdc_seg.data.source import Source
from acdc_seg.files import cached_sha256


@dataclass(frozen=True)
class TrainedOn:
    """The training images of one data set.

    `data` is its path and `root` the folder of its images, which for volumes holds their slices;
    `images` are SHA-256 of image files. Patients bear these names in this data set alone.
    """

    data: str
    root: str
    patients: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(
            str(content["data"]),
            str(content["root"]),
            tuple(content["patients"]),
            tuple(content["images"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain text and lists, as a checkpoint stores them."""
        lists = {"patients": list(self.patients), "images": list(self.images)}
        return {**asdict(self), **lists}


def data_name(source: Source, data: DataConfig) -> str:
    """The absolute path of a data set, or "phantom"."""
    return str(Path(data.path).resolve()) if data.path else source.kind


def training_images(source: Source, data: DataConfig) -> TrainedOn:
    """The images that train; raises DataError for a file that cannot be read."""
    records = source.split("train")
    return TrainedOn(
        data=data_name(source, data),
        root=str(source.root.resolve()),
        patients=tuple(sorted({record.patient for record in records})),
        images=tuple(sorted({cached_sha256(record.image) for record in records})),
    )


def union(*parts: TrainedOn) -> tuple[TrainedOn, ...]:
    """These data sets, each with its set of images once."""
    return tuple({(part.images, part.patients): part for part in parts}.values())


def find_seen(
    records: Sequence[Record],
    trained_on: Iterable[TrainedOn],
    *,
    siblings: Iterable[Record] = (),
    data: str = "",
) -> list[Record]:
    """The records that training used: their image, under whatever name, or one of their patient.

    Args:
        records: Images of one data set.
        trained_on: What the weights were trained on.
        siblings: Other images of the data set. Where one of them was trained on, so was its
            patient.
        data: Path of the data set; the name of a patient counts where it is that of the training.
    """
    parts = list(trained_on)
    images = {digest for part in parts for digest in part.images}
    if not images:
        return []
    patients = {
        record.patient
        for record in (*records, *siblings)
        if record.patient and cached_sha256(record.image) in images
    }

    def is_named(record: Record) -> bool:
        path = record.image.resolve()
        return any(
            record.patient in part.patients
            and (part.data == data or path.is_relative_to(part.root))
            for part in parts
        )

    return [
        record
        for record in records
        if record.patient in patients or cached_sha256(record.image) in images or is_named(record)
    ]
