"""Storage of a study: a journal file in its folder, or a database."""

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from acdc_seg.errors import ConfigError, DataError
from acdc_seg.tuning.samplers import PRUNERS
from acdc_seg.tuning.spec import StudySpec

MISSING = object()


def open_study(spec: StudySpec) -> Study:
    """Creates a study, or opens the existing one of that name.

    Raises:
        ConfigError: The storage cannot be opened, holds a study of that name with different
            settings, or lost the study whose runs are in the folder.
    """
    storage, pruner = open_storage(spec.storage, spec.folder), PRUNERS[spec.pruner]()
    try:
        study = optuna.create_study(
            storage=storage, study_name=spec.name, directions=spec.directions, pruner=pruner
        )
        for point in spec.points():
            mark = {"recipe": True} if point == spec.recipe else {}
            study.enqueue_trial(point, user_attrs={"queued": point, **mark})
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=spec.name, pruner=pruner)
    _check_settings(study, spec)
    return study


def _check_settings(study: Study, spec: StudySpec) -> None:
    settings, stored = spec.shared_settings(), study.user_attrs.get("settings")
    if stored is None:
        if any((spec.folder / "runs").glob("trial-*")):
            raise ConfigError(
                f"{spec.folder}: holds runs of a study that is no longer stored; remove the "
                "folder, or choose another --name"
            )
        study.set_user_attr("settings", settings)
        return
    old, new = _flat(stored), _flat(settings)
    different = [
        f"{key.removeprefix('config.')}: {_shown(old, key)} in the study, {_shown(new, key)} here"
        for key in {**old, **new}
        if old.get(key, MISSING) != new.get(key, MISSING)
    ]
    if different:
        raise ConfigError(
            f"study '{spec.name}' exists with different settings; repeat its options to resume it, "
            "or choose another --name\n" + "\n".join(different)
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested settings."""
    if not isinstance(value, dict) or not value:
        return {prefix.removesuffix("."): value}
    parts = [_flat(part, f"{prefix}{key}.") for key, part in value.items()]
    return {key: part for flat in parts for key, part in flat.items()}


def _shown(settings: dict[str, Any], key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "nothing"


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """The journal file of the study folder, or the database at `url`.

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
    return _open_database(url)


def _open_database(url: str) -> BaseStorage:
    try:
        address = make_url(url)
        shown = address.render_as_string(hide_password=True)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        return RDBStorage(address.render_as_string(hide_password=False))
    except ArgumentError:
        raise ConfigError(
            "--storage is not a valid database address; write postgresql://USER@HOST/NAME"
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
