"""What a finished training leaves beside its checkpoints: scores of the best weights, and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from acdc_seg.config import Config, config_tree
from acdc_seg.data.sources import Source
from acdc_seg.data.transforms import load_example
from acdc_seg.evaluate import evaluate
from acdc_seg.metrics import score_tree, summarize, write_csv, write_json
from acdc_seg.predict import Predictor, load_predictor, predict_labels
from acdc_seg.report.figures import pick_cases, prediction_grid
from acdc_seg.report.html import write_report
from acdc_seg.run import Run


def conclude(run: Run, config: Config, source: Source, history: Sequence[Mapping[str, Any]]) -> None:
    """Evaluates best.pt on the validation images; writes metrics.csv, metrics.json and report.html."""
    predictor = load_predictor(run.best, device=config.train.device, precision=config.train.precision)
    rows = evaluate(predictor, source.split("val"), data=config.data, batch_size=config.train.batch_size)
    summary = summarize(rows)
    write_csv(run.folder / "metrics.csv", rows)
    write_json(run.folder / "metrics.json", rows, summary)
    scores = score_tree(rows, summary)
    write_report(
        run.folder / "report.html",
        title=f"{run.folder.name}: {config.model.name} on {source.kind} data",
        config=config_tree(config),
        run=run.read_json(),
        protocol=_protocol(config, source),
        history=history,
        scores=scores,
        figures={"Best, median and worst validation image": _draw_cases(predictor, config, source, pick_cases(scores["images"]))},
    )


def _protocol(config: Config, source: Source) -> dict[str, str]:
    counts = {split: source.split(split) for split in ("train", "val")}
    described = {
        split: f"{len(records)} images of {len({record.patient for record in records})} patients" for split, records in counts.items()
    }
    return {
        "Data": "synthetic phantom; its scores say nothing about real hearts" if source.kind == "phantom" else str(source.root),
        "Split": "by patient",
        "Training": described["train"],
        "Validation": described["val"],
        "Checkpoint": "the epoch with the best validation foreground Dice",
        "Seed": str(config.seed),
    }


def _draw_cases(predictor: Predictor, config: Config, source: Source, cases: Mapping[str, int]) -> Figure:
    records = [source.split("val")[index] for index in cases.values()]
    pairs = [load_example(record, data=config.data, classes=config.classes) for record in records]
    images = [image.numpy() for image, _ in pairs]
    return prediction_grid(
        images,
        list(predict_labels(predictor, images)),
        [mask.numpy() for _, mask in pairs if mask is not None],
        colors=config.classes.colors,
        names=config.classes.names,
        titles=[f"{case}\n{record.id}" for case, record in zip(cases, records, strict=True)],
    )
