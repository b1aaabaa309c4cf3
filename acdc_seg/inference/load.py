"""Loading a predictor from a run folder, a checkpoint or an ensemble.yaml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_seg.config import ClassesConfig, Config, parse_override, with_overrides
from acdc_seg.config.ensemble import read_ensemble
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.files import cached_sha256
from acdc_seg.inference.postprocess import KeepLargest
from acdc_seg.inference.predictors import TTA, Ensemble, ModelPredictor, Origin, Predictor
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import has_checkpoint, load_checkpoint, previous_of
from acdc_seg.runs.published import WEIGHTS_FILE, is_published
from acdc_seg.runtime.device import resolve_device, resolve_precision

NETWORK_SETTINGS = tuple(
    f"data.{name}" for name in ("channels", "size", "fit", "normalize", "mean", "std")
)
"""Settings of the data that a trained network depends on."""


def load_predictor(path: str | Path, *, device: str = "auto", precision: str = "auto") -> Predictor:
    """The predictor of a run folder (its best.pt), a checkpoint, a folder of `acdc-export --format
    huggingface`, or an ensemble.yaml or its folder.

    Args:
        device: auto, cpu, cuda or mps.
        precision: auto, fp32, bf16 or fp16; `auto` stays fp32 for a model trained in it.

    Raises:
        CheckpointError: No checkpoint there, or weights that do not fit their own config.
        ConfigError: An invalid ensemble.yaml, or one whose members have other classes.
    """
    path = _ensemble_file(Path(path))
    if path.suffix in (".yaml", ".yml"):
        return _load_ensemble(path, device, precision)
    return _load_model(find_checkpoint(path), device, precision)


def load_members(
    paths: Sequence[str | Path],
    *,
    overrides: Sequence[str] = (),
    tta: str | None = None,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Predictor:
    """One predictor of several runs: their soft vote, then test-time augmentation, and largest
    regions last.

    Its `config` says how the data of the first run is read, and `origins` what trained the members.

    Args:
        paths: Run folders, checkpoints or ensembles.
        overrides: `data.key=value` and `classes.key=value`, see `with_reading`.
        tta: Views to average over, flips or dihedral.
        weights: A number for each path.
        device: auto, cpu, cuda or mps.
        precision: As for `load_predictor`.

    Raises:
        AcdcError: A run that cannot be loaded, runs of different classes, weights that do not fit,
            or an override of the network's own settings.
    """
    members = [load_predictor(path, device=device, precision=precision) for path in paths]
    names = [name for each in members if isinstance(each, KeepLargest) for name in each.names]
    members = [each.predictor if isinstance(each, KeepLargest) else each for each in members]
    try:
        predictor = (
            Ensemble(members, weights=weights) if len(members) > 1 or weights else members[0]
        )
    except ConfigError as error:
        raise ConfigError(f"{', '.join(map(str, paths))}: {error}") from None
    predictor = TTA(predictor, views=tta) if tta else predictor
    predictor = KeepLargest(predictor, list(dict.fromkeys(names))) if names else predictor
    if overrides:
        predictor.config = with_reading(predictor.config, overrides)
        predictor.classes = predictor.config.classes
    return predictor


def load_described(description: Mapping[str, Any], *, device: str = "auto") -> Predictor:
    """The predictor that a protocol in metrics.json describes, see `Predictor.describe`.

    Args:
        description: Its `members`, `tta` and `keep_largest`.
        device: auto, cpu, cuda or mps.

    Raises:
        CheckpointError: A member's checkpoint is gone.
        ConfigError: It has changed since.
    """
    members: list[Predictor] = []
    for member in description["members"]:
        model = _load_model(find_checkpoint(Path(member["path"])), device, member["precision"])
        if model.origins[0].sha256 != member["sha256"]:
            raise ConfigError(f"{member['path']}: has changed since it was scored; score it again")
        members.append(model if member["tta"] == "none" else TTA(model, views=member["tta"]))
    weights = [member["weight"] for member in description["members"]]
    predictor = members[0] if len(members) == 1 else Ensemble(members, weights=weights)
    if description["tta"] != "none":
        predictor = TTA(predictor, views=description["tta"])
    names = description["keep_largest"]
    return KeepLargest(predictor, names) if names else predictor


def read_settings(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a run, or of an ensemble's first member, without its network."""
    path = _ensemble_file(Path(path))
    if path.suffix in (".yaml", ".yml"):
        path = path.parent / read_ensemble(path).members[0].path
    return with_reading(load_checkpoint(find_checkpoint(path)).config, overrides)


def with_reading(config: Config, overrides: Sequence[str]) -> Config:
    """A config with other settings of how data and masks are read.

    The classes keep their order in the network: those of the same names in another order only
    change their values and colors.

    Raises:
        ConfigError: A setting that belongs to the trained network, or other classes.
    """
    changes = dict(map(parse_override, overrides))
    for key in changes:
        if not is_reading(key) or key in NETWORK_SETTINGS:
            raise ConfigError(
                f"{key}: belongs to the trained network; settings of data.* and classes.* that say "
                "how files are read can be changed"
            )
        if key == "data.path":
            raise ConfigError("data.path: give --data DIR, which sets folds aside as well")
    changed = with_overrides(config, changes)
    classes = _in_order(changed.classes, config.classes.names)
    return changed.model_copy(update={"classes": classes})


def is_reading(key: str) -> bool:
    """Whether a dotted setting says how files are read: `classes`, `classes.*` or `data.*`."""
    return key.startswith(("data.", "classes.")) or key == "classes"


def _in_order(classes: ClassesConfig, names: Sequence[str]) -> ClassesConfig:
    """The classes in the order of the network's, `names`.

    Raises:
        ConfigError: Another number, or some of the network's names for other ones of its classes.
    """
    if len(classes.names) != len(names):
        raise ConfigError(
            f"classes.names: {len(classes.names)} classes, the network predicts {len(names)}: "
            f"{', '.join(names)}"
        )
    if set(classes.names) == set(names):
        by_name = {label.name: label for label in classes.labels}
        return classes.model_copy(update={"labels": tuple(by_name[name] for name in names)})
    pairs = zip(classes.names, names, strict=True)
    moved = [name for name, own in pairs if name != own and name in names]
    if moved:
        raise ConfigError(
            f"classes.names: {', '.join(classes.names)}; '{moved[0]}' is another class of the "
            f"network, which predicts {', '.join(names)}"
        )
    return classes


def _ensemble_file(path: Path) -> Path:
    """The ensemble.yaml in a folder that holds one and no run; else the path."""
    is_ensemble = (path / "ensemble.yaml").is_file() and not has_checkpoint(path / "best.pt")
    return path / "ensemble.yaml" if is_ensemble else path


def find_checkpoint(path: Path) -> Path:
    """best.pt of a run folder, model.safetensors of a published one, or the file itself; raises
    CheckpointError for a folder without.
    """
    if not path.is_dir():
        return path
    if is_published(path):
        return path / WEIGHTS_FILE
    if not has_checkpoint(path / "best.pt"):
        raise CheckpointError(
            f"{path}: no best.pt in this folder; give a folder that acdc-train finished an epoch in"
        )
    return path / "best.pt"


def _load_model(path: Path, device: str, precision: str) -> ModelPredictor:
    checkpoint = load_checkpoint(path)
    config = checkpoint.config
    if precision == "auto" and config.train.precision == "fp32":
        precision = "fp32"
    model = build_model(config.model, config.data.channels, len(config.classes.names))
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: weights do not fit their config: {str(error).splitlines()[-1].strip()}"
        ) from None
    target = resolve_device(device)
    predictor = ModelPredictor(
        model, config, device=target, precision=resolve_precision(precision, target)
    )
    file = path if path.is_file() else previous_of(path)
    predictor.origins = (Origin(path.resolve(), cached_sha256(file), checkpoint.trained_on),)
    return predictor


def _load_ensemble(path: Path, device: str, precision: str) -> Predictor:
    ensemble = read_ensemble(path)
    members: list[Predictor] = []
    for member in ensemble.members:
        source = find_checkpoint(path.parent / member.path)
        model = _load_model(source, device, precision)
        if member.sha256 not in (None, model.origins[0].sha256):
            raise ConfigError(
                f"{path}: {source} has changed since the ensemble was chosen; choose it again with "
                "acdc-ensemble, restore the file, or remove this member's sha256 to accept it"
            )
        if model.classes.names != ensemble.classes:
            raise ConfigError(
                f"{path}: the ensemble is of {', '.join(ensemble.classes)}, its member {source} of "
                f"{', '.join(model.classes.names)}; choose it again"
            )
        members.append(model if member.tta == "none" else TTA(model, views=member.tta))
    predictor = Ensemble(members, weights=[member.weight for member in ensemble.members])
    if not ensemble.keep_largest:
        return predictor
    try:
        return KeepLargest(predictor, ensemble.keep_largest)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
