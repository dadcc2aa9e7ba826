"""Where a study is kept, so that processes and machines share it: a journal file, or a database."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.errors import ConfigError

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"
"""File of a study that nobody gave another place."""


def import_optuna() -> Any:
    """Return the module, which is an extra, quiet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "hornbeam search needs Optuna: pip install 'hornbeam[search]', or pip install optuna."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_storage(where: str | None, directory: Path) -> optuna.storages.BaseStorage:
    """Open a journal file or a database; make it where there is none.

    Args:
        where: path of a journal file, or URL of a database; `None` = the journal in `directory`.
        directory: of the study.

    Raises:
        ConfigError: a driver is missing, or the database cannot be reached.
    """
    import_optuna()
    from optuna import storages
    from optuna.storages import journal

    if where is None or "://" not in where:
        # Absolute, because Optuna's lock is a symbolic link to it: a relative one would lead nowhere,
        # and who waits for the lock would wait for ever.
        path = (Path(where) if where else directory / JOURNAL).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)
        return storages.JournalStorage(journal.JournalFileBackend(str(path)))
    scheme = where.partition("://")[0]
    arguments = {"connect_args": {"timeout": 60}} if scheme == "sqlite" else {"pool_pre_ping": True}
    shown = re.sub(r"//[^/]*@", "//…@", where)  # without the password
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return storages.RDBStorage(where, engine_kwargs=arguments)
    except ImportError:
        raise ConfigError(
            f"--storage {shown}: the driver for {scheme} is missing: pip install {_driver(where)}."
        ) from None
    except Exception as error:  # SQLAlchemy's, of any driver
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise ConfigError(f"--storage {shown}: the database cannot be used ({reason}).") from None


def is_local(where: str | None) -> bool:
    """Whether a study is kept in files, which only processes that see the same files share."""
    return where is None or "://" not in where or where.startswith("sqlite")


def _driver(where: str) -> str:
    """Return the package that a database of this kind needs."""
    scheme, _, driver = where.partition("://")[0].partition("+")
    names = {"postgresql": "psycopg", "mysql": "mysqlclient", "mariadb": "mysqlclient"}
    module = driver or names.get(scheme, scheme)  # SQLAlchemy's own choices
    return {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary"}.get(module, module)


def _mend(journal: Path) -> None:
    """Take off a last line that a full disk or a crash of the machine cut short.

    The next line would be written behind it, and Optuna could not read the study any more.
    """
    if not journal.is_file() or not journal.stat().st_size:
        return
    with journal.open("rb+") as file:
        file.seek(-1, 2)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
