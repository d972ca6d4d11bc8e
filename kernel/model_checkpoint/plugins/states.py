"""Which plugins a user disabled, kept between processes, for each Python environment by itself."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from model_checkpoint.errors import ConfigurationError, KernelError, RecordStoreDamagedError

_log = logging.getLogger("model_checkpoint")


def states_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file: ``plugins.json`` in ``MCE_HOME``, else where the user's programs keep their state.

    None for a user without a home, as in a container with a made-up uid. Raises ``ConfigurationError`` where
    ``MCE_HOME`` is no path.
    """
    from platformdirs import user_state_path

    home = environ.get("MCE_HOME")
    try:
        folder = Path(home).expanduser() if home else user_state_path("model-checkpoint-engine", appauthor=False)
    except RuntimeError as error:
        if home:
            raise ConfigurationError(f"MCE_HOME={home!r} is no folder: {error}") from None
        return None
    return folder / "plugins.json"


@contextlib.contextmanager
def _kept(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KernelError(f"{path} cannot be written: {error}; set MCE_HOME to a folder of yours") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise RecordStoreDamagedError(f"{path} holds no table of plugins: {error}; move it away") from error


class PluginStates:
    """What is disabled in this environment. Reading it where nothing was ever disabled costs one look at the disk.

    Raises ``ConfigurationError`` as `states_file` does, unless `path` is given.
    """

    def __init__(self, path: Path | None = None, *, environment: str = sys.prefix) -> None:
        self.path = path or states_file()
        self._environment = environment

    def disabled(self) -> dict[str, str]:
        """Return the disabled plugins, each with the reason that was given."""
        if self.path is None:
            return {}
        try:
            if not self.path.exists():
                return {}
        except OSError as error:
            _log.warning("the list of disabled plugins cannot be read: %s", error)
            return {}
        from model_checkpoint.common.json_storage import LockedDocument

        try:
            with LockedDocument(self.path).reading() as db:
                rows = [dict(row) for row in db.all()]
        except (RecordStoreDamagedError, AttributeError, TypeError, ValueError) as error:  # JSON, and no table of rows
            _log.warning("no plugin counts as disabled: %s: %s; move it away to start afresh", self.path, error)
            return {}
        return {
            str(row["plugin"]): str(row.get("reason", ""))
            for row in rows
            if row.get("environment") == self._environment and "plugin" in row
        }

    def disable(self, plugin: str, reason: str = "") -> None:
        """Keep `plugin` disabled until `enable`.

        Raises ``ConfigurationError`` for a user without a home, ``KernelError`` where the file cannot be written,
        ``RecordStoreDamagedError`` where it holds something else.
        """
        from tinydb import where

        from model_checkpoint.common.json_storage import LockedDocument

        if self.path is None:
            raise ConfigurationError("you have no home folder to keep that in: set MCE_HOME or HOME")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"environment": self._environment, "plugin": plugin, "reason": reason, "at": at}
        with _kept(self.path), LockedDocument(self.path).changing() as db:
            db.upsert(row, (where("environment") == self._environment) & (where("plugin") == plugin))

    def enable(self, plugin: str) -> bool:
        """Let `plugin` load again; return whether it was disabled.

        Raises ``KernelError`` where the file cannot be written, ``RecordStoreDamagedError``.
        """
        if self.path is None or not os.path.exists(self.path):
            return False
        from tinydb import where

        from model_checkpoint.common.json_storage import LockedDocument

        with _kept(self.path), LockedDocument(self.path).changing() as db:
            gone = db.remove((where("environment") == self._environment) & (where("plugin") == plugin))
        return bool(gone)
