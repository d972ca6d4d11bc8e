"""The command as a whole: where its commands come from, what it imports, and what becomes of errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from model_checkpoint.cli.failures import Exit, status_of
from model_checkpoint.cli.main import command_line
from model_checkpoint.errors import CheckpointEngineError, IntegrityError, QuerySyntaxError

HEAVY = {"torch", "sqlalchemy", "numpy", "pydantic", "alembic", "rich"}
GREETING = """
    from model_checkpoint.contracts import CommandDescriptor
    from model_checkpoint.hooks import hookimpl

    def create():
        import click
        return click.Command("greet", callback=lambda: click.echo("good morning"))

    @hookimpl
    def register_commands(kernel):
        return [CommandDescriptor("greet", create, "say something kind")]
    """
BROKEN = """
    from model_checkpoint.contracts import CommandDescriptor
    from model_checkpoint.hooks import hookimpl

    def create():
        import a_library_that_is_not_there

    @hookimpl
    def register_commands(kernel):
        return [CommandDescriptor("shatter", create, "break")]
    """
PROVIDES = 'provides = ["command:{}"]\n'


def walk(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Return every command below `command` that is no group, by the words that call it."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    found = []
    for name in command.list_commands(context):
        made = command.get_command(context, name)
        assert made is not None
        found += walk(made, (*path, name))
    return found


BUILT_IN = walk(command_line())
OWN = [(path, made) for path, made in BUILT_IN if path != ("plugins", "new")]


@pytest.mark.parametrize(("path", "made"), BUILT_IN, ids=lambda each: " ".join(each) if isinstance(each, tuple) else "")
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...], made: click.Command, mce) -> None:
    result = mce(*path, "--help")

    assert result.exit_code == 0
    examples = result.output.partition("Examples:")[2]
    assert f"mce {' '.join(path)}" in examples or f"mce {path[-1]}" in examples


@pytest.mark.parametrize(("path", "made"), OWN, ids=lambda each: " ".join(each) if isinstance(each, tuple) else "")
def test_every_command_prints_json_when_asked(path: tuple[str, ...], made: click.Command) -> None:
    assert any("--json" in parameter.opts for parameter in made.params)


def test_the_list_of_commands_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom model_checkpoint.cli.main import command_line\n"
        "command_line().main(['--help'], 'mce', standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert "list checkpoints" in done.stdout
    assert set(done.stderr.split()) & HEAVY == set()


def test_the_list_of_commands_makes_none_of_them() -> None:
    program = (
        "import sys\nfrom model_checkpoint.cli.main import command_line\n"
        "command_line().main(['--help'], 'mce', standalone_mode=False)\n"
        "assert not [name for name in sys.modules if name.startswith('model_checkpoint.cli.commands.')]"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, timeout=60).returncode == 0


def test_the_version_is_told(mce) -> None:
    assert mce("--version").output.startswith("mce ")


def test_a_plugin_brings_a_command(run_mce, install) -> None:
    env = {"PYTHONPATH": str(install("kind", GREETING, PROVIDES.format("greet")))}

    assert "say something kind" in run_mce("--help", env=env).stdout
    assert run_mce("greet", env=env).stdout == "good morning\n"


def test_a_command_that_cannot_be_made_fails_alone_and_its_plugin_is_named(run_mce, install) -> None:
    env = {"PYTHONPATH": str(install("rude", BROKEN, PROVIDES.format("shatter")))}
    result = run_mce("shatter", env=env)

    assert result.returncode == Exit.FAILED
    assert "'shatter' of the plugin 'rude'" in result.stderr
    assert "a_library_that_is_not_there" in result.stderr
    assert "Traceback" not in result.stderr
    assert run_mce("completion", "fish", env=env).returncode == 0


def test_a_plugin_that_cannot_be_imported_leaves_the_list_whole(run_mce, install) -> None:
    env = {"PYTHONPATH": str(install("dead", "raise RuntimeError('dead on arrival')", PROVIDES.format("greet")))}
    listed, called = run_mce("--help", env=env), run_mce("greet", env=env)

    assert listed.returncode == 0
    assert "list checkpoints" in listed.stdout
    assert called.returncode == Exit.FAILED
    assert "'dead'" in called.stderr
    assert "dead on arrival" in called.stderr


def test_an_unknown_command_is_wrong_usage_and_offers_the_nearest(mce) -> None:
    result = mce("verfy")

    assert result.exit_code == Exit.USAGE
    assert "did you mean 'verify'" in result.output.lower()


def test_settings_that_cannot_be_read_leave_the_commands_that_find_out_why(mce) -> None:
    Path("mce.toml").write_text("storage = 3\n")

    listed, doctor = mce("--help"), mce("doctor")
    assert "settings cannot be read" in " ".join(listed.output.split())
    assert doctor.exit_code == Exit.PROBLEM
    assert "PROBLEM" in doctor.output
    assert "storage" in doctor.output


def test_an_error_is_one_message_without_a_traceback(run_mce, store) -> None:
    result = run_mce("show", "nothing-like-this")

    assert result.returncode == Exit.NOT_FOUND
    assert result.stdout == ""
    assert result.stderr.startswith("mce: no checkpoint 'nothing-like-this'")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("where", [("--debug", "show", "nope"), ("show", "nope", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(where: tuple[str, ...], run_mce, store) -> None:
    result = run_mce(*where)

    assert "Traceback" in result.stderr
    assert result.returncode == Exit.NOT_FOUND


def test_an_unforeseen_error_shows_its_traceback_and_has_a_status_of_its_own(run_mce, install) -> None:
    code = GREETING.replace('click.echo("good morning")', "1 / 0")
    result = run_mce("greet", env={"PYTHONPATH": str(install("kind", code, PROVIDES.format("greet")))})

    assert "ZeroDivisionError" in result.stderr
    assert result.returncode == Exit.UNFORESEEN


def test_every_error_of_the_engine_has_a_status_and_damage_is_a_problem_found() -> None:
    assert status_of(IntegrityError("x")) is Exit.PROBLEM
    assert status_of(QuerySyntaxError("x", 1)) is Exit.USAGE
    assert status_of(CheckpointEngineError("x")) is Exit.FAILED


def test_a_reader_that_goes_away_is_no_error(store) -> None:
    program = f"'{sys.executable}' -m model_checkpoint.cli.main ls | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60)

    assert result.stderr == ""
    assert result.stdout.strip() in ("0", str(int(Exit.NO_READER)))  # 0 where all was written before it went


@pytest.mark.parametrize("command", ["ls", "greet"])
def test_a_closed_pipe_is_told_by_the_status_alone(command: str, store, install) -> None:
    code = GREETING.replace("click.echo", "print")  # which leaves its text in a buffer
    env = {**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": str(install("kind", code, PROVIDES.format("greet")))}
    reading, writing = os.pipe()
    os.close(reading)
    called = [sys.executable, "-m", "model_checkpoint.cli.main", command]
    result = subprocess.run(called, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, env=env)
    os.close(writing)

    assert result.stderr == ""
    assert result.returncode == Exit.NO_READER


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str, mce) -> None:
    assert "_MCE_COMPLETE" in mce("completion", shell).output


def test_the_shell_completes_commands_with_their_summaries(run_mce) -> None:
    env = {"_MCE_COMPLETE": "fish_complete", "COMP_WORDS": "mce ver", "COMP_CWORD": "ver"}

    assert "verify" in run_mce(env=env).stdout


def test_an_interrupt_is_one_word_and_status_130(run_mce, install) -> None:
    code = GREETING.replace('click.echo("good morning")', "(_ for _ in ()).throw(KeyboardInterrupt)")
    result = run_mce("greet", env={"PYTHONPATH": str(install("kind", code, PROVIDES.format("greet")))})

    assert result.stderr == "mce: interrupted\n"
    assert result.returncode == Exit.INTERRUPTED


def test_what_a_command_returns_is_no_exit_status(run_mce, install) -> None:
    code = GREETING.replace('click.echo("good morning")', "3")
    result = run_mce("greet", env={"PYTHONPATH": str(install("kind", code, PROVIDES.format("greet")))})

    assert result.returncode == Exit.OK
