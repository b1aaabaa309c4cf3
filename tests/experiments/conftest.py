"""Experiments of a tiny U-Net on eight hearts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_experiments import RATES

from acdc_seg.config.experiment import read_experiment
from acdc_seg.experiments.plan import Plan, make_plan, write_plan
from acdc_seg.experiments.settings import Options


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def plan_of(tmp_path: Path, paired_folder: Path) -> Callable[..., Plan]:
    """plan_of(text, ...): the plan of an experiment file on the hearts, in `tmp_path`."""

    def make(
        text: str = RATES,
        *,
        place: str = "experiments",
        storage: str | None = None,
        **options: object,
    ) -> Plan:
        (tmp_path / "rates.yaml").write_text(text, encoding="utf-8")
        experiment = read_experiment(tmp_path / "rates.yaml")
        chosen = Options(**{"data": paired_folder, **options})
        folder = tmp_path / place
        plan = make_plan("rates", experiment, chosen, storage=storage, experiments_dir=folder)
        write_plan(plan)
        return plan

    return make
