"""Persistent storage of a search's Optuna study: a journal file, or a database by URL."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from mixopt.errors import MixoptError
from mixopt.serialization import replacing

# What drivers, SQLAlchemy and Optuna raise for a database that isn't there, isn't theirs or is damaged.
REFUSALS = (ImportError, RuntimeError, ValueError, LookupError, SQLAlchemyError, optuna.exceptions.OptunaError)


def check_storage(storage: Path | str) -> None:
    """Raises MixoptError where storage is a URL at which no study can be kept."""
    if isinstance(storage, str):
        with _database(storage):
            pass


def save_study(study: optuna.Study, storage: Path | str) -> None:
    """Writes a finished study in place of one of the same name; a journal file whole or not at all.

    storage: a journal's path, or a database's URL. A thousand trials of 17 domains take a second in a journal; in a
    database, which Optuna fills cell by cell, they take minutes.
    """
    if isinstance(storage, str):
        with _database(storage) as database:
            if study.study_name in optuna.get_all_study_names(database):
                optuna.delete_study(study_name=study.study_name, storage=database)
            _copy(study, database)
        return
    buffer = BufferBackend()
    _copy(study, JournalStorage(buffer))
    with replacing(storage) as half:
        JournalFileBackend(str(half)).append_logs(buffer.logs)


class BufferBackend(BaseJournalBackend):
    """A journal in memory, to be written at once: in a file, each trial would wait for a lock and for the disk."""

    def __init__(self) -> None:
        self.logs: list[dict] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict]:
        return iter(self.logs[log_number_from:])

    def append_logs(self, logs: list[dict]) -> None:
        self.logs += logs


def _copy(study: optuna.Study, storage: BaseStorage) -> None:
    """Copies a study without its sampler's state: CMA-ES keeps its covariance there, five times all the rest."""
    copied = optuna.create_study(study_name=study.study_name, storage=storage, direction=study.direction)
    for trial in study.get_trials(deepcopy=False):
        bare = copy.copy(trial)
        bare.system_attrs = {}
        copied.add_trial(bare)


@contextmanager
def _database(url: str) -> Iterator[RDBStorage]:
    """Optuna's storage in a database; MixoptError in one line, without a password, for what it raises."""
    storage = None
    try:
        storage = RDBStorage(url)
        optuna.get_all_study_names(storage)  # tables of the same names may be another program's
        yield storage
    except REFUSALS as error:
        shown = re.sub(r"//.*@", "//***@", url)
        reason = str(error).replace(url, shown).splitlines()[0].rstrip(".")
        raise MixoptError(
            f"search.storage: no study can be kept at {shown!r} ({reason}): give a database URL, such as "
            "sqlite:///search.db or postgresql://user@host/name, or leave it out for a journal file"
        ) from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()
