"""Every setting of a run: a `Config` is a frozen tree of sections, checked as a whole.

Values come from the defaults of the sections, then the shipped recipe of a model
(`configs/<model>.yaml`) or a YAML file, then `section.key=value` overrides.
"""

from acdc_seg.config.classes import ClassesConfig, ClassLabel
from acdc_seg.config.data import (
    MASK_PATTERN,
    AugmentConfig,
    DataConfig,
    PrepareConfig,
    split_pattern,
)
from acdc_seg.config.load import (
    build_model_section,
    configs_dir,
    default_yaml,
    differences,
    dump_yaml,
    find_recipe,
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
from acdc_seg.config.schema import Config, setting_choices
from acdc_seg.config.section import Section
from acdc_seg.config.training import LossConfig, OptimizerConfig, ScheduleConfig, TrainConfig
