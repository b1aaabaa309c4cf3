"""The config of a run."""

from typing import Annotated, Any, Self, get_args

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from acdc_seg.config.classes import ClassesConfig
from acdc_seg.config.data import AugmentConfig, DataConfig, PrepareConfig
from acdc_seg.config.models import ModelConfig, UNetConfig
from acdc_seg.config.section import PathText, Section
from acdc_seg.config.training import LossConfig, OptimizerConfig, ScheduleConfig, TrainConfig


class Config(Section):
    """A whole run."""

    name: str | None = Field(default=None, pattern=r"^[\w][\w.\- ]*$")
    """Run name; null takes the model's name, with a number where it is taken."""
    runs_dir: PathText = "runs"
    """Folder of the run folders."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random."""
    data: DataConfig = DataConfig()
    prepare: PrepareConfig = PrepareConfig()
    classes: ClassesConfig = ClassesConfig()
    model: ModelConfig = UNetConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="wrap")
    @classmethod
    def _default_to_rgb(cls, tree: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Images whose masks are colours are RGB, unless `data.channels` is given."""
        config = validate(tree)
        is_given = "channels" in config.data.model_fields_set
        if is_given or config.classes.mask_encoding == "values":
            return config
        data = config.data.model_copy(update={"channels": 3})
        return config.model_copy(update={"data": data})

    @model_validator(mode="after")
    def _check_class_weights(self) -> Self:
        weights = self.loss.class_weights
        if weights is not None and len(weights) != len(self.classes.names):
            raise ValueError(
                f"loss.class_weights has {len(weights)} entries for {len(self.classes.names)} "
                "classes"
            )
        return self


def setting_choices(key: str) -> tuple[str, ...]:
    """The allowed words of a setting, for example of `loss.name`, as the schema lists them."""
    section, name = key.split(".")
    return get_args(type(Config.model_fields[section].default).model_fields[name].annotation)
