"""Settings of the classes: names, values and colors, and how masks encode them.

They can be given in short: `classes=mnms` (a file of configs/classes/, or the path of another one),
`classes=[background,cell]`, or `classes.names`, `classes.values` and `classes.colors` as lists.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from acdc_seg.config.palette import WHITE, default_colors
from acdc_seg.config.section import Color, Section
from acdc_seg.config.yaml_text import configs_dir, read_yaml
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.labels import ACDC_LABELS

MAX_CLASSES = 255
COLUMNS = {"names": "name", "values": "value", "colors": "color"}
"""Short settings, and the part of every class that they hold."""
MAX_LISTED = 20
"""Classes up to which an error spells out all their names."""


class ClassLabel(Section):
    """One class, or void."""

    name: str
    """Name in tables, figures and columns."""
    value: int
    """Value in mask files."""
    color: Color
    """Colour (R, G, B) in figures and in colour masks."""


class ClassesConfig(Section):
    """The classes, and how mask files encode them. In short: classes=NAME for one of acdc, binary,
    cityscapes8, exercise23, mnms and pets, or a YAML file; classes.names, classes.values and
    classes.colors as lists.
    """

    labels: tuple[ClassLabel, ...] = tuple(
        ClassLabel(name=label.name, value=label.value, color=label.color) for label in ACDC_LABELS
    )
    """The classes in the order of the network's outputs, with their value in mask files and their
    colour (R, G, B) in figures and colour masks.
    """
    void: ClassLabel | None = None
    """Pixels that loss and metrics ignore; in short classes.void=255, or classes.void=[0,0,0] for
    colour masks.
    """
    mask_encoding: Literal["values", "colors", "nearest_color"] = "values"
    """Encoding of a mask pixel: a value (in palette files the number of its colour), an exact
    colour, or the nearest colour. In JPEG files, which are never exact, the nearest one counts.
    """
    has_background: bool = True
    """The first class is the background, which region losses and metrics leave out."""

    shorthands: ClassVar[tuple[str, ...]] = tuple(COLUMNS)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each class."""
        return tuple(label.name for label in self.labels)

    @property
    def values(self) -> tuple[int, ...]:
        """Value of each class in mask files."""
        return tuple(label.value for label in self.labels)

    @property
    def colors(self) -> tuple[Color, ...]:
        """Colour (R, G, B) of each class."""
        return tuple(label.color for label in self.labels)

    @property
    def first(self) -> int:
        """Index of the first class that region losses and metrics count."""
        return int(self.has_background)

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the classes that region losses and metrics count."""
        return self.names[self.first :]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, tree: Any) -> Any:
        tree = expand_classes(tree)
        if isinstance(tree, cls):
            return tree
        if not isinstance(tree, Mapping):
            raise ValueError(f"got {tree!r}, expected a name, a list of names or a block")
        return _with_void(_with_labels(tree))

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        _check_number(len(self.labels))
        has_colors = self.mask_encoding != "values"
        for column, part in COLUMNS.items():
            if column == "colors" and not has_colors:
                continue
            found = [getattr(label, part) for label in self.labels]
            repeated = next((item for item in found if found.count(item) > 1), None)
            if repeated is not None:
                raise ValueError(f"{column} must not repeat, {repeated} does")
        if self.void is not None and self.void.value in self.values and not has_colors:
            raise ValueError(_taken("value", self.void.value))
        if self.void is not None and self.void.color in self.colors and has_colors:
            raise ValueError(_taken("color", list(self.void.color)))
        return self


def _check_number(num_classes: int) -> None:
    if num_classes > MAX_CLASSES:
        raise ValueError(
            f"{num_classes} classes, at most {MAX_CLASSES} are possible: predictions are bytes, "
            "and one value is for void pixels"
        )
    if num_classes < 2:
        raise ValueError("at least two classes are needed, for example background and one more")


def expand_classes(value: Any) -> Any:
    """Settings of classes in a block, where they are a list of names, or a file's name or path.

    Raises:
        ValueError: There is no such file, or it cannot be read.
    """
    if isinstance(value, str):
        return _read_classes(value)
    return {"names": value} if isinstance(value, list | tuple) else value


def class_presets() -> list[str]:
    """Names of the shipped files of classes."""
    return sorted(path.stem for path in (configs_dir() / "classes").glob("*.yaml"))


def _read_classes(name: str) -> Any:
    """The content of a shipped file of classes, or of one at a path."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        presets = class_presets()
        if name not in presets:
            raise ValueError(
                f"'{name}' is unknown: {did_you_mean(name, presets)} (known are "
                f"{', '.join(presets)}; or give a .yaml file, or classes.names)"
            )
        path = configs_dir() / "classes" / f"{name}.yaml"
    try:
        tree, _ = read_yaml(path, what="file of classes")
    except ConfigError as error:
        raise ValueError(str(error)) from None
    tree = tree["classes"] if isinstance(tree, dict) and list(tree) == ["classes"] else tree
    tree = {"names": tree} if isinstance(tree, list) else tree
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected the settings of classes, for example 'names: [a, b]'")
    return tree


def _with_labels(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the columns `names`, `values` and `colors` merged into `labels`."""
    tree = dict(tree)
    columns = {key: tree.pop(key) for key in COLUMNS if key in tree}
    labels = tree.get("labels", ClassesConfig.model_fields["labels"].default)
    if not columns or not isinstance(labels, list | tuple):
        return tree
    for key, column in columns.items():
        if not isinstance(column, list | tuple):
            raise ValueError(f"{key}: got {column!r}, expected a list, one for each class")
    rows = [dict(label) for label in labels]
    has_background = tree.get("has_background") is not False
    if "names" in columns:
        rows = _renamed(rows, columns["names"], has_background)
    for key, part in COLUMNS.items():
        column = columns.get(key, [row.get(part) for row in rows])
        if len(column) != len(rows):
            raise ValueError(_wrong_length(key, column, rows))
        rows = [{**row, part: value} for row, value in zip(rows, column, strict=True)]
    return {**tree, "labels": rows}


def _renamed(
    rows: list[dict[str, Any]], names: Sequence[Any], has_background: bool
) -> list[dict[str, Any]]:
    """The classes with other names; another number of them has the values 0, 1, 2, ..."""
    _check_number(len(names))
    old = [str(row.get("name")) for row in rows]
    colors = [tuple(row.get("color", ())) for row in rows]
    has_default = colors == default_colors(old, has_background=has_background)
    if len(names) != len(rows) or has_default:
        colors = list(default_colors([str(name) for name in names], has_background=has_background))
    values = [row.get("value") for row in rows] if len(names) == len(rows) else range(len(names))
    return [
        {"name": name, "value": value, "color": color}
        for name, value, color in zip(names, values, colors, strict=True)
    ]


def _wrong_length(key: str, column: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> str:
    names = [str(row.get("name")) for row in rows]
    listed = f" ({', '.join(names)})" if len(names) <= MAX_LISTED else ""
    text = f"{key} has {len(column)} entries for {len(rows)} classes{listed}"
    if not 2 <= len(column) <= MAX_LISTED:
        return f"{text}: give one for each class, or as many classes.names"
    return f"{text}: give one for each, or as many names, as in {example_names(len(column))}"


def example_names(num_classes: int) -> str:
    """The setting `classes.names=...` for so many classes whose names nobody knows."""
    names = ["background", *(f"class{number}" for number in range(1, num_classes))]
    return f"classes.names=[{','.join(names)}]"


def _with_void(tree: dict[str, Any]) -> dict[str, Any]:
    """Settings with `void` in full; a void of only a value is grey, one of only a color has a value
    that no class has. `ignore_value` is its former name.
    """
    old = tree.pop("ignore_value", None)
    void = tree.get("void", old)
    if isinstance(void, int) and not isinstance(void, bool):
        void = {"value": void}
    elif isinstance(void, list | tuple):
        void = {"color": void}
    elif isinstance(void, str):
        raise ValueError(f"void: got {void!r}, expected a value, a color [R,G,B] or null")
    if isinstance(void, Mapping):
        void = {"name": "void", **void}
        if "color" not in void:
            level = void.get("value")
            is_byte = isinstance(level, int) and 0 <= level <= 255
            void["color"] = (level,) * 3 if is_byte else WHITE
        if "value" not in void:
            labels = tree.get("labels", ClassesConfig.model_fields["labels"].default)
            taken = {dict(label).get("value") for label in labels}
            void["value"] = next(value for value in count(255, -1) if value not in taken)
    return {**tree, "void": void}


def _taken(part: str, value: Any) -> str:
    return (
        f"void has the {part} of a class, {value}; void pixels need one of their own, or "
        "set classes.void=null"
    )
