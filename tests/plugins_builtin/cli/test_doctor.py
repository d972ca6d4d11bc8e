"""``doctor``: what it looks at, and what is a problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_checkpoint.cli.failures import Exit
from model_checkpoint.cli.file_systems import NETWORK, existing, kind_of


def test_a_sound_environment_has_no_problem(mce, mce_json, store) -> None:
    told = mce_json("doctor")

    assert {each["check"] for each in told} >= {"python", "torch", "settings", "plugins", "disk", "database", "store"}
    assert [each for each in told if each["verdict"] == "PROBLEM"] == []
    assert "python" in mce("doctor").output


def test_a_checkpoint_whose_files_are_gone_is_a_problem(mce, ids) -> None:
    Path(f"checkpoints/vault/manifests/{ids[0]}.json").unlink()
    result = mce("doctor")

    assert result.exit_code == Exit.PROBLEM
    assert f"{ids[0]} is recorded, and not stored" in result.output


def test_a_lost_database_beside_checkpoints_is_a_problem(mce, store) -> None:
    Path("experiments.db").unlink()
    result = mce("doctor")

    assert result.exit_code == Exit.PROBLEM
    assert "mce store rebuild" in result.output
    assert not Path("experiments.db").exists()


def test_a_database_that_is_none_is_a_problem_and_the_other_checks_go_on(mce, store) -> None:
    Path("experiments.db").write_bytes(b"no database at all" * 100)
    result = mce("doctor")

    assert result.exit_code == Exit.PROBLEM
    assert "disk" in result.output
    assert result.output.count("PROBLEM") == 1


def test_a_plugin_that_cannot_be_used_is_a_problem(run_mce, install) -> None:
    site = install("odd", "", "provides = 3\n")
    result = run_mce("doctor", env={"PYTHONPATH": str(site)})

    assert result.returncode == Exit.PROBLEM
    assert "odd is refused" in result.stdout


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mounts"
    file.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/data /mnt/with\\040space nfs4 rw 0 0\n"
        "/dev/sdb /mnt xfs rw 0 0\nserver:/x /mnt btrfs rw 0 0\nbroken\n"
    )
    return file


@pytest.mark.parametrize(
    ("path", "kind"), [("/home/x", "ext4"), ("/mnt/with space/a", "nfs4"), ("/mnt/a", "btrfs"), ("/mntx", "ext4")]
)
def test_the_kind_of_file_system_is_that_of_the_deepest_and_latest_mount(path: str, kind: str, mounts: Path) -> None:
    assert kind_of(Path(path), mounts) == kind


def test_where_mounts_cannot_be_read_the_kind_is_not_known(tmp_path: Path) -> None:
    assert kind_of(tmp_path, tmp_path / "none") == ""


def test_nfs_is_a_network_and_ext4_is_none() -> None:
    assert "nfs4" in NETWORK
    assert "ext4" not in NETWORK


def test_of_a_folder_that_is_not_there_the_nearest_above_is_looked_at(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path


def test_a_plugin_that_cannot_be_imported_or_set_as_it_is_is_a_problem(run_mce, install, news) -> None:
    install("sick", "import a_library_that_is_not_there", 'hooks = ["on_run_start"]\n')
    Path("mce.toml").write_text('[plugins.best-news]\nmin_change = "much"\n')
    result = run_mce("doctor", env=news)

    assert result.returncode == Exit.PROBLEM
    assert "sick failed: ModuleNotFoundError" in result.stdout
    assert "plugins.best-news.min_change='much'" in result.stdout
    assert result.stderr == ""


def test_a_storage_backend_that_nobody_provides_is_a_problem(mce) -> None:
    Path("mce.toml").write_text('[storage]\nbackend = "nope"\n')
    result = mce("doctor")

    assert result.exit_code == Exit.PROBLEM
    assert "no storage backend named 'nope'" in result.output


def test_what_an_unavailable_backend_stores_is_no_damage(mce_json, unavailable) -> None:
    told = mce_json("doctor", status=Exit.PROBLEM)

    assert [each["found"] for each in told if each["check"] == "store" and each["verdict"] == "PROBLEM"] == []
    assert any("1 checkpoints are stored by 'safetensors', which is not available" in each["found"] for each in told)
