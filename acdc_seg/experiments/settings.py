"""Settings of every variant: those of its own over those of the command over those of the base."""

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc_seg.config import Config, UNetConfig, load_config, parse_override, with_overrides
from acdc_seg.config.experiment import ExperimentFile
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.experiments.variants import Variant, expand_variants
from acdc_seg.runtime.device import resolve_device, resolve_precision

QUICK_EPOCHS = 2
QUICK_HEART = {
    "prepare.slices": "mid",
    "prepare.phases": ["ED"],
    "prepare.size": [64, 64],
}
"""One small slice of each phantom patient, where `--quick` trains on them."""


@dataclass(frozen=True)
class Options:
    """Options of the command that change what is trained.

    `overrides` are texts such as `train.epochs=100`, `only` patterns of variants to take, all
    where there are none; `num_seeds` replaces the file's seeds by 0, 1 and so on.
    """

    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    data: Path | None = None
    quick: bool = False
    num_seeds: int | None = None
    num_folds: int | None = None
    device: str | None = None


def has_data(experiment: ExperimentFile, options: Options) -> bool:
    """Whether the command or the file says what to train on."""
    given = dict(parse_override(text) for text in options.overrides)
    return options.data is not None or "data.path" in {**experiment.base, **given}


def variant_configs(
    experiment: ExperimentFile, options: Options, *, phantom: Path | None = None
) -> list[tuple[Variant, Config]]:
    """Every variant with its settings, without seed and fold.

    Args:
        experiment: The content of the file.
        options: Those of the command; its settings win over those of the base.
        phantom: Synthetic data that is taken where the command gives none.

    Raises:
        ConfigError: Settings that are unknown, wrong, missing, or given in vain; all at once.
    """
    given = dict(parse_override(text) for text in options.overrides)
    if options.data is not None:
        given["data.path"] = str(options.data.resolve())
    if options.device is not None:
        given["train.device"] = options.device
    variants = _chosen(expand_variants(experiment), options.only)
    _check_given(experiment, variants, given)
    base = {"train.log_images_interval": 0, **experiment.base}
    if phantom is not None:
        base["data.path"] = str(phantom)
    if options.quick:
        base |= {"train.epochs": QUICK_EPOCHS, **experiment.quick}
        if experiment.phantom == "heart" and "data.path" not in given:
            base |= QUICK_HEART
    configs: list[tuple[Variant, Config]] = []
    mistakes: list[str] = []
    for variant in variants:
        try:
            changes = {**base, **given, **variant.changes}
            configs.append((variant, _load(changes, with_recipe=experiment.recipe)))
        except ConfigError as error:
            mistakes += [f"variant '{variant.name}': {line}" for line in str(error).splitlines()]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return configs


def _chosen(variants: Sequence[Variant], only: Sequence[str]) -> list[Variant]:
    """The variants that match a pattern; raises ConfigError for a pattern that none matches."""
    names = [variant.name for variant in variants]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise ConfigError(f"--only '{pattern}': no variant; {did_you_mean(pattern, names)}")
    return [
        variant
        for variant in variants
        if not only or any(fnmatch.fnmatchcase(variant.name, pattern) for pattern in only)
    ]


def _check_given(
    experiment: ExperimentFile, variants: Sequence[Variant], given: Mapping[str, Any]
) -> None:
    for key in given:
        if all(key in variant.changes for variant in variants):
            raise ConfigError(
                f"{key}: every variant sets it, so it cannot be given; copy the experiment's file "
                "and change its variants"
            )
    for key in ("seed", "data.num_folds", "data.fold", "name", "runs_dir"):
        if key in given:
            raise ConfigError(
                f"{key}: is set by the experiment; use --seeds, --folds or --experiments-dir"
            )
    if given.get("data.validation", True) is not True:
        raise ConfigError("data.validation=false: an experiment compares by validation images")
    missing = [f"{key}=... ({why})" for key, why in experiment.needs.items() if key not in given]
    if missing:
        raise ConfigError(f"this experiment needs {'; '.join(missing)}")


def _load(changes: Mapping[str, Any], *, with_recipe: bool) -> Config:
    texts = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    model = changes.get("model.name", UNetConfig().name)
    return load_config(model=model if with_recipe else None, overrides=texts)


def with_resolved_device(config: Config) -> Config:
    """Replaces device and precision `auto` by what they mean on this machine."""
    device = resolve_device(config.train.device)
    precision = resolve_precision(config.train.precision, device)
    return with_overrides(config, {"train.device": device.type, "train.precision": precision})
