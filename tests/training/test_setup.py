from acdc_seg.config import with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.training.loop import Hooks, train


def test_a_run_keeps_the_fingerprint_of_its_data_and_tells_what_looks_wrong(tiny_config):
    config = with_overrides(tiny_config, {"classes.values": [0, 3, 2, 1]})
    source = open_source(config.data, prepare_settings=config.prepare, classes=config.classes)
    notices = []
    run = train(config, source, hooks=Hooks(on_notice=notices.append)).run
    fingerprint = run.read_json()["fingerprint"]
    assert fingerprint["num_records"] == sum(run.read_json()["num_images"].values())
    assert fingerprint["classes"]["lv"]["pixels"] > 0
    assert any("classes=acdc" in notice for notice in notices)
