"""``verify`` and ``store``: damage is found and named, and lost records come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_checkpoint.cli.failures import Exit


def packs() -> list[Path]:
    return sorted(Path("checkpoints/vault/packs").iterdir())


def damage(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)


def test_a_whole_store_verifies(mce, mce_json, ids) -> None:
    assert sorted(mce_json("verify")["verified"]) == sorted(ids)
    assert "4 checkpoints are whole (full), 0 damaged" in mce("verify").output


def test_damage_is_exit_status_1_with_the_checkpoint_and_the_file(mce, mce_json, ids) -> None:
    for pack in packs():
        damage(pack)
    result = mce("verify")

    assert result.exit_code == Exit.PROBLEM
    assert f"{ids[0]}: DAMAGED" in result.output
    assert "packs/" in result.output
    assert set(mce_json("verify", status=Exit.PROBLEM)["damaged"]) <= set(ids)


def test_one_checkpoint_is_verified_by_its_id(mce, mce_json, ids) -> None:
    assert mce_json("verify", ids[0])["ok"] is True
    for pack in packs():
        damage(pack)
    result = mce("verify", ids[0])
    assert result.exit_code == Exit.PROBLEM
    assert f"{ids[0]}: DAMAGED" in result.output


def test_a_shallow_check_reads_less(mce_json, ids) -> None:
    assert mce_json("verify", ids[0], "--depth", "header")["nbytes_read"] < mce_json("verify", ids[0])["nbytes_read"]


def test_the_parts_are_everything_together(mce_json, ids) -> None:
    parts = [one for part in (1, 2, 3) for one in mce_json("verify", "--subset", f"{part}/3")["verified"]]

    assert sorted(parts) == sorted(ids)


@pytest.mark.parametrize("arguments", [("--subset", "4/3"), ("latest", "--subset", "1/2"), ("--depth", "deep")])
def test_a_part_or_depth_that_cannot_be_is_wrong_usage(arguments: tuple[str, ...], mce, store) -> None:
    assert mce("verify", *arguments).exit_code == Exit.USAGE


def test_what_is_recorded_and_gone_is_named(mce, ids) -> None:
    Path(f"checkpoints/vault/manifests/{ids[0]}.json").unlink()
    result = mce("verify")

    assert result.exit_code == Exit.PROBLEM
    assert f"{ids[0]}: recorded, and not stored" in result.output


def test_store_info_measures_what_is_stored(mce, mce_json, store) -> None:
    told = mce_json("store", "info")

    (vault,) = [each for each in told["backends"] if each["backend"] == "vault"]
    assert vault["checkpoints"] == 4
    assert vault["nbytes_on_disk"] > 0
    assert str(store / "checkpoints") in mce("store", "info").output


def test_lost_records_are_written_anew_and_wait_to_be_confirmed(mce_json, ids) -> None:
    Path("experiments.db").unlink()

    told = mce_json("store", "rebuild")
    assert sorted(told["recorded"]) == sorted(ids)
    assert told["awaits_confirmation"] is True
    assert mce_json("store", "info")["awaits_confirmation"] is True
    assert mce_json("store", "rebuild", "--confirm")["awaits_confirmation"] is False
    assert len(mce_json("ls")) == 4


def test_what_an_unavailable_backend_stores_is_not_checked_and_no_problem(mce, mce_json, unavailable) -> None:
    result = mce("verify")

    assert result.exit_code == Exit.OK
    assert "1 checkpoints are stored by 'safetensors', which is not available: not checked" in result.output
    assert mce_json("verify")["unavailable"] == {"safetensors": 1}


def test_of_files_that_are_there_nothing_more_is_said(mce, ids) -> None:
    assert "4 checkpoints have their files (stat)" in mce("verify", "--depth", "stat").output
    assert mce("verify", ids[0], "--depth", "stat").output == f"{ids[0]}: has its files (stat)\n"
