"""``config``: each setting with where it comes from, and files that are checked before they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

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

    assert (good["problems"], good["ok"]) == ([], True)
    assert ["storage.verify" in bad["problems"][0], "storage.bakend" in bad["problems"][1]] == [True, True]
    assert "no such file" in gone["problems"][0]
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[plugins.best-news]\nmin_change = "much"\n', "plugins.best-news.min_change='much'"),
        ("[plugins.best-news]\nmin_chnge = 1\n", "min_chnge is not known; did you mean 'min_change'?"),
        ('[storage]\nbackend = "nope"\n', "mce.toml: storage.backend: no storage backend named 'nope'"),
        ('[database]\nurl = "oracle://x/y"\n', "no record store for database URLs that begin with 'oracle'"),
        ('required_plugins = ["nobody"]\n', "'nobody' is not installed"),
    ],
)
def test_check_asks_plugins_what_their_sections_may_hold_and_looks_up_names(
    text: str, said: str, run_mce, news
) -> None:
    Path("mce.toml").write_text(text)
    Path("other.toml").write_text("quiet = true\n")
    in_force, by_name, other = (
        run_mce("config", "check", *file, env=news) for file in ([], ["mce.toml"], ["other.toml"])
    )

    assert (in_force.returncode, by_name.returncode, other.returncode) == (Exit.PROBLEM, Exit.PROBLEM, Exit.OK)
    assert said in in_force.stdout
    assert said in by_name.stdout


def test_check_warns_of_sections_that_nobody_reads(mce, run_mce, install) -> None:
    site = install("sick", "import a_library_that_is_not_there", 'hooks = ["on_run_start"]\n')
    Path("mce.toml").write_text("[plugins.nobody]\nx = 1\n[plugins.sick]\nx = 1\n")
    result = run_mce("config", "check", env={"PYTHONPATH": str(site)})

    assert result.returncode == Exit.OK
    assert "[plugins.nobody] belongs to no plugin" in result.stdout
    assert "[plugins.sick] cannot be checked: it failed: ModuleNotFoundError" in result.stdout


@pytest.mark.parametrize(("value", "status"), [("0.1", Exit.OK), ("much", Exit.PROBLEM)])
def test_check_takes_a_section_that_variables_set(value: str, status: Exit, run_mce, news) -> None:
    result = run_mce("config", "check", env={**news, "MCE_PLUGINS__BEST_NEWS__MIN_CHANGE": value})

    assert result.returncode == status
    assert "belongs to no plugin" not in result.stdout
