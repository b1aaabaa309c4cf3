import pytest

from acdc_seg.config import load_config
from acdc_seg.data.source import open_source
from acdc_seg.training.loop import train


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_phantom_is_neither_trivial_nor_hopeless(tmp_path):
    """The training of `acdc-train --model unet --epochs 20`, about ten minutes on one core."""
    config = load_config(
        model="unet", overrides=["train.epochs=20", f"runs_dir={tmp_path / 'runs'}"]
    )
    source = open_source(config.data, prepare_settings=config.prepare, work_dir=tmp_path / "data")
    result = train(config, source)
    assert 0.85 < result.dice < 0.97
