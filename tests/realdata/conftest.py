import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds `acdc/` and `coursework/`: $ACDC_SEG_DATA, or ../shared/data beside the
    checkout.
    """
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ACDC_SEG_DATA", beside))
    if not (folder / "coursework").is_dir():
        pytest.skip(
            f"no real data at {folder}; set ACDC_SEG_DATA to a folder with acdc/ and coursework/"
        )
    return folder
