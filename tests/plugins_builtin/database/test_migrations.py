"""A database of every earlier schema is brought up to date where it is opened, and keeps what it has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from model_checkpoint.contracts import Mark
from model_checkpoint.database.migrations.upgrade import upgrade
from model_checkpoint.database.schema import VERSION
from model_checkpoint.database.sqlite import open_sqlite

ROWS = """
INSERT INTO experiments VALUES (1, 'e', 'digits', 1.5, 1);
INSERT INTO runs VALUES (1, 'r', 'digits-1', 1, 'finished', 2.5, 3.5, 20, 2, '', '{"lr":0.1}', '{}');
INSERT INTO checkpoints VALUES (1, 'c1', 1, 1, 1, 2.6, 'safetensors', 'ab', 10, 20, 0.5, 0, 10, NULL, '{}', '');
INSERT INTO checkpoints VALUES (2, 'c2', 1, 1, 2, 2.7, 'safetensors', 'cd', 10, 20, 0.5, 1, 20, 'c1', '{"a":1}', '');
INSERT INTO checkpoint_tags VALUES (2, 'stage', 'dev');
"""


def of_version(path: Path, version: int) -> None:
    """Make the database that an installation with that version of the schema would have left."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection, f"{version:04d}")
    engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.executescript(ROWS)
    connection.close()


@pytest.mark.parametrize("version", range(1, VERSION))
def test_what_an_earlier_version_wrote_is_there_and_new_things_work(tmp_path: Path, version: int) -> None:
    of_version(tmp_path / "e.db", version)
    store = open_sqlite(f"sqlite:///{tmp_path}/e.db")
    newest, first = store.list_checkpoints()
    assert (newest.id, newest.step, newest.tags, newest.metadata) == ("c2", 20, {"stage": "dev"}, {"a": 1})
    assert (first.pinned, first.note, first.aliases) == (False, "", ())
    run = store.get_run("digits-1")
    assert run is not None
    assert (run.generation, run.config) == (2, {"lr": 0.1})
    store.mark(Mark("c1", "pin"))
    store.mark(Mark("c1", "alias", "prod"))
    found = store.find_alias("prod")
    assert found is not None
    assert (found.id, found.pinned) == ("c1", True)
    store.close()
    again = open_sqlite(f"sqlite:///{tmp_path}/e.db")
    assert again.get_checkpoint("c1") == found
    again.close()


def test_the_scripts_lead_to_the_very_schema_that_new_databases_get(tmp_path: Path) -> None:
    def described(path: Path) -> set[tuple[str, str]]:
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
        connection.close()
        return set(rows)

    of_version(tmp_path / "old.db", 1)
    for name in ("old.db", "new.db"):
        open_sqlite(f"sqlite:///{tmp_path}/{name}").close()
    assert described(tmp_path / "old.db") == described(tmp_path / "new.db")
