"""export_bundle: a MONAI bundle, which plain MONAI runs on NIfTI files with acdc-predict's labels.

Its network is built by `create_model`, also where MONAI has the same one: ours pads slices of any
size, and sorts the layers into encoder, decoder and head.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from acdc_seg import __version__
from acdc_seg.config import EncoderConfig, to_dict
from acdc_seg.data.geometry import Size
from acdc_seg.export.card import CODE_TERMS, ModelFacts, read_facts, write_body
from acdc_seg.files import new_folder, replacing, write_json, write_text
from acdc_seg.inference.predictors import Predictor
from acdc_seg.runs.checkpoint import Checkpoint

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
VERSION = "0.1.0"
"""Of the bundle: the first one of its model."""
SECTIONS = ("data", "prepare", "classes", "loss")
"""Settings that prediction depends on."""
ANY_SIZE = (128, 128)
"""Said of networks that see whole slices."""
USAGE = """\
```bash
pip install acdc_seg fire jsonschema pytorch-ignite
python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
    --dataset_dir DIR --output_dir OUT
```
labels every NIfTI volume or cine in `DIR`, as `acdc-predict` does: NAME_seg.nii.gz in `OUT`, on the
grid of the image.
`configs/inference.json` reads with MONAI's `LoadImaged`, builds the network with
`acdc_seg.models.create_model`, and gives both to `acdc_seg.inference.bundle.VolumeInferer`, which
resamples, normalizes, finds the heart, predicts and goes back to the grid of the image.
`models/model.pt` is a state dict without anything else."""


def export_bundle(predictor: Predictor, folder: Path, *, license: str | None = None) -> None:
    """Writes configs, weights, a page and the terms.

    Args:
        predictor: Of one checkpoint.
        folder: A new or empty folder.
        license: Terms of the weights.

    Raises:
        ConfigError: Several models, or views of one.
        DataError: The folder holds something, or cannot be written.
    """
    facts = read_facts(predictor, format="bundle", license=license)
    with new_folder(folder) as unfinished:
        write_json(unfinished / "configs" / "metadata.json", make_metadata(facts))
        write_json(unfinished / "configs" / "inference.json", make_inference(facts.checkpoint))
        with replacing(unfinished / "models" / "model.pt") as file:
            torch.save(dict(facts.checkpoint.weights), file)
        write_text(unfinished / "docs" / "README.md", write_body(facts, USAGE))
        terms = f"Weights (models/model.pt): {facts.license}.\n\n{CODE_TERMS}\n"
        write_text(unfinished / "LICENSE", terms)


def make_metadata(facts: ModelFacts) -> dict[str, Any]:
    """configs/metadata.json, by MONAI's schema.

    Args:
        facts: See `read_facts`.
    """
    config = facts.checkpoint.config
    names = dict(enumerate(config.classes.names))
    scores = {} if facts.scores is None else {"mean_dice": round(facts.scores.means["dice"], 4)}
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: f"exported by acdc_seg {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {
            "acdc_seg": __version__,
            "nibabel": version("nibabel"),
            "pytorch-ignite": "0.5",
        },
        "supported_apps": {},
        "name": facts.title,
        "task": "Segmentation of the heart in short-axis cardiac MR",
        "description": f"{config.model.name}, slice by slice, trained with acdc_seg",
        "authors": "not stated",
        "copyright": facts.license,
        "data_source": ", ".join(part.data for part in facts.checkpoint.trained_on),
        "data_type": "nibabel",
        "image_classes": "one channel, short-axis cine MR",
        "pred_classes": ", ".join(f"{value}: {name}" for value, name in _values(facts)),
        "eval_metrics": scores,
        "intended_use": "research only, not for diagnosis",
        "network_data_format": _describe_network(facts.checkpoint, names),
    }


def make_inference(checkpoint: Checkpoint) -> dict[str, Any]:
    """configs/inference.json.

    Args:
        checkpoint: See `without_names`.
    """
    config = checkpoint.config
    options = config.model.model_dump(mode="json", exclude=set(EncoderConfig.model_fields))
    settings = to_dict(config)
    return {
        "imports": ["$import glob", "$import os", "$import numpy as np"],
        "bundle_root": ".",
        "dataset_dir": "$os.path.join(@bundle_root, 'data')",
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "datalist": "$[{'image': path} for path in "
        "sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))]",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "acdc_seg.models.create_model",
            "in_channels": config.data.channels,
            "num_classes": len(config.classes.names),
            **options,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {
            "_target_": "acdc_seg.inference.bundle.VolumeInferer",
            "settings": {name: settings[name] for name in SECTIONS},
        },
        **_make_engine(),
        "run": ["$@evaluator.run()"],
    }


def _make_engine() -> dict[str, Any]:
    """What is done with the labels, and the loop over exams."""
    return {
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_dtype": "$np.uint8",
                    "resample": False,
                    "separate_folder": False,
                }
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$os.path.join(@bundle_root, 'models', 'model.pt')",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": False,
        },
    }


def _describe_network(checkpoint: Checkpoint, names: dict[int, str]) -> dict[str, Any]:
    """Inputs and outputs of the network alone: normalized slices to logits."""
    config = checkpoint.config
    whole = config.prepare.crop == "none"
    size: Size = config.data.size or (None if whole else config.prepare.size) or ANY_SIZE
    common = {"spatial_shape": list(size), "dtype": "float32", "is_patch_data": False}
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "magnitude",
                "modality": "MR",
                "num_channels": config.data.channels,
                "value_range": [],
                "channel_def": {str(index): "image" for index in range(config.data.channels)},
                **common,
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": len(names),
                "value_range": [],
                "channel_def": {str(index): name for index, name in names.items()},
                **common,
            }
        },
    }


def _values(facts: ModelFacts) -> list[tuple[int, str]]:
    """Values of the classes in label maps, with their names."""
    classes = facts.checkpoint.config.classes
    return list(zip(classes.values, classes.names, strict=True))
