"""``mce audit``: what it prints, and with which status it ends."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from mce_jsonl_audit.command import audit
from mce_jsonl_audit.command_plugin import register_commands


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments])


def test_a_whole_trail_is_called_whole(path: Path, write) -> None:
    write(3)
    result = run("verify", path)
    assert (result.exit_code, result.output[:22]) == (0, "whole: 4 lines in 1 fi")


def test_a_changed_trail_ends_with_status_1_and_says_where(path: Path, write) -> None:
    write(3)
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":8'))
    result = run("verify", path)
    assert result.exit_code == 1
    assert f"{path}:3: changed" in result.output


def test_head_prints_what_verify_takes_as_an_anchor(path: Path, write) -> None:
    write(3)
    anchor = run("head", path).output.strip()
    assert run("verify", path, "--anchor", anchor).exit_code == 0
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    result = run("verify", path, "--anchor", anchor)
    assert (result.exit_code, "truncated" in result.output) == (1, True)


def test_a_torn_line_is_told_and_no_failure(path: Path, write) -> None:
    write(1)
    with path.open("ab") as file:
        file.write(b'{"actor"')
    result = run("verify", path)
    assert (result.exit_code, result.output.startswith("torn: ")) == (0, True)


def test_what_cannot_be_read_ends_with_status_2(tmp_path: Path) -> None:
    assert run("verify", tmp_path / "absent").exit_code == 2
    assert run("verify", tmp_path).exit_code == 2
    assert run("head", tmp_path / "absent").exit_code == 2
    assert run("verify", tmp_path / "absent", "--anchor", "x").exit_code == 2


def test_the_plugin_provides_the_command() -> None:
    (descriptor,) = register_commands(kernel=None)
    assert (descriptor.name, descriptor.create()) == ("audit", audit)
