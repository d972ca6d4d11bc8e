"""Migration is named in the public interface; it says what it lacks and touches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_checkpoint.errors import ConfigurationError, NotInThisVersionError
from model_checkpoint.migration.migration_manager import MigrationManager


@pytest.mark.parametrize("format_type", ["auto", "pytorch_legacy"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_migration_says_what_was_not_done_and_what_to_do_instead(
    tmp_path: Path, format_type: str, dry_run: bool
) -> None:
    (tmp_path / "old.pt").write_bytes(b"weights")
    with pytest.raises(NotInThisVersionError) as refused:
        MigrationManager().migrate_from_legacy(tmp_path, format_type, dry_run)
    assert str(refused.value) == (
        f"{tmp_path} (format_type={format_type!r}) was not migrated and not changed: readers of legacy formats are not"
        " part of this version. Load its files yourself and hand their state to save_checkpoint(state=...)"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["old.pt"]
    assert (tmp_path / "old.pt").read_bytes() == b"weights"


def test_a_folder_that_is_not_there_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigurationError, match=f"there is no folder {tmp_path}/old to migrate from: check source_dir"
    ):
        MigrationManager().migrate_from_legacy(source_dir="old")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="there is no folder"):
        MigrationManager().migrate_from_legacy(tmp_path / "file")
