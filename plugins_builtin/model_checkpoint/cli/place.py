"""Which store a command looks at. Looking creates nothing: where there is no store, one sentence says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_checkpoint.cli.output import say
from model_checkpoint.errors import CheckpointNotFoundError, PluginError, UnknownBackendError
from model_checkpoint.kernel import Kernel

if TYPE_CHECKING:
    from typing import Any

_FILE = re.compile(r"(?:sqlite|tinydb)(?:\+\w+)?://(?:/(?P<path>[^?]*))?(?:\?.*)?")

_DATABASES_NAMED = 3


@dataclass(frozen=True, slots=True)
class Place:
    """What was said on the command line of where to look; what was not said, the settings say."""

    database: str | None = None
    checkpoint_dir: str | None = None

    def prepare(self, **more: Any) -> Kernel:
        """Return a kernel that has read its settings and found its plugins, and opened nothing."""
        return Kernel.prepare(self.database, checkpoint_dir=self.checkpoint_dir, **more)

    def open(self, *, register: Iterable[object] = (), needs_database: bool = True) -> Kernel:
        """Open the store that is there. Raises ``CheckpointNotFoundError`` where there is none.

        Without `needs_database` its folder of checkpoints is enough. Where the storage backend for new checkpoints is
        not available, records can be looked at all the same.
        """
        with self.prepare() as kernel:
            self.check(kernel, needs_database=needs_database)
            backend = _stand_in(kernel)
        return self.create(register=register, storage_backend=backend)

    def create(self, *, register: Iterable[object] = (), storage_backend: str | None = None) -> Kernel:
        """Open the store, whether it is there already or not."""
        return Kernel.open(
            self.database,
            checkpoint_dir=self.checkpoint_dir,
            storage_backend=storage_backend,
            register=register,
            quiet=True,
        )

    def check(self, kernel: Kernel, *, needs_database: bool = True) -> None:
        """Raise ``CheckpointNotFoundError`` where `kernel` would have to create what it is asked to look at."""
        url, folder = kernel.config.database.url, kernel.config.storage.checkpoint_dir
        if not needs_database:
            if not folder.is_dir():
                raise CheckpointNotFoundError(
                    f"no checkpoints are stored here: there is no folder {folder}. Say --checkpoint-dir DIR, or -C DIR"
                )
            return
        file = database_file(url)
        if file is None or _is_there(kernel, url, file):
            return
        lack = f"{file} is no database of ours" if file.exists() else f"there is no database {file}"
        raise CheckpointNotFoundError(
            f"nothing is recorded here: {lack}.{_instead(file, folder)} Say --database URL, or -C DIR for the folder of"
            " the training"
        )


def _is_there(kernel: Kernel, url: str, file: Path) -> bool:
    """Say whether there is a store, by its plugin's own word where it has one."""
    if not file.exists():
        return False
    try:
        descriptor = kernel.plugins.provided.schemes.get(kernel.config.database.scheme)
    except PluginError:  # opening it says so
        return True
    return descriptor is None or descriptor.exists is None or descriptor.exists(url)


def _instead(file: Path, folder: Path) -> str:
    """Return what there is where a database is not: others, or checkpoints without one."""
    others = sorted(each for each in file.parent.glob("*.db") if each.is_file() and each != file)
    if others:
        names = ", ".join(each.name for each in others[:_DATABASES_NAMED])
        first = others[0].name if file.parent == Path.cwd() else others[0]
        return f" Other databases lie there: {names}. Look at one by --database sqlite:///{first}."
    return f" Checkpoints are stored in {folder}: 'mce store rebuild' records them anew." if folder.is_dir() else ""


def _stand_in(kernel: Kernel) -> str | None:
    """Return a storage backend that is available where the one of the settings is not, and say so; else None."""
    table, wanted = kernel.plugins.provided.storage, kernel.config.storage.backend
    try:
        if table.get(wanted) is not None:
            return None
        why = str(UnknownBackendError(wanted, table.names()))
    except PluginError as error:
        why = str(error)
    others = table.names()
    say(f"mce: {why}; records can be looked at, and what other storage backends hold", err=True)
    return "vault" if "vault" in others else others[0] if others else None


def database_file(url: str) -> Path | None:
    """Return the file that a database URL names, or None where a server or the memory keeps the records.

    >>> database_file("sqlite:////data/runs.db?timeout=5"), database_file("postgresql://db/runs")
    (PosixPath('/data/runs.db'), None)
    """
    found = _FILE.fullmatch(url)
    path = found["path"] if found else None
    if not path or path == ":memory:" or path.startswith("file:"):
        return None
    return Path(path).expanduser().absolute()
