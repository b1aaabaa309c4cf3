"""The page of one run."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.config import Config
from acdc_seg.report.curves import best_epoch, draw_dice, draw_losses
from acdc_seg.report.distributions import draw_confusion, draw_reliability, draw_scores
from acdc_seg.report.evidence import Evidence
from acdc_seg.report.figures import Figures
from acdc_seg.report.niivue import volume_content, volume_size
from acdc_seg.report.page import write_page
from acdc_seg.report.pictures import draw_cases
from acdc_seg.report.run_facts import protocol_part, settings_part
from acdc_seg.report.scores import Scores
from acdc_seg.report.style import Color
from acdc_seg.report.tables import (
    class_table,
    headline_text,
    image_table,
    level_table,
    patient_table,
    score_cards,
)
from acdc_seg.report.viewer import viewer_content

FIGURES = "figures"
"""Folder of a run with the figures of its page."""


def write_run_page(
    folder: Path,
    config: Config,
    *,
    run: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any] | None = None,
    evidence: Evidence | None = None,
    no_pictures: str = "",
    path: Path | None = None,
    name: str = "",
    niivue: str = "",
) -> None:
    """Writes report.html and the folder figures/ of a run.

    A figure that cannot be drawn costs a warning, not the page.

    Args:
        folder: Of the run.
        config: Its settings.
        run: Content of run.json.
        history: One dict per epoch: `epoch`, `lr`, losses, `dice`, `dice_<class>`, `seconds`.
        content: That of metrics.json; None where nothing validated.
        evidence: Pictures of the images.
        no_pictures: Why there are none.
        path: The page, by default report.html in the folder.
        name: Of the run, by default that of the folder.
        niivue: Script of NiiVue (`read_bundle`) for a page that shows volumes with it too.

    Raises:
        ConfigError: NiiVue is asked for, but the images are no slices of volumes.
        DataError: A file cannot be written, or, for volumes, an image cannot be read.
    """
    by_name = dict(zip(config.classes.names, config.classes.colors, strict=True))
    name = name or folder.resolve().name
    scores = Scores(name, content, config.classes.names, by_name) if content else None
    figures = Figures(folder / FIGURES)
    page = {
        "title": name,
        "subtitle": _subtitle(config, run),
        "network": config.model.name,
        "headline": "",
        "cases": None,
        "volumes": None,
        "niivue": niivue,
        "no_cases": no_pictures or _collecting_error(evidence),
        "curves": _curves(history, by_name, figures),
        "scores": {"distances": "", **scores.content} if scores else None,
        "calibration": None,
        **protocol_part(config, run, content, history),
        **settings_part(folder, config, run),
    }
    reserved = 0
    if scores and evidence and niivue:
        page["volumes"] = volumes = volume_content(scores, evidence, channels=config.data.channels)
        reserved = len(niivue) + sum(map(volume_size, volumes["volumes"]))
    if scores:
        page |= _scores_part(scores, evidence, figures, reserved)
    write_page(path or folder / "report.html", "run.html", **page)


def _collecting_error(evidence: Evidence | None) -> str:
    error = evidence.error if evidence else None
    return f"Pictures are missing: {type(error).__name__}: {error}" if error else ""


def _subtitle(config: Config, run: Mapping[str, Any]) -> str:
    names = config.classes.foreground
    shown = names if len(names) <= 8 else [*names[:7], f"{len(names) - 7} more"]
    listed = " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
    data = "the synthetic phantom" if run.get("data") == "phantom" else str(config.data.path or "")
    return f"Segmentation of {listed} with {config.model.name}" + (
        f", trained on {data}" if data else ""
    )


def _curves(
    history: Sequence[Mapping[str, Any]], colors: Mapping[str, Color], figures: Figures
) -> dict[str, str]:
    if not history:
        return {}
    drawn = {"Loss": figures.draw("loss", partial(draw_losses, history))}
    if best_epoch(history):
        drawn["Validation Dice"] = figures.draw("dice", partial(draw_dice, history, colors))
    return {caption: svg for caption, svg in drawn.items() if svg}


def _scores_part(
    scores: Scores, evidence: Evidence | None, figures: Figures, reserved: int
) -> dict[str, Any]:
    noun = scores.noun
    cases = viewer_content([scores], [evidence], noun=noun, reserved=reserved) if evidence else None
    if evidence and cases:
        figures.draw("cases", partial(draw_cases, scores, evidence), on_page=False)
    drawn = {
        f"{scores.label} by class, one dot per {noun}": figures.draw(
            "scores",
            partial(
                draw_scores, scores.images, scores.metric, label=scores.label, colors=scores.colors
            ),
        )
    }
    counts = np.array(scores.content.get("confusion") or [])
    if counts.shape == (len(scores.classes),) * 2:
        drawn["Confusion: where the pixels of each class went"] = figures.draw(
            "confusion", partial(draw_confusion, counts, scores.classes)
        )
    return {
        "noun": noun,
        "level": scores.level,
        "metric": scores.label,
        "headline": headline_text(scores),
        "levels": level_table(scores),
        "cards": score_cards(scores),
        "cases": cases,
        "classes": class_table(scores),
        "patients": patient_table(scores),
        "images": image_table(scores),
        "distributions": {caption: svg for caption, svg in drawn.items() if svg},
        "calibration": _calibration_part(scores, figures),
    }


def _calibration_part(scores: Scores, figures: Figures) -> dict[str, Any] | None:
    found = scores.content.get("calibration")
    if not found:
        return None
    svg = figures.draw(
        "calibration", partial(draw_reliability, found["bins"], found["scaled_bins"])
    )
    temperature = found["temperature"]
    tendency = "too sure of itself" if temperature > 1 else "less sure than it could be"
    return {
        "text": f"The expected calibration error (ECE) is {found['ece']:.3f}: on average the "
        "confidence is that far from the share of pixels that are right. The network is "
        f"{tendency}: with its logits divided by a temperature of {temperature:.2f} the error "
        f"would be {found['scaled_ece']:.3f}, with the same labels.",
        "figures": {"Confidence and accuracy": svg} if svg else {},
        "policy": f"{found['pixels']:,} evenly spaced pixels, those that go to the background with "
        "more than 99 % left out. The temperature was fitted on these same images, so its effect "
        "is shown a little too well; predictions do not use it.",
    }
