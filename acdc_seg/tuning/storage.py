"""Where a study lives: a journal file in its folder, or a database."""

import warnings
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from acdc_seg.errors import ConfigError, DataError
from acdc_seg.tuning.queue import GRACE_SECONDS, HEARTBEAT_SECONDS


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """The journal file of the study folder, or the database at `url`, with a heartbeat for every
    running trial.

    Raises:
        ConfigError: The database cannot be reached, or its driver is not installed.
        DataError: The study folder cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if url is None:
            return JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write the study ({error.strerror}); check permissions, or choose "
            "another --studies-dir"
        ) from None
    try:
        address = make_url(url)
        shown = address.render_as_string(hide_password=True)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        full = address.render_as_string(hide_password=False)
        return RDBStorage(full, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS)
    except ArgumentError:
        raise ConfigError(
            "--storage is no address of a database that is known here; write "
            "postgresql://USER@HOST/NAME"
        ) from None
    except ImportError as error:
        raise ConfigError(
            f"--storage {shown}: its driver is missing ({error}); install it: pip install "
            "'acdc_seg[postgresql]'"
        ) from None
    except SQLAlchemyError as error:
        raise ConfigError(
            f"--storage {shown}: cannot open this database: {str(error).splitlines()[0]}"
        ) from None
