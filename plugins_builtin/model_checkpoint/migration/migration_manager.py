"""Migration from legacy folders: named in the public interface, not part of this version yet."""

from __future__ import annotations

import os
from pathlib import Path

from model_checkpoint.errors import ConfigurationError, NotInThisVersionError


class MigrationManager:
    """Brings checkpoints of other tools in. Every migration raises ``NotInThisVersionError``; no source is touched."""

    def migrate_from_legacy(
        self, source_dir: str | os.PathLike[str], format_type: str = "auto", dry_run: bool = False
    ) -> None:
        """Migrate a folder. Raises ``ConfigurationError`` for no such folder, ``NotInThisVersionError`` always else."""
        source = Path(source_dir)
        if not source.is_dir():
            raise ConfigurationError(f"there is no folder {source.absolute()} to migrate from: check source_dir")
        raise NotInThisVersionError(
            f"{source.absolute()} (format_type={format_type!r}) was not migrated and not changed: readers of legacy"
            " formats are not part of this version. Load its files yourself and hand their state to"
            " save_checkpoint(state=...)"
        )
