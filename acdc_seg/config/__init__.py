"""Every setting of a run, once. A `Config` is a frozen tree of small sections, checked as a whole.

Values come from, each over the one before: the defaults of the sections, the shipped recipe of a
model (`configs/<model>.yaml`) or a YAML file, and `section.key=value` overrides.
"""

from acdc_seg.config.load import (
    build_model_section,
    configs_dir,
    default_yaml,
    differences,
    dump_yaml,
    from_dict,
    load_config,
    parse_override,
    to_dict,
    with_overrides,
)
from acdc_seg.config.models import (
    MODEL_SECTIONS,
    UNET_PRESETS,
    DeepLabDRNConfig,
    EncoderConfig,
    ModelConfig,
    UNetConfig,
)
from acdc_seg.config.schema import (
    AugmentConfig,
    ClassesConfig,
    Config,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PrepareConfig,
    ScheduleConfig,
    TrainConfig,
    split_pattern,
)
from acdc_seg.config.section import Section

__all__ = [
    "MODEL_SECTIONS",
    "UNET_PRESETS",
    "AugmentConfig",
    "ClassesConfig",
    "Config",
    "DataConfig",
    "DeepLabDRNConfig",
    "EncoderConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PrepareConfig",
    "ScheduleConfig",
    "Section",
    "TrainConfig",
    "UNetConfig",
    "build_model_section",
    "configs_dir",
    "default_yaml",
    "differences",
    "dump_yaml",
    "from_dict",
    "load_config",
    "parse_override",
    "split_pattern",
    "to_dict",
    "with_overrides",
]
