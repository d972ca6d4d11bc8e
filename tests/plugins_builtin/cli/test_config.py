"""``config``: each setting with where it comes from, and files that are checked before they hold."""

from __future__ import annotations

from pathlib import Path

from model_checkpoint.cli.failures import Exit


def test_show_tells_where_a_setting_comes_from(mce, mce_json, monkeypatch) -> None:
    monkeypatch.setenv("MCE_STORAGE_VERIFY", "full")
    Path("mce.toml").write_text('[default.storage]\nbackend = "memory"\n')
    rows = {row["key"]: row for row in mce_json("config", "show")["settings"]}

    assert (rows["storage.verify"]["shown"], rows["storage.verify"]["where"]) == ("full", "MCE_STORAGE_VERIFY")
    assert rows["storage.backend"]["shown"] == "memory"
    assert "mce.toml" in rows["storage.backend"]["where"]
    assert "storage.verify" in mce("config", "show", "storage").output


def test_show_masks_secrets(mce) -> None:
    output = mce("config", "show", "--database", "postgresql://ada:s3cret@db/runs").output

    assert "ada:***@db" in output
    assert "s3cret" not in output


def test_path_prints_the_files_that_were_read(mce, mce_json) -> None:
    assert mce_json("config", "path") == []
    Path("mce.toml").write_text("[default]\nquiet = true\n")

    assert mce("config", "path").stdout.strip() == str(Path("mce.toml").absolute())


def test_check_tells_what_is_wrong_with_each_file(mce, mce_json) -> None:
    Path("good.toml").write_text("[default]\nquiet = true\n")
    Path("bad.toml").write_text("[default.storage]\nverify = 3\nbakend = 'vault'\n")
    good, bad, gone = mce_json("config", "check", "good.toml", "bad.toml", "gone.toml", status=Exit.PROBLEM)

    assert good["problem"] == ""
    assert "verify" in bad["problem"]
    assert "no such file" in gone["problem"]
    result = mce("config", "check", "good.toml")
    assert (result.exit_code, result.output) == (Exit.OK, "good.toml: right\n")


def test_check_of_the_settings_in_force_works_though_they_are_wrong(mce) -> None:
    Path("mce.toml").write_text("[default.storage]\nverify = 3\n")
    result = mce("config", "check")

    assert result.exit_code == Exit.PROBLEM
    assert "verify" in result.output


def test_a_warning_is_told_once_however_often_settings_are_read(run_mce, store) -> None:
    Path("mce.toml").write_text("[default.plugins.nobody]\nx = 1\n")

    assert run_mce("ls").stderr.count("nobody") == 1
