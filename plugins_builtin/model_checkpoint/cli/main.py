"""The console script ``mce``: finds the commands that plugins provide, and turns what goes wrong into one message."""

from __future__ import annotations

import os
import sys
import traceback
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, cast

import click

from model_checkpoint.cli import notices
from model_checkpoint.cli import plugin as builtin
from model_checkpoint.cli.failures import Exit, Failure
from model_checkpoint.cli.options import DEBUG, debug_option, epilog
from model_checkpoint.cli.output import readable, say
from model_checkpoint.contracts import CommandDescriptor
from model_checkpoint.errors import CheckpointEngineError
from model_checkpoint.kernel import KERNEL_API, Kernel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Registry = Any


class Commands:
    """The commands by name, out of the registry that plugins fill."""

    def __init__(self) -> None:
        self.problem = ""
        """Why there are only the built-in commands, or empty."""

    @cached_property
    def kernel(self) -> Kernel | None:
        """A kernel that has found its plugins and opened nothing, or None where the settings cannot be read."""
        try:
            return Kernel.prepare()
        except CheckpointEngineError as error:
            self.problem = str(error)
            return None

    @cached_property
    def _own(self) -> dict[str, CommandDescriptor]:
        """The built-in commands where their plugin cannot be had: what is wrong must be found out somehow."""
        info = self.kernel.plugins.get("cli") if self.kernel else None
        if info is not None and info.state in ("registered", "active"):
            return {}
        return {each.name: each for each in builtin.register_commands(None)}

    @property
    def _table(self) -> Registry | None:
        return self.kernel.plugins.provided.others["register_commands"] if self.kernel else None

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted({*self._own, *(self._table.names() if self._table else ())})

    def get(self, name: str) -> CommandDescriptor | None:
        """Return the command of that name, or None. Raises ``PluginLoadError`` where its plugin cannot be used."""
        found = self._own.get(name) or (self._table.get(name) if self._table else None)
        return cast("CommandDescriptor | None", found)

    def summary(self, name: str) -> str:
        """Return what is said of a command in the list of all."""
        try:
            found = self.get(name)
        except CheckpointEngineError as error:
            return f"cannot be used: {error}"
        return found.summary if found else "cannot be used: 'mce plugins doctor' says why"

    def provider(self, name: str) -> str:
        """Return the name of the plugin that provides a command."""
        return (self._table.holder(name) if self._table else None) or "cli"


class CommandLine(click.Group):
    """``mce``, whose commands come from plugins and are made when they are called."""

    @cached_property
    def found(self) -> Commands:
        """The commands that there are, looked for when somebody asks."""
        return Commands()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return self.found.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command. Raises `Failure` that names the plugin whose command cannot be made."""
        try:
            descriptor = self.found.get(cmd_name)
        except CheckpointEngineError as error:
            raise Failure.of(error) from error
        if descriptor is None:
            return None
        try:
            made = descriptor.create()
        except (Exception, SystemExit) as error:
            self._show_traceback(ctx)
            raise Failure(
                f"the command {cmd_name!r} of the plugin {self.found.provider(cmd_name)!r} cannot be used:"
                f" {type(error).__name__}: {error}",
                Exit.FAILED,
            ) from error
        if not isinstance(made, click.Command):
            raise Failure(
                f"the command {cmd_name!r} of the plugin {self.found.provider(cmd_name)!r} is a"
                f" {type(made).__name__}, not a click.Command: its create() has to return one",
                Exit.FAILED,
            )
        return made

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called. Raises ``UsageError`` with the nearest name."""
        name = args[0]
        if name.startswith("-"):
            return super().resolve_command(ctx, args)
        found = self.get_command(ctx, name)
        if found is not None or ctx.resilient_parsing:
            return name, found, args[1:]
        near = get_close_matches(name, self.found.names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " 'mce --help' lists them."
        raise click.UsageError(readable(f"there is no command {name!r}.{hint}{self._why_few()}"), ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what their plugins say of them, making none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, readable(self.found.summary(name))) for name in self.found.names()])
        if why := self._why_few():
            formatter.write_paragraph()
            formatter.write_text(readable(why.strip()))

    def _why_few(self) -> str:
        problem = self.found.problem if self.found.kernel is None else ""
        return f" Only built-in commands are there, for the settings cannot be read: {problem}" if problem else ""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Complete a command's name, making no command."""
        item = click.shell_completion.CompletionItem
        names = [name for name in self.found.names() if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(item(name, help=self.found.summary(name)) for name in names), *options]

    def invoke(self, ctx: click.Context) -> None:
        """Run a command. What it returns is no exit status; errors of the engine become one message."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except CheckpointEngineError as error:
            self._show_traceback(ctx)
            raise Failure.of(error) from error
        except KeyboardInterrupt:
            raise Failure("interrupted", Exit.INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes there
            ctx.exit(Exit.NO_READER)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:  # a full disk, a folder that may not be looked into, a name that is too long
            self._show_traceback(ctx)
            raise Failure(f"it could not be done: {error}", Exit.FAILED) from error
        except Exception:
            traceback.print_exc()
            say("mce: this should not have happened; please report it with the lines above", err=True)
            ctx.exit(Exit.UNFORESEEN)

    @staticmethod
    def _show_traceback(ctx: click.Context) -> None:
        if ctx.meta.get(DEBUG):
            traceback.print_exc()


def command_line() -> CommandLine:
    """Return ``mce`` as a click command."""

    def version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            from importlib.metadata import version as installed

            say(f"mce {installed('model-checkpoint-engine')}, kernel API {KERNEL_API}")
            context.exit()

    version_option = click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=version, help="Show the version."
    )
    return CommandLine(
        "mce",
        help="Look at checkpoints, check them, and ask why a plugin, hook or setting is as it is.",
        epilog=epilog(
            ["mce demo", "mce ls 'metrics.val_loss < 0.2 order by step'", "mce verify latest", "mce ls --help"]
        ),
        params=[version_option, debug_option()],
        no_args_is_help=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``mce`` and end the process with its exit status."""
    if sys.stdout is None:  # closed by whoever called
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the whole process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal has no letters for
    if "_MCE_COMPLETE" in os.environ:
        _complete()
    notices.begin()
    command_line().main(arguments, prog_name="mce")


def _complete() -> None:
    """Say what a shell asks for and end the process: nothing else may land in the line that somebody types."""
    try:
        with notices.held_back():
            command_line().main([], prog_name="mce")
    except Exception:
        sys.exit(Exit.FAILED)


if __name__ == "__main__":
    main()
