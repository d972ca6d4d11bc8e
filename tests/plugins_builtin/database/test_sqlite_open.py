"""Opening SQLite: what it may be, what it must be told, and what a bad day looks like from outside."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from model_checkpoint.database.sqlite import open_sqlite, sqlite_exists
from model_checkpoint.database.sqlite_open import open_store
from model_checkpoint.errors import (
    CheckpointEngineError,
    ConfigurationError,
    RecordStoreBusyError,
    RecordStoreDamagedError,
    RecordStoreError,
    SchemaVersionError,
    StorageFullError,
    StorageReadOnlyError,
)


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def schema_of(path: Path) -> dict[tuple[str, str], list[str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {(kind, name): sorted(line.strip(" \t,") for line in sql.splitlines()) for kind, name, sql in rows}


def empty_with_version(path: Path, version: str | None) -> None:
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE mce_schema_version (\nversion_num VARCHAR(32) NOT NULL,\n"
        "CONSTRAINT mce_schema_version_pkc PRIMARY KEY (version_num)\n)"
    )
    if version is not None:
        connection.execute("INSERT INTO mce_schema_version VALUES (?)", [version])
    connection.commit()
    connection.close()


def test_missing_directories_are_created(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "records.db"
    open_store(url_of(path)).close()
    assert path.is_file()


def test_a_relative_path_stays_the_same_file_after_a_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///records.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.ensure_experiment("digits")
    store.close()
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_database_in_memory_is_one_for_all_threads() -> None:
    store = open_store("sqlite:///:memory:")
    thread = threading.Thread(target=store.ensure_experiment, args=("digits",))
    thread.start()
    thread.join()
    assert store.get_experiment("digits") is not None
    store.close()


def test_every_connection_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path / "records.db"))
    connections = [store._engine.connect() for _ in range(3)]
    for connection in connections:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
        assert found == ["wal", 2, 1, 30_000]
        connection.close()
    store.close()


def test_a_file_system_without_wal_gets_a_rollback_journal_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        store = open_store(f"sqlite:///file:{tmp_path}/records.db?vfs=unix-dotfile&uri=true")
    assert "rollback journal" in caplog.text
    store.ensure_experiment("digits")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("records.db", "'records.db' is no database URL: write sqlite:///experiments.db"),
        (
            "sqlite://host/records.db",
            "'sqlite://host/records.db' names a host, and SQLite has none: three slashes before",
        ),
        ("sqlite://ada:s3cret@host/x.db", r"'sqlite://ada:\*\*\*@host/x.db' names a host"),
        ("sqlite:///x.db?timeout=soon", r"\?timeout='soon' in a database URL is no number of seconds"),
    ],
)
def test_a_url_that_cannot_be_meant_says_how_to_write_it(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = open_store("sqlite:///~/data/records.db")
    assert (tmp_path / "data" / "records.db").is_file()
    assert store.url == f"sqlite:///{tmp_path}/data/records.db"
    store.close()


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path} is a directory; .* sqlite:///{tmp_path}/experiments.db"):
        open_store(url_of(tmp_path))


def test_the_scripts_make_the_schema_that_a_new_database_has(tmp_path: Path) -> None:
    empty_with_version(tmp_path / "old.db", None)
    old = open_store(url_of(tmp_path / "old.db"))
    old.ensure_experiment("digits")
    old.close()
    open_store(url_of(tmp_path / "new.db")).close()
    assert schema_of(tmp_path / "old.db") == schema_of(tmp_path / "new.db")


def test_a_newer_version_says_what_to_do_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    empty_with_version(path, "0099")
    before = schema_of(path)
    with pytest.raises(SchemaVersionError, match=r"0099.*pip install -U"):
        open_store(url_of(path))
    assert schema_of(path) == before


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE runs (run_uuid TEXT)")
    connection.commit()
    connection.close()
    before = schema_of(path)
    with pytest.raises(ConfigurationError, match="belongs to another program"):
        open_store(url_of(path))
    assert schema_of(path) == before


def test_opening_imports_alembic_only_to_migrate(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom model_checkpoint.database.sqlite_open import open_store\n"
        f"store = open_store({url_of(tmp_path / 'records.db')!r}); store.ensure_experiment('x'); store.close()\n"
        "assert not {'alembic', 'lark', 'torch', 'numpy'} & set(sys.modules), sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_lock_that_outlasts_the_timeout_is_a_busy_error(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path / "records.db") + "?timeout=0.05")
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordStoreBusyError, match=r"0\.05 s") as caught:
        store.ensure_experiment("digits")
    assert "BEGIN" not in str(caught.value)
    other.execute("ROLLBACK")
    other.close()
    assert store.ensure_experiment("digits").name == "digits"
    store.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"this is not a database at all, but it is longer than a header " * 100)
    with pytest.raises(RecordStoreDamagedError, match=r"records\.db.*recover"):
        open_store(url_of(path))


def test_a_missing_table_is_damage(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path / "records.db"))
    connection = sqlite3.connect(tmp_path / "records.db")
    connection.execute("DROP TABLE run_tags")
    connection.commit()
    connection.close()
    store.ensure_experiment("digits")
    with pytest.raises(RecordStoreDamagedError, match="run_tags"):
        store.create_run(store.ensure_experiment("digits").id, tags={"a": "b"})
    store.close()


def test_damaged_pages_never_leak_the_drivers_error(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = open_store(url_of(path))
    for number in range(50):
        store.create_run(store.ensure_experiment("digits").id, config={"text": "x" * 500, "n": number})
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(CheckpointEngineError):
        open_store(url_of(path)).list_runs()


def test_a_full_disk_keeps_nothing_of_the_transaction(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path / "records.db"))
    experiment = store.ensure_experiment("digits")

    def limit(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA max_page_count=60")

    store._engine.pool.dispose()
    event.listen(store._engine, "connect", limit)
    with pytest.raises(StorageFullError, match="no space left"):
        store.create_run(experiment.id, config={"text": "x" * 1_000_000})
    assert store.list_runs() == []
    assert store.create_run(experiment.id).name == "digits-1"
    store.close()


def test_a_database_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = open_store(url_of(path))
    store.ensure_experiment("digits")
    store.close()
    reader = open_store(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert reader.get_experiment("digits") is not None
    with pytest.raises(StorageReadOnlyError, match="cannot be written"):
        reader.ensure_experiment("words")
    reader.close()


def test_an_integer_that_no_column_holds_is_refused(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path / "records.db"))
    run = store.create_run(store.ensure_experiment("digits").id)
    with pytest.raises(ConfigurationError, match="64 bits"):
        store.update_run(run.id, last_step=2**63)
    store.close()


def test_a_closed_store_says_so_and_closes_again(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path / "records.db"))
    store.close()
    store.close()
    with pytest.raises(RecordStoreError, match="was closed"):
        store.list_runs()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_opens_connections_of_its_own(tmp_path: Path) -> None:
    """In a process of its own: forking the one that runs the tests would take its threads' locks along."""
    script = f"""
import os
from model_checkpoint.database.sqlite_open import open_store
store = open_store({url_of(tmp_path / "records.db")!r})
store.ensure_experiment("before")
ours = store._engine.raw_connection(); inherited = ours.driver_connection; ours.close()
child = os.fork()
if child == 0:
    mine = store._engine.raw_connection()
    fresh = mine.driver_connection is not inherited
    mine.close()
    for number in range(20):
        store.ensure_experiment(f"child-{{number}}")
    os._exit(0 if fresh else 3)
for number in range(20):
    store.ensure_experiment(f"parent-{{number}}")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert all(store.get_experiment(f"{{who}}-{{n}}") for who in ("child", "parent") for n in range(20))
with store._engine.connect() as connection:
    assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
store.close()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_plugin_imports_no_sqlalchemy_and_opens_what_its_scheme_says() -> None:
    script = (
        "import sys\nfrom model_checkpoint.database import sqlite\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "(descriptor,) = sqlite.register_record_stores(kernel=None)\n"
        "assert descriptor.schemes == ('sqlite',)\n"
        "descriptor.open('sqlite:///:memory:').close()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_whether_a_store_is_there_can_be_asked_without_making_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/e.db"
    assert not sqlite_exists(url)
    (tmp_path / "e.db").touch()
    assert not sqlite_exists(url)
    assert (tmp_path / "e.db").stat().st_size == 0
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
        other.commit()
    assert not sqlite_exists(f"sqlite:///{tmp_path}/other.db")
    open_sqlite(url).close()
    assert sqlite_exists(url)
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    assert sqlite_exists(f"sqlite:///{tmp_path}/junk.db")  # opening it says what is wrong
    assert sqlite_exists("sqlite:///:memory:")
