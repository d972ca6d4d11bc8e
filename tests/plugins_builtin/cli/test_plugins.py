"""``plugins``: how each stands, and whether one is as it says."""

from __future__ import annotations

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
    assert "sick 1.0 is failed: ModuleNotFoundError" in result.stdout
    assert "odd 1.0 is refused" in result.stdout
    assert "2 of" in result.stdout


def test_doctor_is_content_with_the_built_ins(mce_json) -> None:
    assert mce_json("plugins", "doctor")["unusable"] == []


def test_check_is_content_with_a_plugin_that_is_as_it_says(mce, mce_json, project) -> None:
    folder = project("good", LISTENER, DECLARED)

    (told,) = mce_json("plugins", "check", folder)
    assert (told["ok"], told["problems"], told["plugin"]["hooks"]) == (True, [], ["after_checkpoint_save"])
    assert "as it says" in mce("plugins", "check", folder).output


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
