"""export_huggingface: a folder for the Hugging Face Hub, which acdc-predict takes as a model."""

import re
from pathlib import Path
from typing import Any

from acdc_seg.export.card import ModelFacts, read_facts, write_body
from acdc_seg.files import new_folder, write_text
from acdc_seg.inference.predictors import Predictor
from acdc_seg.runs.published import save_published

TAGS = ("image-segmentation", "medical", "cardiac-mri", "pytorch", "monai")
KNOWN_LICENSE = re.compile(r"(?i)(apache|mit|cc0|cc-by|bsd|gpl|openrail)[\w.-]*")
USAGE = """\
```bash
pip install acdc_seg
huggingface-cli download OWNER/NAME --local-dir model
acdc-predict patient.nii.gz --model model --out results   # volumes and cines
acdc-evaluate model --data DATA                           # slices with masks
```
```python
from acdc_seg import load_predictor

predictor = load_predictor("model")
probabilities = predictor(image)  # (H, W), gray values -> (classes, H, W)
```
`model.safetensors` holds the weights, `config.json` all settings and the checksums of the training
images, by which `acdc-evaluate` refuses to score images that the model has seen."""


def export_huggingface(predictor: Predictor, folder: Path, *, license: str | None = None) -> None:
    """Writes model.safetensors, config.json and a model card, README.md.

    Args:
        predictor: Of one checkpoint.
        folder: A new or empty folder.
        license: Terms of the weights: an identifier of the Hub such as cc-by-nc-sa-4.0, or text.

    Raises:
        ConfigError: Several models, or views of one.
        DataError: The folder holds something, or cannot be written.
    """
    facts = read_facts(predictor, format="huggingface", license=license)
    with new_folder(folder) as unfinished:
        save_published(unfinished, facts.checkpoint)
        write_text(unfinished / "README.md", write_card(facts, license))


def write_card(facts: ModelFacts, license: str | None) -> str:
    """Markdown with a YAML head, which the Hub reads.

    Args:
        facts: See `read_facts`.
        license: As given.
    """
    from huggingface_hub import EvalResult, ModelCardData

    is_known = license is not None and KNOWN_LICENSE.fullmatch(license)
    terms: dict[str, Any] = {} if is_known else {"license_name": license or "not-stated"}
    scores, results = facts.scores, None
    if scores is not None:
        data: dict[str, Any] = dict.fromkeys(
            ("dataset_type", "dataset_name"), facts.checkpoint.data
        )
        results = [
            EvalResult("image-segmentation", metric_type=name, metric_value=value, **data)
            for name, value in scores.means.items()
        ]
    head = ModelCardData(
        license=license.lower() if license and is_known else "other",
        library_name="acdc_seg",
        pipeline_tag="image-segmentation",
        tags=[*TAGS, facts.checkpoint.config.model.name],
        metrics=["dice", "iou"],
        model_name=facts.title if results else None,
        eval_results=results,
        **terms,
    )
    return f"---\n{head.to_yaml()}\n---\n\n{write_body(facts, USAGE)}"
