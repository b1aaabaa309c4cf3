"""Data, settings and circumstances of a run in words."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_seg.config import Config, differences, dump_yaml, load_config
from acdc_seg.report.curves import best_epoch
from acdc_seg.report.page import column, counted, facts, flat_facts, row, table

UNSAID = ("name", "runs_dir")
"""Settings that say where a run is, not what it is."""
MADE = ("started", "seconds", "precision", "host")
"""Keys of run.json that are shown; the others are folded."""


def protocol_part(
    config: Config,
    run: Mapping[str, Any],
    content: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Data, split, weights and seed in words, and the numbers of the data where they are known.

    Args:
        config: Settings of the run.
        run: Content of run.json.
        content: That of metrics.json.
        history: One dict per epoch.
    """
    is_phantom = run.get("data") == "phantom" or config.data.path is None
    protocol = {
        "Data": "synthetic phantom; its scores say nothing about real hearts"
        if is_phantom
        else str(config.data.path),
        "Split": split_rule(config),
    }
    num_images, num_patients = run.get("num_images") or {}, run.get("num_patients") or {}
    for split, title in (("train", "Training"), ("val", "Validation")):
        if num_images.get(split):
            patients = counted(num_patients.get(split, 0), "patient")
            protocol[title] = f"{counted(num_images[split], 'image')} of {patients}"
    best = best_epoch(history)
    if best and content:
        protocol["Weights"] = (
            f"of epoch {best['epoch']:.0f}, the best of {len(history)} by validation Dice "
            f"({best['dice']:.3f})"
        )
    elif history:
        protocol["Weights"] = "of the last epoch; nothing validated them"
    protocol["Seed"] = str(config.seed)
    scored = (content or {}).get("protocol") or {}
    if scored.get("cropped_by_masks"):
        protocol["Crops"] = "around the heart by the true masks, of the scored images too"
    num_seen = scored.get("num_seen_images", 0)
    if num_seen:
        protocol["Data leakage"] = (
            f"pretrained on {num_seen} of the validation images or their patients"
        )
    fingerprint = run.get("fingerprint") or {}
    return {"protocol": protocol, "fingerprint": flat_facts(fingerprint)}


def split_rule(config: Config) -> str:
    """The rule by which patients validate, in words."""
    if not config.data.validation:
        return "train and val together; nothing validates"
    if config.data.num_folds is None:
        return "by patient"
    return (
        f"by patient: fold {config.data.fold} (counted from 0) of {config.data.num_folds}, seed "
        f"{config.data.split_seed}"
    )


def settings_part(folder: Path, config: Config, run: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from the network's recipe, all settings, and how to repeat the run.

    Args:
        folder: Of the run.
        config: Its settings.
        run: Content of run.json.
    """
    name = config.model.name
    recipe = load_config(model=name)
    changed = {
        key: values for key, values in differences(recipe, config).items() if key not in UNSAID
    }
    headings = [column("Setting"), column("Recipe"), column("This run")]
    rows = [row([key, _setting(old), _setting(new)]) for key, (old, new) in changed.items()]
    nested = {
        key.replace("_", " ").capitalize(): facts(value)
        for key, value in run.items()
        if isinstance(value, Mapping) and key not in ("num_images", "num_patients", "fingerprint")
    }
    made = facts({key: run[key] for key in MADE if key in run})
    if "Seconds" in made:
        made["Duration"] = _duration(float(run["seconds"]))
        del made["Seconds"]
    other = {key: value for key, value in run.items() if key not in MADE}
    return {
        "changed": table(headings, rows) if rows else None,
        "config": dump_yaml(config),
        "commands": _commands(folder),
        "made": made,
        "more_facts": {"Run": facts(other), **nested} if run else {},
    }


def _commands(folder: Path) -> str:
    """Of a run those that train and score it again; of an evaluation the page's alone."""
    path = shlex.quote(str(folder))
    again = [f"acdc-report {path}"]
    if (folder / "config.yaml").is_file():
        train = f"acdc-train --config {path}/config.yaml --name again"
        again = [train, f"acdc-evaluate {path}", *again]
    return "\n".join(again)


def _setting(value: Any) -> str:
    return "null" if value is None else str(value)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{seconds} s")
    return " ".join(part for part in parts if part)
