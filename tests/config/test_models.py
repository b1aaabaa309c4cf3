"""The networks' options."""

import pytest

from acdc_seg.config import MODEL_SECTIONS, EncoderConfig, build_model_section, load_config
from acdc_seg.errors import ConfigError


@pytest.mark.parametrize("name", MODEL_SECTIONS)
def test_a_section_answers_to_each_of_its_names(name: str) -> None:
    assert build_model_section(name, {}).name == name
    assert load_config(overrides=[f"model.name={name}"]).model == build_model_section(name, {})


@pytest.mark.parametrize("name", ["fcn16s", "deeplab_mobilenet"])
def test_mistakes_in_a_section_of_several_names_are_told_like_any(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^model\.drpout: unknown setting; did you mean 'dropout'\?$"
    ):
        load_config(overrides=[f"model.name={name}", "model.drpout=0.1"])
    with pytest.raises(ConfigError, match=r"^model\.dropout: got 1; input should be less than 1$"):
        load_config(overrides=[f"model.name={name}", "model.dropout=1"])


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (False, [False] * 4),
        (True, [True] * 4),
        (1, [True, False, False, False]),
        (3, [True, True, True, False]),
    ],
)
def test_the_encoder_is_frozen_for_the_epochs_asked_for(
    freeze: bool | int, frozen: list[bool]
) -> None:
    section = build_model_section("segnet", {"pretrained": "imagenet", "freeze_encoder": freeze})
    assert [section.is_frozen(epoch) for epoch in range(4)] == frozen


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("segnet", {"freeze_encoder": True}, "set pretrained too"),
        ("segnet", {"pretrained": "imagenet", "freeze_encoder": -1}, "freeze_encoder"),
        ("resnet34_unet", {"pretrained": "imagenet"}, "set shortcuts to resnet"),
        ("setr", {"hidden_size": 100}, "hidden_size 100 is not a multiple of num_heads 6"),
        ("swin_unet", {"feature_size": 20}, "multiple of 12"),
        ("deeplab_xception", {"pretrained": "imagenet"}, "pretrained: unknown setting"),
        ("unet", {"pretrained": "imagenet"}, "pretrained: unknown setting"),
        ("effunet", {"variant": "b8"}, "b8"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model_section(name, options)


def test_a_path_may_be_given_where_the_published_weights_do_not_fit() -> None:
    section = build_model_section("resnet34_unet", {"pretrained": "weights.pth"})
    assert isinstance(section, EncoderConfig)
    assert section.pretrained == "weights.pth"
