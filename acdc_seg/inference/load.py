"""Loading a predictor from a run folder, a checkpoint or an ensemble.yaml."""

from pathlib import Path

from acdc_seg.config.ensemble import read_ensemble
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.inference.postprocess import KeepLargest
from acdc_seg.inference.predictors import TTA, Ensemble, ModelPredictor, Predictor
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import Checkpoint, has_checkpoint, load_checkpoint
from acdc_seg.runtime.device import resolve_device, resolve_precision


def load_predictor(path: str | Path, *, device: str = "auto", precision: str = "auto") -> Predictor:
    """The predictor of a run folder (its best.pt), a checkpoint, or an ensemble.yaml or its folder.

    Args:
        device: auto, cpu, cuda or mps.
        precision: auto, fp32, bf16 or fp16; `auto` stays fp32 for a model trained in it.

    Raises:
        CheckpointError: No checkpoint there, or weights that do not fit their own config.
        ConfigError: An invalid ensemble.yaml, or one whose members have other classes.
    """
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return _load_ensemble(path, device=device, precision=precision)
    if (path / "ensemble.yaml").is_file() and not has_checkpoint(path / "best.pt"):
        return _load_ensemble(path / "ensemble.yaml", device=device, precision=precision)
    path = find_checkpoint(path)
    return predictor_from_checkpoint(
        load_checkpoint(path), source=str(path), device=device, precision=precision
    )


def find_checkpoint(path: Path) -> Path:
    """best.pt of a run folder, or the file itself; raises CheckpointError for a folder without."""
    if not path.is_dir():
        return path
    if not has_checkpoint(path / "best.pt"):
        raise CheckpointError(
            f"{path}: no best.pt in this folder; give a folder that acdc-train finished an epoch in"
        )
    return path / "best.pt"


def predictor_from_checkpoint(
    checkpoint: Checkpoint, *, source: str, device: str = "auto", precision: str = "auto"
) -> ModelPredictor:
    """A predictor with the checkpoint's weights.

    Args:
        source: The checkpoint's name in errors.
        device: As for `load_predictor`.
        precision: As for `load_predictor`.

    Raises:
        CheckpointError: Weights that do not fit the config.
    """
    config = checkpoint.config
    precision = "fp32" if precision == "auto" and config.train.precision == "fp32" else precision
    model = build_model(config.model, config.data.channels, len(config.classes.names))
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{source}: weights do not fit their config: {str(error).splitlines()[-1].strip()}"
        ) from None
    target = resolve_device(device)
    return ModelPredictor(
        model, config, device=target, precision=resolve_precision(precision, target)
    )


def _load_ensemble(path: Path, *, device: str, precision: str) -> Predictor:
    ensemble = read_ensemble(path)
    members: list[Predictor] = []
    for member in ensemble.members:
        source = find_checkpoint(path.parent / member.path)
        checkpoint = load_checkpoint(source)
        if checkpoint.config.classes.names != ensemble.classes:
            raise ConfigError(
                f"{path}: the ensemble is of {', '.join(ensemble.classes)}, its member {source} of "
                f"{', '.join(checkpoint.config.classes.names)}; choose it again"
            )
        model = predictor_from_checkpoint(
            checkpoint, source=str(source), device=device, precision=precision
        )
        members.append(model if member.tta == "none" else TTA(model, views=member.tta))
    predictor = Ensemble(members, weights=[member.weight for member in ensemble.members])
    if not ensemble.keep_largest:
        return predictor
    try:
        return KeepLargest(predictor, ensemble.keep_largest)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
