"""``plugins``: how each stands, and whether one is as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from model_checkpoint.cli.failures import Exit

LISTENER = """
    from model_checkpoint.hooks import hookimpl

    @hookimpl
    def after_checkpoint_save(context):
        pass
    """
DECLARED = 'hooks = ["after_checkpoint_save"]\n'


def test_the_list_tells_state_and_origin_and_imports_no_plugin_that_waits(mce, mce_json) -> None:
    told = {each["name"]: each for each in mce_json("plugins", "list")}

    assert told["vault"]["origin"] == "builtin"
    assert told["vault"]["provides"] == ["storage:vault"]
    assert told["vault"]["state"] == "registered"
    assert "storage:vault" in mce("plugins", "list").output


def test_info_tells_everything_of_one(mce, mce_json) -> None:
    assert mce_json("plugins", "info", "vault")["target"] == "model_checkpoint.storage.vault.plugin"
    assert "entry point" in mce("plugins", "info", "vault").output


@pytest.mark.parametrize("command", ["info", "enable", "disable", "check"])
def test_an_unknown_plugin_is_not_found_and_the_nearest_offered(command: str, mce) -> None:
    result = mce("plugins", command, "valt")

    assert result.exit_code == Exit.NOT_FOUND
    assert "'vault'" in result.stderr


def test_a_plugin_is_disabled_until_it_is_enabled(mce, mce_json) -> None:
    assert mce_json("plugins", "disable", "memory", "--reason", "not here")["state"] == "disabled"
    told = mce_json("plugins", "info", "memory")
    assert (told["state"], "not here" in told["error"]) == ("disabled", True)
    assert mce("plugins", "doctor").exit_code == Exit.OK
    assert mce_json("plugins", "enable", "memory")["state"] == "registered"
    assert mce_json("plugins", "info", "memory")["state"] == "registered"


def test_doctor_shows_each_plugin_that_cannot_be_used_with_the_reason(run_mce, install) -> None:
    site = install("sick", "import a_library_that_is_not_there", DECLARED)
    install("odd", "", "provides = 3\n")
    result = run_mce("plugins", "doctor", env={"PYTHONPATH": str(site)})

    assert result.returncode == Exit.PROBLEM
    assert "sick 1.0 failed: ModuleNotFoundError" in result.stdout
    assert "odd 1.0 is refused" in result.stdout
    assert "2 cannot be used" in result.stdout
    assert "sick" not in result.stderr  # it was said once


def test_doctor_is_content_with_the_built_ins(mce_json) -> None:
    assert mce_json("plugins", "doctor")["unusable"] == []


def test_check_is_content_with_a_plugin_that_is_as_it_says(mce, mce_json, project) -> None:
    folder = project("good", LISTENER, DECLARED)

    (told,) = mce_json("plugins", "check", folder)
    assert (told["ok"], told["problems"], told["plugin"]["hooks"]) == (True, [], ["after_checkpoint_save"])
    assert "good does what it declares" in mce("plugins", "check", folder).output


def test_check_takes_an_installed_plugin_by_name(mce_json) -> None:
    (told,) = mce_json("plugins", "check", "memory")

    assert told["ok"] is True


@pytest.mark.parametrize(
    ("name", "code", "manifest", "said"),
    [
        ("liar", LISTENER, 'hooks = ["on_run_start", "after_checkpoint_save"]\n', "on_run_start"),
        ("shy", LISTENER, 'hooks = ["on_run_start"]\n', "after_checkpoint_save"),
        ("empty", LISTENER, 'provides = ["storage:cloud9"]\n' + DECLARED, "storage:cloud9"),
        ("typo", LISTENER, "hoks = []\n", "hoks"),
        ("crash", "1 / 0", DECLARED, "ZeroDivisionError"),
        ("stops", LISTENER + "\n    def start(kernel):\n        raise OSError('no socket')\n", DECLARED, "no socket"),
        ("bare", LISTENER, None, "plugin.toml"),
    ],
)
def test_check_names_what_is_not_as_it_says(
    name: str, code: str, manifest: str | None, said: str, mce, project
) -> None:
    result = mce("plugins", "check", project(name, code, manifest))

    assert result.exit_code == Exit.PROBLEM
    assert said in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no pyproject.toml"),
        ("[project]\nname = 'x'\n", "declares no plugin"),
        ("[project\n", "cannot be read"),
        ("[tool.x]\n", "declares no project"),
        (
            '[project]\nname = "../x"\n[project.entry-points."model_checkpoint.plugins"]\na = "b"\n',
            "a slash",
        ),
    ],
)
def test_a_folder_that_is_no_project_of_a_plugin_is_wrong_usage(text: str | None, said: str, mce, tmp_path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if text is not None:
        Path(folder, "pyproject.toml").write_text(text)
    result = mce("plugins", "check", folder)

    assert result.exit_code == Exit.USAGE
    assert said in result.stderr


def test_new_is_offered_where_the_templates_are(mce) -> None:
    from importlib.util import find_spec

    there = find_spec("model_checkpoint.cli.scaffold.command") is not None
    assert ("new" in mce("plugins", "--help").output.split()) is there


def test_info_shows_what_can_be_set_and_what_is_in_force(run_mce, news) -> None:
    Path("mce.toml").write_text("[plugins.best-news]\nmin_change = 0.1\ntoken = 'hush-hush'\n")
    told = json.loads(run_mce("plugins", "info", "best-news", "--json", env=news).stdout)
    min_change, token, sizes = told["settings"]

    assert (min_change["key"], min_change["type"], min_change["default"]) == ("min_change", "float", "0.5")
    assert (min_change["value"], min_change["about"]) == ("0.1", "How much better it must be.")
    assert "mce.toml" in min_change["where"]
    assert "hush" not in token["value"]
    assert (sizes["value"], sizes["where"]) == ("()", "")
    assert "How much better it must be." in run_mce("plugins", "info", "best-news", env=news).stdout


def test_info_shows_what_a_variable_sets(run_mce, news) -> None:
    env = {**news, "MCE_PLUGINS__BEST_NEWS__MIN_CHANGE": "0.25"}
    told = json.loads(run_mce("plugins", "info", "best-news", "--json", env=env).stdout)["settings"][0]

    assert (told["value"], told["where"]) == ("0.25", "MCE_PLUGINS__BEST_NEWS__MIN_CHANGE")


def test_info_shows_what_can_be_set_where_it_is_set_wrongly(run_mce, news) -> None:
    Path("mce.toml").write_text("[plugins.best-news]\nmin_change = 'much'\n")
    result = run_mce("plugins", "info", "best-news", env=news)

    assert result.returncode == Exit.OK
    assert "much" in result.stdout


def test_info_shows_the_fields_of_a_model_of_pydantic(run_mce, install) -> None:
    code = """
        from pydantic import BaseModel, Field
        from model_checkpoint.hooks import hookimpl

        class Config(BaseModel):
            bucket: str
            retries: int = Field(3, description="How often.")

        @hookimpl
        def on_run_start(context):
            pass
        """
    site = install("model", code, 'hooks = ["on_run_start"]\n')
    told = json.loads(run_mce("plugins", "info", "model", "--json", env={"PYTHONPATH": str(site)}).stdout)

    assert [(each["key"], each["type"], each["default"], each["about"]) for each in told["settings"]] == [
        ("bucket", "str", "required", ""),
        ("retries", "int", "3", "How often."),
    ]


def test_info_of_a_disabled_plugin_imports_nothing_of_it(run_mce, install, mce) -> None:
    site = install("loud", "print('imported')", 'hooks = ["on_run_start"]\n')
    env = {"PYTHONPATH": str(site)}
    run_mce("plugins", "disable", "loud", env=env)

    assert "imported" not in run_mce("plugins", "info", "loud", env=env).stdout


def test_many_of_a_kind_are_told_by_their_number(mce) -> None:
    lines = mce("plugins", "list").output.splitlines()

    assert re.search(r"cli .* \d+ commands$", next(line for line in lines if line.startswith("cli")))
    assert max(map(len, lines)) < 120


def test_what_is_disabled_and_not_installed_is_named_until_it_is_forgotten(run_mce, install, mce, mce_json) -> None:
    site = install("gone", LISTENER, DECLARED)
    run_mce("plugins", "disable", "gone", env={"PYTHONPATH": str(site)})
    told = "gone: disabled, not installed: 'mce plugins enable gone' forgets it"

    for command in (("plugins", "list"), ("plugins", "doctor"), ("doctor",)):
        assert told in mce(*command).output
    assert mce_json("plugins", "list")[-1]["name"] == "gone"
    assert mce_json("plugins", "enable", "gone")["state"] == "forgotten"
    assert "gone" not in mce("plugins", "list").output


def test_doctor_counts_what_can_be_used_is_disabled_and_fails(mce) -> None:
    mce("plugins", "disable", "memory")

    assert re.search(r"^\d+ can be used, 1 is disabled, 0 cannot be used$", mce("plugins", "doctor").output, re.M)
