"""Pictures from where we have no reader for: here, a table of an SQLite database.

    hornbeam train pictures.sqlite --recipe examples/own_reader.py

The database has a table `pictures(id INTEGER PRIMARY KEY, file BLOB, label TEXT, split TEXT)`.
"""

import contextlib
import sqlite3
import threading
from pathlib import Path


class Pictures:
    """Pictures of one split. Threads and processes read it at once, in any order.

    Args:
        database: path of the file.
        split: `train`, `validation` or `test`.
    """

    def __init__(self, database, split):
        self.address = f"{Path(database).resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(self.address, uri=True)) as connection:
            found = connection.execute(
                "SELECT id, label FROM pictures WHERE split = ? ORDER BY id", (split,)
            )
            self.rows = found.fetchall()
        self.local = threading.local()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        number, label = self.rows[index]
        if not hasattr(self.local, "connection"):  # a connection serves the thread that opened it
            self.local.connection = sqlite3.connect(self.address, uri=True)
        query = "SELECT file FROM pictures WHERE id = ?"
        (file,) = self.local.connection.execute(query, (number,)).fetchone()
        return {"image": file, "label": label}

    def __reduce__(self):
        # With --processes each gets the rows, and opens the database itself.
        return _again, (self.address, self.rows)


def _again(address, rows):
    pictures = object.__new__(Pictures)
    pictures.address, pictures.rows, pictures.local = address, rows, threading.local()
    return pictures


def examples(split, data):
    """Return the pictures of a split; `None` where there are none, and a split is made."""
    pictures = Pictures(data, split)
    return pictures if len(pictures) else None
