"""For each rule of the kit a command that breaks this one alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click

from model_checkpoint.contracts import CommandDescriptor


def group(*options: click.Option, work: Callable[[], object] = lambda: None, help: str = "Say hello.") -> click.Group:
    """Return a whole command with a command of its own, which says hello."""

    def hello(**given: object) -> None:
        work()
        click.echo("hello")

    inner = click.Command("again", callback=hello, help=help, params=list(options))
    made = click.Group("greet", help="Greet people.")
    made.add_command(inner)
    return made


def whole() -> CommandDescriptor:
    return CommandDescriptor("greet", group, "greets people")


def called_by_a_sentence() -> CommandDescriptor:
    return CommandDescriptor("Greet People", group, "greets people")


def makes_a_function() -> CommandDescriptor:
    """It works as a click command does, and is none."""

    class Looks:
        def __init__(self) -> None:
            self.made = group()

        def __getattr__(self, name: str) -> object:
            return getattr(self.made, name)

    return CommandDescriptor("greet", Looks, "greets people")  # type: ignore[arg-type]


def begins_before_it_is_asked() -> CommandDescriptor:
    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            Path("called").write_text("")
            click.echo(context.get_help())
            context.exit()

    option = click.Option(
        ["--help"], is_flag=True, is_eager=True, expose_value=False, callback=note, help="Show this message."
    )
    return CommandDescriptor("greet", lambda: group(option), "greets people")


def has_a_silent_option() -> CommandDescriptor:
    return CommandDescriptor("greet", lambda: group(click.Option(["--loud"], is_flag=True)), "greets people")


def takes_whatever_it_is_given() -> CommandDescriptor:
    def make() -> click.Group:
        made = group()
        made.commands["again"].context_settings = {"ignore_unknown_options": True}
        made.commands["again"].allow_extra_args = True
        made.commands["again"].ignore_unknown_options = True
        return made

    return CommandDescriptor("greet", make, "greets people")


def clears_the_screen() -> CommandDescriptor:
    return CommandDescriptor("greet", lambda: group(work=lambda: click.echo("\x1b[2J", color=True)), "greets people")


def goes_elsewhere_and_stays_there() -> CommandDescriptor:
    def work() -> None:
        threading.Thread(target=lambda: time.sleep(2), daemon=True).start()
        os.chdir("/")

    return CommandDescriptor("greet", lambda: group(work=work), "greets people")


BROKEN: dict[int, Callable[[], CommandDescriptor]] = {
    1: called_by_a_sentence,
    2: makes_a_function,
    3: begins_before_it_is_asked,
    4: has_a_silent_option,
    5: takes_whatever_it_is_given,
    6: clears_the_screen,
    7: goes_elsewhere_and_stays_there,
}
ORDINARY = ["again"]
