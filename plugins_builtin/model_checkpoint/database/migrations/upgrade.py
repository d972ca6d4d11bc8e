"""Runs the scripts on a connection whose transaction the caller has begun and will commit."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration for `connection`, without any ``alembic.ini``."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run every script after the database's version up to `to`."""
    command.upgrade(configuration(connection), to)
