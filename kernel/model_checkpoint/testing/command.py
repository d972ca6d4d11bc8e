"""The conformance kit for commands: what a user of ``mce`` may expect of each of them, as tests.

::

    from model_checkpoint.testing import CommandTests
    from my_plugin import register_commands

    class TestMyCommand(CommandTests):
        @pytest.fixture
        def descriptor(self):
            return register_commands(kernel=None)[0]

        @pytest.fixture
        def ordinary(self):
            return ["--limit", "3"]          # arguments with which it succeeds, in an empty folder

The rules, where *each* means the command and, if it is a group, all of its commands:

1.  Its name is one lower-case word, with dashes perhaps, and its summary one line.
2.  ``create`` returns a ``click.Command`` or ``click.Group`` at each call.
3.  ``--help`` of each succeeds, prints what it does, and changes nothing.
4.  Every option of each has a help text, and so has each command.
5.  An option that it does not have is refused with exit status 2, and changes nothing.
6.  With ordinary arguments it succeeds, twice in a row, and prints nothing that a terminal would act upon.
7.  It leaves the process as it was: no kernel open, the same folder, no thread running.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import click
import pytest
from click.testing import CliRunner, Result

from model_checkpoint.contracts import CommandDescriptor
from model_checkpoint.kernel import Kernel
from model_checkpoint.testing.faulty_fs import snapshot
from model_checkpoint.testing.record_samples import rule

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


class CommandTests:
    """Subclass it and give `descriptor` and `ordinary`: see the module's docstring."""

    limit_s: ClassVar[float] = 1.0
    """How long a thread that the command started may go on, in seconds."""

    @pytest.fixture
    def descriptor(self) -> CommandDescriptor:
        """What the plugin provides."""
        raise NotImplementedError("override the fixture `descriptor`")

    @pytest.fixture
    def ordinary(self) -> list[str]:
        """Arguments with which the command succeeds."""
        raise NotImplementedError("override the fixture `ordinary`")

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The empty folder in which the command is called."""
        empty = tmp_path / "called here"
        empty.mkdir()
        monkeypatch.chdir(empty)
        return empty

    @rule(1)
    def test_its_name_is_a_word_and_its_summary_a_line(self, descriptor: CommandDescriptor) -> None:
        assert _NAME.fullmatch(descriptor.name), f"{descriptor.name!r} is no lower-case word"
        assert descriptor.summary.strip(), "it has no summary"
        assert len(descriptor.summary.splitlines()) == 1

    @rule(2)
    def test_it_is_made_at_each_call(self, descriptor: CommandDescriptor) -> None:
        for _ in range(2):
            assert isinstance(descriptor.create(), click.Command)

    @rule(3)
    def test_its_help_says_what_it_does_and_changes_nothing(self, descriptor: CommandDescriptor, folder: Path) -> None:
        for words in commands_of(descriptor):
            result = call(descriptor, [*words, "--help"])
            assert result.exit_code == 0, result.output
            assert result.output.startswith("Usage:")
        assert snapshot(folder) == {}

    @rule(4)
    def test_everything_has_a_help_text(self, descriptor: CommandDescriptor) -> None:
        silent = []
        for words, found in commands_of(descriptor).items():
            where = " ".join((descriptor.name, *words))
            if not (found.help or found.short_help):
                silent.append(where)
            options = (each for each in found.params if isinstance(each, click.Option) and not each.hidden)
            silent += [f"{where} {option.opts[-1]}" for option in options if not option.help]
        assert silent == []

    @rule(5)
    def test_an_option_that_it_does_not_have_is_refused(self, descriptor: CommandDescriptor, folder: Path) -> None:
        for words in commands_of(descriptor):
            assert call(descriptor, [*words, "--option-of-nobody"]).exit_code == 2
        assert snapshot(folder) == {}

    @rule(6)
    def test_it_succeeds_twice_in_a_row(self, descriptor: CommandDescriptor, ordinary: list[str]) -> None:
        for _ in range(2):
            result = call(descriptor, ordinary)
            assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
            assert _CONTROL.findall(result.output) == []

    @rule(7)
    def test_it_leaves_the_process_as_it_was(self, descriptor: CommandDescriptor, ordinary: list[str]) -> None:
        kernels, here, threads = Kernel.open_kernels(), os.getcwd(), set(threading.enumerate())
        call(descriptor, ordinary)
        assert Kernel.open_kernels() == kernels, "it leaves a kernel open"
        assert os.getcwd() == here
        deadline = time.monotonic() + self.limit_s
        while (left := set(threading.enumerate()) - threads) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [thread.name for thread in left] == []


def commands_of(descriptor: CommandDescriptor) -> dict[tuple[str, ...], click.Command]:
    """Return the command, and those below it, by the words that lead to them."""
    return dict(_walk((), descriptor.create()))


def _walk(words: tuple[str, ...], found: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, found
    if isinstance(found, click.Group):
        for name, inner in found.commands.items():
            yield from _walk((*words, name), inner)


def call(descriptor: CommandDescriptor, arguments: list[str]) -> Result:
    """Call the command as a user would, with what it prints caught."""
    return CliRunner().invoke(descriptor.create(), arguments, prog_name=descriptor.name)
