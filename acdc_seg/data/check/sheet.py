"""Contact sheet of a data set: images with the borders of their masks, on one picture."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from acdc_seg.config import ClassesConfig
from acdc_seg.data.check.look import Look
from acdc_seg.data.check.run import Check, problems_by_record
from acdc_seg.data.check.tiles import (
    CAPTION,
    GRAY,
    INK,
    TILE,
    Tile,
    font,
    make_tile,
    paste_tile,
    shorten,
)
from acdc_seg.data.problems import Problem

GAP, MARGIN, HEADING = 14, 24, 30
MIN_COLUMNS, MAX_COLUMNS = 4, 8
PAPER = (255, 255, 255)


def draw_sheet(check: Check, *, num: int, by_class: bool = False) -> bytes:
    """A PNG file of images with the borders of their masks, in an even grid.

    Args:
        check: The data, looked at.
        num: Images to show.
        by_class: A row for each class, from its largest to its smallest region; else images with
            problems come first, then one that is rich in each class, then a spread over patients.
    """
    classes, problems = check.classes, problems_by_record(check)
    chosen = {"": choose(check, problems, num)}
    if by_class:
        foreground = range(classes.first, len(classes.names))
        each = max(1, num // len(foreground))
        chosen = {
            classes.names[label]: choose_of_class(check.looks, label, each) for label in foreground
        }
    sections = []
    for heading, members in chosen.items():
        tiles = [
            make_tile(
                check.records[index],
                problems[index],
                kind=check.reader.kind,
                data=check.data,
                classes=classes,
            )
            for index in members
        ]
        sections.append((heading, tiles))
    num_patients = len({record.patient for record in check.records})
    title = f"{check.root.name}: {len(check.records)} {check.reader.kind}"
    title += f" of {num_patients} patients" if num_patients < len(check.records) else ""
    return _compose(sections, title, classes)


def choose(check: Check, problems: Sequence[Sequence[Problem]], num: int) -> list[int]:
    """Positions of so many records: up to half of them with problems, errors first, one that is
    rich in each class, and a spread over splits and patients.
    """
    records, looks = check.records, check.looks
    num_errors = [sum(each.severity == "error" for each in found) for found in problems]
    order = sorted(range(len(records)), key=lambda index: -num_errors[index])
    chosen = [index for index in order if problems[index]][: max(1, num // 2)]
    good = [index for index in range(len(records)) if not problems[index]]
    with_mask = [index for index in good if looks[index].contacts is not None]
    for label in range(check.classes.first, len(check.classes.names)):
        if with_mask:
            chosen.append(max(with_mask, key=lambda index: looks[index].pixels[label]))
    chosen = list(dict.fromkeys(chosen))[:num]
    rest = [index for index in good if index not in chosen]
    rest.sort(key=lambda index: (records[index].split, records[index].patient))
    num_left = min(num - len(chosen), len(rest))
    return [*chosen, *(rest[place * len(rest) // num_left] for place in range(num_left))]


def choose_of_class(looks: Sequence[Look], label: int, num: int) -> list[int]:
    """Positions of so many records with this class, from the largest share of it to the least."""
    having = [index for index, look in enumerate(looks) if look.pixels[label]]
    having.sort(key=lambda index: -looks[index].pixels[label] / looks[index].pixels.sum())
    num = min(num, len(having))
    return [having[place * (len(having) - 1) // max(1, num - 1)] for place in range(num)]


def _compose(
    sections: Sequence[tuple[str, Sequence[Tile]]], title: str, classes: ClassesConfig
) -> bytes:
    """The PNG file of tiles below a title and a legend."""
    most = max(len(tiles) for _, tiles in sections)
    columns = most if len(sections) > 1 else round((1.6 * most) ** 0.5)
    columns = max(MIN_COLUMNS, min(MAX_COLUMNS, columns))
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    scratch = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    head = MARGIN + 32 + _draw_legend(scratch, classes, width, top=0)
    rows = [-(-len(tiles) // columns) for _, tiles in sections]
    num_headings = sum(bool(heading) for heading, _ in sections)
    height = head + sum(rows) * (TILE + CAPTION + GAP) + num_headings * HEADING
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), shorten(title, size=18, width=width - 2 * MARGIN), INK, font(18))
    _draw_legend(draw, classes, width, top=MARGIN + 32)
    top = head
    for heading, tiles in sections:
        if heading:
            draw.text((MARGIN, top), heading, INK, font(15))
            top += HEADING
        for number, tile in enumerate(tiles):
            row, column = divmod(number, columns)
            left = MARGIN + column * (TILE + GAP)
            paste_tile(sheet, tile, left=left, top=top + row * (TILE + CAPTION + GAP))
        top += -(-len(tiles) // columns) * (TILE + CAPTION + GAP)
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    return content.getvalue()


def _draw_legend(draw: ImageDraw.ImageDraw, classes: ClassesConfig, width: int, *, top: int) -> int:
    """Draws a swatch and a name for every class, in as many lines as needed; returns the height."""
    left, start = MARGIN, top
    for index in range(classes.first, len(classes.names)):
        name = classes.names[index]
        room = round(20 + draw.textlength(name, font(13)) + 22)
        if left + room > width - MARGIN and left > MARGIN:
            left, top = MARGIN, top + 22
        box = (left, top + 2, left + 13, top + 15)
        draw.rectangle(box, fill=classes.colors[index], outline=GRAY)
        draw.text((left + 20, top), name, INK, font(13))
        left += room
    return top + 38 - start
