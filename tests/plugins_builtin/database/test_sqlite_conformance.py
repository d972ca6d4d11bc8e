"""SQLite keeps every rule of the contract, in a file and in memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from model_checkpoint.database.sqlite_open import open_store as open_sqlite
from model_checkpoint.testing.record_samples import Opener
from model_checkpoint.testing.record_store import RecordStoreTests


class TestSqliteFile(RecordStoreTests):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/records.db"

    @pytest.fixture
    def open_store(self) -> Opener:
        return open_sqlite

    def make_newer(self, url: str) -> None:
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE mce_schema_version SET version_num = '9999'")
        connection.close()


class TestSqliteMemory(RecordStoreTests):
    shared = False

    @pytest.fixture
    def url(self) -> str:
        return "sqlite:///:memory:"

    @pytest.fixture
    def open_store(self) -> Opener:
        return open_sqlite
