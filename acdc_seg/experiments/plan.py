"""Plan of an experiment: its trainings with their resolved settings, each known by a digest."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from acdc_seg.config import (
    Config,
    EncoderConfig,
    from_dict,
    to_dict,
    with_overrides,
)
from acdc_seg.config.experiment import ExperimentFile
from acdc_seg.data.record import ProgressCallback, no_progress
from acdc_seg.data.source import open_source
from acdc_seg.errors import ConfigError, DataError, path_hint
from acdc_seg.experiments.settings import (
    Options,
    has_data,
    variant_configs,
    with_resolved_device,
)
from acdc_seg.experiments.variants import Variant
from acdc_seg.files import cached_sha256, sha256_bytes, write_text
from acdc_seg.inference.load import find_checkpoint
from acdc_seg.inference.shipped import find_model
from acdc_seg.runs.writer import FREE_SETTINGS
from acdc_seg.tuning.objective import DATA_SECTIONS

FILE = "plan.json"
PLACES = ("name", "runs_dir", "data.path", "train.device", *FREE_SETTINGS)
"""Settings that say where and how fast a training runs, and not what it gives."""


@dataclass(frozen=True)
class Job:
    """One training: a variant with a seed and a fold; `digest` is of its settings and its data."""

    variant: Variant
    config: Config
    digest: str

    @property
    def label(self) -> str:
        """Its name in lines of text."""
        fold = self.config.data.fold
        return f"{self.variant.name}, seed {self.config.seed}" + (
            "" if fold is None else f", fold {fold}"
        )

    @property
    def folder_name(self) -> str:
        """Its run folder below runs/."""
        fold = "" if self.config.data.fold is None else f"-fold{self.config.data.fold}"
        return f"{self.variant.slug}-seed{self.config.seed}{fold}-{self.digest[:8]}"

    @property
    def size(self) -> int:
        """Passes over the training images, a relative measure of its time."""
        return self.config.train.epochs * self.config.augment.repeats


@dataclass(frozen=True)
class Plan:
    """All trainings of an experiment, as every process that works on it needs them."""

    name: str
    experiment: ExperimentFile
    jobs: tuple[Job, ...]
    num_workers: int = 1
    storage: str | None = None
    experiments_dir: Path = Path("experiments")
    command: str = ""

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.experiments_dir / self.name

    @property
    def device(self) -> str:
        """The device of all trainings."""
        return self.jobs[0].config.train.device

    @property
    def variants(self) -> list[Variant]:
        """The variants in their order."""
        return list({job.variant.name: job.variant for job in self.jobs}.values())

    @cached_property
    def by_digest(self) -> dict[str, Job]:
        """The trainings by their digests."""
        return {job.digest: job for job in self.jobs}

    @property
    def digest(self) -> str:
        """Of all trainings together."""
        return sha256_bytes(" ".join(sorted(self.by_digest)).encode())

    def run_folder(self, job: Job) -> Path:
        """Where a job trains, or has trained under another name of its variant."""
        runs, name = self.folder / "runs", job.folder_name
        if (runs / name).is_dir():
            return runs / name
        return next(runs.glob(f"*-{job.digest[:8]}"), runs / name)


def make_plan(
    name: str,
    experiment: ExperimentFile,
    options: Options,
    *,
    phantom: Path | None = None,
    num_workers: int = 1,
    storage: str | None = None,
    experiments_dir: Path = Path("experiments"),
    on_progress: ProgressCallback = no_progress,
) -> Plan:
    """Resolves every setting of every training, and opens the data to know them by.

    Args:
        name: Name of the experiment's folder.
        experiment: The content of its file.
        options: Those of the command.
        phantom: Synthetic data that is taken where the command gives none; None is the built-in
            heart.
        num_workers: Processes on this machine.
        storage: Address of a database; None is a journal file in the folder.
        experiments_dir: Folder of the experiments' folders.
        on_progress: Called while data is prepared.

    Raises:
        ConfigError: Wrong settings or options.
        DataError: Unusable data.
    """
    configs = variant_configs(experiment, options, phantom=phantom)
    if not has_data(experiment, options):  # published scores are of other data
        experiment = experiment.model_copy(update={"study_dice": {}})
    seeds = experiment.seeds if options.num_seeds is None else tuple(range(options.num_seeds))
    if options.quick and options.num_seeds is None:
        seeds = seeds[:1]
    num_folds = options.num_folds or experiment.folds
    folds: Sequence[int | None] = [None] if num_folds is None else range(num_folds)
    runs_dir = str(experiments_dir / name / "runs")
    digests = _DataDigests(on_progress)
    jobs = []
    for seed in seeds:  # outermost, so that a first picture of all variants is there early
        for variant, config in configs:
            for fold in folds:
                changes = {"seed": seed, "runs_dir": runs_dir}
                if fold is not None:
                    changes |= {"data.num_folds": num_folds, "data.fold": fold}
                config = with_resolved_device(with_overrides(config, changes))
                digest = _digest(config, digests.of(config, variant))
                jobs.append(Job(variant, config, digest))
    return Plan(name, experiment, tuple(jobs), num_workers, storage, experiments_dir)


class _DataDigests:
    """Digests of data sets, each opened once."""

    def __init__(self, on_progress: ProgressCallback) -> None:
        self.on_progress = on_progress
        self.by_settings: dict[str, str] = {}

    def of(self, config: Config, variant: Variant) -> str:
        """SHA-256 of all files; empty where a variant's own settings make the data unusable, which
        its training will say.
        """
        data = config.data.model_copy(update={"num_folds": None, "fold": None})
        key = json.dumps([to_dict(data), to_dict(config.prepare)])
        if key not in self.by_settings:
            try:
                source = open_source(
                    data, prepare_settings=config.prepare, on_progress=self.on_progress
                )
                self.by_settings[key] = source.digest()
            except DataError:
                if not any(name.startswith(DATA_SECTIONS) for name in variant.changes):
                    raise
                self.by_settings[key] = ""
        return self.by_settings[key]


def _digest(config: Config, data_sha256: str) -> str:
    """SHA-256 of the data and of all settings that differ from the defaults, so that a setting that
    is new in a later version changes nothing.
    """
    tree = config.model_dump(mode="json", exclude_defaults=True)
    tree.setdefault("model", {})["name"] = config.model.name
    for key in PLACES:
        section, _, name = key.rpartition(".")
        (tree.get(section, {}) if section else tree).pop(name, None)
    model = config.model
    if isinstance(model, EncoderConfig) and model.pretrained and Path(model.pretrained).is_file():
        tree["model"]["pretrained"] = cached_sha256(Path(model.pretrained))
    if config.train.start_from:
        weights = find_checkpoint(find_model(config.train.start_from))
        tree["train"]["start_from"] = cached_sha256(weights)
    filled = {name: part for name, part in tree.items() if part != {}}
    return sha256_bytes(json.dumps([filled, data_sha256], sort_keys=True).encode())


def write_plan(plan: Plan) -> None:
    """Writes plan.json, from which the experiment is drawn again; raises DataError like
    `write_text`.
    """
    jobs = [
        {"variant": asdict(job.variant), "config": to_dict(job.config), "digest": job.digest}
        for job in plan.jobs
    ]
    experiment = plan.experiment.model_dump(mode="json")
    content = {"command": plan.command, "experiment": experiment, "jobs": jobs}
    write_text(plan.folder / FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_plan(folder: Path, *, storage: str | None = None) -> Plan:
    """The plan of an experiment's folder.

    Raises:
        ConfigError: There is none, or it is of another version.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        experiment = ExperimentFile.model_validate(content["experiment"])
        jobs = tuple(
            Job(Variant(**job["variant"]), from_dict(job["config"], str(path)), job["digest"])
            for job in content["jobs"]
        )
    except OSError:
        raise ConfigError(f"{path}: no experiment was run here; {path_hint(folder)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a plan of this version ({error}); run it again") from None
    return Plan(
        folder.name,
        experiment,
        jobs,
        storage=storage,
        experiments_dir=folder.parent,
        command=content.get("command", ""),
    )
