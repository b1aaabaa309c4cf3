"""Variants of an experiment: their names and settings."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acdc_seg.config.experiment import BEST, WORST, ExperimentFile
from acdc_seg.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Variant:
    """One variant: its name, its settings over the base, and in a grouped grid the group that it is
    in and its name there.
    """

    name: str
    changes: Mapping[str, Any]
    group: str = ""
    label: str = ""

    @property
    def slug(self) -> str:
        """Its name as a part of a folder's name."""
        return re.sub(r"[^\w.+-]+", "_", self.name).strip("_.") or "variant"


def expand_variants(experiment: ExperimentFile) -> list[Variant]:
    """The variants of a file in its order.

    Raises:
        ConfigError: Two of one name, a reserved name, or comparisons of variants that do not exist.
    """
    if experiment.grid:
        variants = list(_combinations(experiment))
    elif isinstance(experiment.variants, Mapping):
        variants = [_single(name, changes) for name, changes in experiment.variants.items()]
    else:
        variants = [_single(_describe(changes), changes) for changes in experiment.variants]
    _check_names(experiment, variants)
    return variants


def _single(name: str, changes: Mapping[str, Any]) -> Variant:
    return Variant(name, changes, label=name)


def _combinations(experiment: ExperimentFile) -> Iterator[Variant]:
    """All combinations of the grid's choices, the first factor outermost."""
    factors = {name: _choices(name, choices) for name, choices in experiment.grid.items()}
    for combination in itertools.product(*(choices.items() for choices in factors.values())):
        chosen = dict(zip(factors, (name for name, _ in combination), strict=True))
        changes = {key: value for _, part in combination for key, value in part.items()}
        group = chosen.get(experiment.group_by or "", "")
        own = [name for factor, name in chosen.items() if factor != experiment.group_by]
        yield Variant(", ".join(chosen.values()), changes, group, ", ".join(own) or group)


def _choices(factor: str, choices: Mapping[str, Any] | Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Settings of each choice by its name."""
    if isinstance(choices, Mapping):
        return dict(choices)
    return {_shown(value): {factor: value} for value in choices}


def _describe(changes: Mapping[str, Any]) -> str:
    return ", ".join(_shown(value) for value in changes.values())


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, list | tuple):
        return "x".join(map(_shown, value))
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        return re.sub(r"\.?0*e-0*", "e-", f"{value:e}")  # 1e-4
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_names(experiment: ExperimentFile, variants: Sequence[Variant]) -> None:
    names = [variant.name for variant in variants]
    everyone = [*names, experiment.vote] if experiment.vote else names
    slugs = [variant.slug for variant in variants]
    for variant in variants:
        if everyone.count(variant.name) > 1 or slugs.count(variant.slug) > 1:
            raise ConfigError(f"two variants are called '{variant.name}'; give each its own name")
        if variant.name in (BEST, WORST, ""):
            raise ConfigError(f"a variant cannot be called '{variant.name}'; give it another name")
    compared = [(part.better, BEST) for part in experiment.comparisons]
    compared += [(part.than or WORST, WORST) for part in experiment.comparisons]
    compared += [(name, "") for name in experiment.study_dice]
    for name, word in compared:
        if name not in (*everyone, word):
            raise ConfigError(
                f"'{name}' is compared, but is not a variant; {did_you_mean(name, everyone)}"
            )
