"""Loading a predictor from a run folder, a checkpoint or an ensemble.yaml."""

from pathlib import Path

from acdc_seg.config.ensemble import read_ensemble
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.inference.postprocess import KeepLargest
from acdc_seg.inference.predictors import TTA, Ensemble, ModelPredictor, Predictor
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import has_checkpoint, load_checkpoint
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
    if (path / "ensemble.yaml").is_file() and not has_checkpoint(path / "best.pt"):
        path /= "ensemble.yaml"
    if path.suffix in (".yaml", ".yml"):
        return _load_ensemble(path, device, precision)
    return _load_model(find_checkpoint(path), device, precision)


def find_checkpoint(path: Path) -> Path:
    """best.pt of a run folder, or the file itself; raises CheckpointError for a folder without."""
    if not path.is_dir():
        return path
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
    return ModelPredictor(
        model, config, device=target, precision=resolve_precision(precision, target)
    )


def _load_ensemble(path: Path, device: str, precision: str) -> Predictor:
    ensemble = read_ensemble(path)
    members: list[Predictor] = []
    for member in ensemble.members:
        source = find_checkpoint(path.parent / member.path)
        model = _load_model(source, device, precision)
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
