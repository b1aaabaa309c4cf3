import pkgutil
import re

import pytest
import yaml
from pydantic import ValidationError

from acdc_seg.config import (
    MODEL_SECTIONS,
    Config,
    DataConfig,
    DeepLabDRNConfig,
    OptimizerConfig,
    Section,
    TrainConfig,
    UNetConfig,
    build_model_section,
    configs_dir,
    default_yaml,
    differences,
    dump_yaml,
    find_recipe,
    from_dict,
    load_config,
    parse_override,
    setting_choices,
    to_dict,
    with_overrides,
)
from acdc_seg.errors import ConfigError

SHIPPED = sorted(configs_dir().glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def write_yaml(text):
        path = tmp_path / "größe 1.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_yaml


def message_of(path=None, **options):
    with pytest.raises(ConfigError) as caught:
        load_config(path, **options)
    return str(caught.value)


def test_default_yaml_is_the_defaults():
    text = (configs_dir() / "default.yaml").read_text(encoding="utf-8")
    assert text == default_yaml()
    assert load_config(configs_dir() / "default.yaml") == load_config() == Config()


def test_a_shipped_file_is_found_by_its_name(tmp_path, monkeypatch):
    assert load_config("volumes") == load_config(configs_dir() / "volumes.yaml")
    assert load_config("volumes").prepare.crop == "none"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "volumes").write_text("seed: 7\n")
    assert load_config("volumes").seed == 7


def test_every_setting_is_explained():
    sections = [
        type(field.default)
        for field in Config.model_fields.values()
        if isinstance(field.default, Section)
    ]
    for section in [Config, *sections, *MODEL_SECTIONS.values()]:
        for name, field in section.model_fields.items():
            is_model_name = name == "name" and section in MODEL_SECTIONS.values()
            assert field.description or is_model_name or isinstance(field.default, Section), (
                f"{section.__name__}.{name}"
            )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_read(path):
    assert isinstance(load_config(path), Config)


@pytest.mark.parametrize("model", MODEL_SECTIONS)
def test_every_model_has_a_recipe(model):
    recipe = load_config(model=model)
    assert recipe.model.name == model
    assert (
        recipe
        == load_config(configs_dir() / f"{model}.yaml")
        != load_config(overrides=[f"model.name={model}"])
    )


def test_a_model_without_a_recipe_has_the_defaults(monkeypatch, tmp_path):
    assert find_recipe("enet") == configs_dir() / "enet.yaml"
    monkeypatch.setattr("acdc_seg.config.load.configs_dir", lambda: tmp_path)
    assert find_recipe("enet") is None
    assert load_config(model="enet") == load_config(overrides=["model.name=enet"])


@pytest.mark.parametrize(
    ("key", "registry"),
    [("loss.name", "acdc_seg.losses:LOSSES"), ("optimizer.name", "acdc_seg.optim:OPTIMIZERS")],
)
def test_choices_are_the_names_of_the_registry(key, registry):
    assert setting_choices(key) == tuple(pkgutil.resolve_name(registry))


def test_choices_are_in_the_file_of_defaults():
    assert setting_choices("train.precision") == ("auto", "fp32", "bf16", "fp16")
    assert "  # One of: auto, fp32, bf16, fp16.\n  precision: " in default_yaml()


@pytest.mark.parametrize(
    ("key", "renamed"),
    [
        ("data.source", "format"),
        ("data.folds", "num_folds"),
        ("augment.turns", "flip_rotate_prob"),
        ("train.clip_norm", "max_grad_norm"),
        ("train.save_seconds", "checkpoint_interval_s"),
        ("model.up", "upsample"),
    ],
)
def test_former_names_of_settings_suggest_the_new_ones(key, renamed):
    assert (
        message_of(overrides=[f"{key}=1"]) == f"{key}: unknown setting; did you mean '{renamed}'?"
    )


@pytest.mark.parametrize(
    ("section", "given", "meant"),
    [
        ("data", "chanels", "channels"),
        ("prepare", "spacin", "spacing"),
        ("classes", "colours", "colors"),
        ("augment", "strenght", "strength"),
        ("loss", "class_weight", "class_weights"),
        ("optimizer", "weigth_decay", "weight_decay"),
        ("schedule", "warmup_fracton", "warmup_fraction"),
        ("train", "epoch", "epochs"),
        ("model", "base_chanels", "base_channels"),
        ("model", "pre_set", "preset"),
    ],
)
def test_unknown_keys_name_the_nearest_one(write, section, given, meant):
    path = write(f"seed: 1\n{section}:\n  {given}: 1\n")
    assert (
        message_of(path)
        == f"{path}, line 3: {section}.{given}: unknown setting; did you mean '{meant}'?"
    )
    assert (
        message_of(overrides=[f"{section}.{given}=1"])
        == f"{section}.{given}: unknown setting; did you mean '{meant}'?"
    )


def test_unknown_sections_name_the_nearest_one(write):
    path = write("# comment\n\noptimiser:\n  lr: 1\n")
    assert (
        message_of(path) == f"{path}, line 3: optimiser: unknown setting; did you mean 'optimizer'?"
    )


def test_options_of_another_model_are_refused_by_name(write):
    path = write("model:\n  name: deeplab_drn\n  depth: 4\n")
    assert (
        message_of(path) == f"{path}, line 3: model.depth: unknown setting; choose from: "
        f"{', '.join(DeepLabDRNConfig.model_fields)}"
    )


def test_unknown_models_name_the_nearest_one(write):
    path = write("model:\n  name: unett\n")
    assert (
        message_of(path) == f"{path}, line 1: model: model 'unett' is unknown: did you mean 'unet'?"
    )
    assert (
        message_of(model="deeplab_drm")
        == "model 'deeplab_drm' is unknown: did you mean 'deeplab_drn'?"
    )
    with pytest.raises(
        ConfigError, match=f"model 'x' is unknown: choose from: {', '.join(MODEL_SECTIONS)}$"
    ):
        build_model_section("x", {})


def test_all_mistakes_are_reported_at_once_each_with_its_line(write):
    path = write(
        "seed: -1\ntrain:\n  epochs: 0\n  precision: fp8\n\noptimizer: {lr: fast}\nmodel:\n  "
        "depth: 7\n  deph: 3\n"
    )
    assert set(message_of(path).splitlines()) == {
        f"{path}, line 1: seed: got -1; input should be greater than or equal to 0",
        f"{path}, line 3: train.epochs: got 0; input should be greater than or equal to 1",
        f"{path}, line 4: train.precision: got 'fp8'; choose from: auto, fp32, bf16, fp16",
        f"{path}, line 6: optimizer.lr: got 'fast'; input should be a valid number, unable to "
        "parse string as a number",
        f"{path}, line 8: model.depth: got 7; input should be less than or equal to 6",
        f"{path}, line 9: model.deph: unknown setting; did you mean 'depth'?",
    }


def test_a_setting_without_its_section_is_named_in_full():
    base = message_of(overrides=["base_channels=8"])
    assert base == "base_channels: unknown setting; did you mean 'model.base_channels'?"
    assert message_of(overrides=["epochs=8"]).endswith("did you mean 'train.epochs'?")


def test_a_bare_no_is_explained(write):
    message = message_of(write("train:\n  precision: no\n"))
    assert (
        "line 2: train.precision: got False (YAML reads a bare yes, no, on and off as true and "
        "false: put quotes around words)" in message
    )


def test_scientific_notation_is_read(write):
    assert load_config(write("optimizer:\n  lr: 3e-4\n")).optimizer.lr == 3e-4
    assert load_config(write("optimizer:\n  lr: 3.0e-4\n")).optimizer.lr == 3e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "a config file holds 'section:' blocks, this one is a list"),
        ("train: [", "this is not YAML: while parsing"),
        ("name: 2020-13-45\n", "this is not YAML: month must be in 1..12"),
        (
            "a: !!python/object/apply:os.system ['true']\n",
            "this is not YAML: could not determine a constructor",
        ),
    ],
)
def test_invalid_config_files_are_refused(write, text, message):
    path = write(text)
    assert message_of(path).startswith(f"{path}: {message}")


def test_files_that_cannot_be_read_are_named(tmp_path):
    assert (
        message_of(tmp_path / "gone.yaml")
        == f"{tmp_path}/gone.yaml: cannot read this config file (No such file or directory); "
        "check the path"
    )
    assert "cannot read this config file (Is a directory)" in message_of(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: gr\xf6\xdfe\n")
    assert "this is not YAML" in message_of(tmp_path / "latin.yaml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "train:\nmodel:\n"])
def test_empty_files_and_sections_are_the_recipe(write, text):
    assert load_config(write(text)) == load_config(model="unet") != Config()
    assert load_config(write(text), with_recipe=False) == Config()
    assert load_config(write(text), overrides=["train.epochs=3"]).train.epochs == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.lr=3.0e-4", ("optimizer.lr", 3.0e-4)),
        ("name=a=b", ("name", "a=b")),
        (" data.size = [96, 128]", ("data.size", [96, 128])),
        ("data.path=null", ("data.path", None)),
        ("train.precision='no'", ("train.precision", "no")),
    ],
)
def test_overrides_are_read_as_yaml(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["optimizer.lr", "=3", ""])
def test_overrides_without_key_or_value_are_refused(text):
    with pytest.raises(ConfigError, match=f"^invalid override '{text}': expected section.key="):
        parse_override(text)


@pytest.mark.parametrize("text", ["train.epochs=[1", "train.epochs=2020-13-45"])
def test_overrides_that_are_not_yaml_are_refused(text):
    with pytest.raises(ConfigError, match=f"^'{re.escape(text)}': this is not YAML: "):
        parse_override(text)


def test_overrides_win_over_the_file_and_are_checked(write):
    path = write("train:\n  epochs: 7\n  batch_size: 3\n")
    config = load_config(path, overrides=["train.epochs=9", "data.size=[64, 96]"])
    assert (config.train.epochs, config.train.batch_size, config.data.size) == (9, 3, (64, 96))
    assert (
        message_of(path, overrides=["train.epochs=0"])
        == "train.epochs: got 0; input should be greater than or equal to 1"
    )
    assert (
        message_of(path, overrides=["train.epocs=3"])
        == "train.epocs: unknown setting; did you mean 'epochs'?"
    )
    assert (
        message_of(path, overrides=["trian.epochs=3"])
        == "trian: unknown setting; did you mean 'train'?"
    )
    assert (
        message_of(path, overrides=["seed.x=0"])
        == "seed: got {'x': 0}; input should be a valid integer"
    )
    assert (
        message_of(write("seed: 3\n"), overrides=["seed.x=0"])
        == "seed.x: 'seed' is a value, not a section"
    )


def test_changed_copies_are_checked_again():
    config = with_overrides(Config(), {"train.epochs": 5, "model.depth": 3})
    assert (config.train.epochs, config.model.depth) == (5, 3)
    assert Config().train.epochs == 100
    with pytest.raises(ConfigError, match=r"train\.epochs: got -1"):
        with_overrides(config, {"train.epochs": -1})
    with pytest.raises(ConfigError, match=r"train\.epochz: unknown setting; did you mean 'epochs'"):
        with_overrides(config, {"train.epochz": 1})


def test_another_model_drops_the_options_of_the_previous_one(write):
    path = write("model:\n  name: unet\n  depth: 3\n  base_channels: 8\n")
    recipe = load_config(model="deeplab_drn").model
    assert load_config(path, overrides=["model.name=deeplab_drn"]).model == recipe
    assert load_config(path, model="deeplab_drn").model == recipe
    assert load_config(path, model="unet").model == UNetConfig(
        depth=3, base_channels=8, dropout=0.3
    )
    assert with_overrides(
        load_config(path), {"model.name": "deeplab_drn", "model.dropout": 0.1}
    ).model == DeepLabDRNConfig(dropout=0.1)


@pytest.mark.parametrize(
    "overrides", [["model.name=unet", "model.depth=3"], ["model.depth=3", "model.name=unet"]]
)
def test_the_order_of_overrides_does_not_matter(write, overrides):
    assert load_config(
        write("model:\n  name: deeplab_drn\n"), overrides=overrides
    ).model == UNetConfig(depth=3, dropout=0.3)


def test_presets_are_starting_points(write):
    pets = UNetConfig(base_channels=64, upsample="bilinear_conv1x1", conv_bias=True)
    assert load_config(overrides=["model.preset=pets"]).model == pets
    path = write("model:\n  preset: pets\n  depth: 3\n")
    assert load_config(path, with_recipe=False).model == pets.model_copy(update={"depth": 3})
    assert load_config(path).model == pets.model_copy(update={"depth": 3, "dropout": 0.3})
    assert load_config(overrides=["model.depth=3", "model.preset=pets"]).model == pets.model_copy(
        update={"depth": 3}
    )
    assert with_overrides(Config(), {"model.preset": "pets"}).model == pets
    assert build_model_section("unet", {"preset": "cityscapes"}) == UNetConfig(base_channels=32)


@pytest.mark.parametrize("preset", ["pest", [1], 3])
def test_unknown_presets_are_refused(preset):
    with pytest.raises(ConfigError, match="unknown preset"):
        build_model_section("unet", {"preset": preset})


DATA_ALONE = """
data:
  path: cells
classes:
  names: [background, cell]
  values: [0, 255]
  colors: [[0, 0, 0], [255, 255, 255]]
"""


@pytest.mark.parametrize(
    ("text", "options", "model"),
    [
        (DATA_ALONE, {}, "unet"),
        (DATA_ALONE, {"model": "enet"}, "enet"),
        (DATA_ALONE, {"overrides": ["model.name=segnet"]}, "segnet"),
        (DATA_ALONE + "model: {name: enet}\n", {}, "enet"),
        (DATA_ALONE + "model: {name: enet}\n", {"model": "segnet"}, "segnet"),
    ],
)
def test_a_file_is_laid_over_the_recipe_of_its_network(write, text, options, model):
    config, recipe = load_config(write(text), **options), load_config(model=model)
    assert (config.data.path, config.classes.names) == ("cells", ("background", "cell"))
    assert to_dict(config) == {
        **to_dict(recipe),
        "data": to_dict(config.data),
        "classes": to_dict(config.classes),
    }


def test_a_complete_file_means_exactly_itself(write):
    """Also with options of the network that its recipe has otherwise."""
    config = load_config(model="unet", overrides=["model.dropout=0", "model.depth=3", "name=x"])
    defaults = Config()
    for complete in (config, defaults, with_overrides(defaults, {"model.name": "enet"})):
        assert load_config(write(dump_yaml(complete))) == complete


def test_values_in_place_of_sections_are_refused_over_a_recipe_too(write):
    assert "line 1: train: got 5; " in message_of(write("train: 5\n"))
    assert "line 1: model: got 'unet'; " in message_of(write("model: unet\n"))
    assert "line 1: model: model 'unett' is unknown" in message_of(write("model: {name: unett}\n"))
    assert "line 1: model: model '../x' is unknown" in message_of(write("model: {name: ../x}\n"))


def test_dicts_and_yaml_round_trip():
    config = load_config(
        model="deeplab_drn",
        overrides=["data.size=[64, 96]", "classes.void=255", "name=größe"],
    )
    assert from_dict(to_dict(config)) == config
    assert from_dict(yaml.safe_load(dump_yaml(config))) == config
    with pytest.raises(ConfigError, match=r"^here\.pt: train\.epochs: got 0"):
        from_dict({"train": {"epochs": 0}}, source="here.pt")


def test_differences_of_two_configs():
    changed = with_overrides(Config(), {"train.epochs": 5, "model.name": "enet"})
    found = differences(Config(), changed)
    assert found["train.epochs"] == (100, 5)
    assert found["model.name"] == ("unet", "enet")
    assert found["model.depth"] == (5, None)
    assert not [key for key in found if not key.startswith("model.")][1:]


def test_sections_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Config().train.epochs = 3


@pytest.mark.parametrize(
    "pattern",
    [
        "mask",
        "",
        "{stem}{stem}",
        "{name}",
        "{stem}_{}",
        "{stem}_{",
        "}{stem}",
        "{stem.__class__}",
        "{stem!r}",
        "{{stem}}",
    ],
)
def test_mask_patterns_contain_the_stem_once(pattern):
    with pytest.raises(ValidationError, match=r"must have \{stem\} once"):
        DataConfig(mask_pattern=pattern)


@pytest.mark.parametrize("key", ["data.image_dir", "data.mask_dir"])
@pytest.mark.parametrize("folder", ["/etc", "..", "../elsewhere", "a/../../b"])
def test_image_and_mask_folders_are_below_the_data(key, folder):
    assert message_of(overrides=[f"{key}={folder}"]) == (
        f"{key}: '{folder}' must be a folder below the data's; set data.path to the folder that "
        "holds all of it"
    )
    assert load_config(overrides=[f"{key}=scans/images"])


@pytest.mark.parametrize("pattern", ["../{stem}", "/etc/{stem}", "masks/{stem}", "{stem}\0"])
def test_mask_patterns_are_file_names(pattern):
    with pytest.raises(ValidationError, match="and no other brace or /"):
        DataConfig(mask_pattern=pattern)


@pytest.mark.parametrize(
    "name", ["..", ".", "../up", "/etc/run", "a/b", "a\\b", "-rf", "", "a\n", "a\0"]
)
def test_a_run_cannot_be_named_out_of_its_folder(name):
    with pytest.raises(ValidationError, match="should match pattern"):
        Config(name=name)


@pytest.mark.parametrize("setting", ["runs_dir", "data.path", "data.image_dir"])
def test_paths_with_a_null_byte_are_refused(setting):
    assert message_of(overrides=[f'{setting}="a\\0b"']).startswith(
        f"{setting}: got 'a\\x00b'; string should match pattern"
    )


@pytest.mark.parametrize("rule", ["(p", "p", "a{99999999999}(b)", "(" * 3000 + ")" * 3000, "*"])
def test_patient_rules_are_checked_before_any_image(rule):
    assert "must be one of auto, pairs, each, or a regular expression with one group" in message_of(
        overrides=[f"data.patient_rule='{rule}'"]
    )
    assert load_config(overrides=[r"data.patient_rule=^(p\d+)-"]).data.patient_rule == r"^(p\d+)-"


@pytest.mark.parametrize(
    ("section", "options"),
    [
        (OptimizerConfig, {"lr": 0}),
        (OptimizerConfig, {"lr": float("inf")}),
        (OptimizerConfig, {"lr": float("nan")}),
        (TrainConfig, {"batch_size": 1.5}),
        (TrainConfig, {"ema_decay": 1}),
        (TrainConfig, {"max_grad_norm": 0}),
        (DataConfig, {"channels": 2}),
        (DataConfig, {"val_fraction": 1}),
        (DataConfig, {"size": (96,)}),
        (Config, {"name": "../escape"}),
        (Config, {"name": ".hidden"}),
        (Config, {"name": ""}),
    ],
)
def test_values_out_of_range_are_refused(section, options):
    with pytest.raises(ValidationError):
        section(**options)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("data.mask_pattern={stem}", "{stem}"),
        ("data.mask_pattern={stem}_gt", "{stem}_gt"),
        ("data.mask_pattern=a: {stem}", "a: {stem}"),
        ('data.mask_pattern="{stem}_gt"', "{stem}_gt"),
        (r"data.patient_rule=(case\d+): ", r"(case\d+): "),
        ("data.path=2024", "2024"),
        ("data.path=null", None),
        ("name=1.50", "1.50"),
    ],
)
def test_texts_need_no_quotes(text, value):
    assert parse_override(text)[1] == value


def test_the_stem_needs_no_quotes_in_files_either(write):
    assert load_config(write("data:\n  mask_pattern: {stem}\n")).data.mask_pattern == "{stem}"
    message = message_of(write("data:\n  mask_pattern: {stem}_gt\n"))
    assert "put quotes around text that begins with a brace" in message


@pytest.mark.parametrize(
    ("overrides", "channels"),
    [
        ([], 1),
        (["classes=binary"], 1),
        (["classes=cityscapes8"], 3),
        (["classes=exercise23"], 3),
        (["classes.mask_encoding=colors"], 3),
        (["classes=cityscapes8", "data.channels=1"], 1),
    ],
)
def test_images_whose_masks_are_colors_are_rgb_unless_channels_are_given(overrides, channels):
    config = load_config(overrides=overrides)
    assert config.data.channels == channels
    assert from_dict(to_dict(config)) == config
    assert with_overrides(config, {"seed": 3}).data.channels == channels
