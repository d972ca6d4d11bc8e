"""``mce plugins``: which plugins there are, how each stands and why, and whether one is as it says."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model_checkpoint.cli import notices
from model_checkpoint.cli.candidate import as_if_installed
from model_checkpoint.cli.completing import plugins as plugin_names
from model_checkpoint.cli.failures import Exit, Failure
from model_checkpoint.cli.in_force import stands
from model_checkpoint.cli.options import command, directory_option, epilog
from model_checkpoint.cli.output import print_fields, print_json, print_table, say
from model_checkpoint.cli.schemas import options_of
from model_checkpoint.kernel import Kernel

if TYPE_CHECKING:
    PluginInfo = Any

_NEW = "model_checkpoint.cli.scaffold.command"
_LISTED = 3
"""How many of one kind that a plugin provides are listed by their names."""
USABLE = ("registered", "active")
WISHED = ("disabled", "deactivated")


@command("list", "mce plugins list", "mce plugins list --json", short_help="List all plugins and how they stand.")
@directory_option
def list_(as_json: bool) -> None:
    """List all plugins and how they stand. One that is 'registered' is imported when it is first needed."""
    with Kernel.prepare() as kernel:
        infos = kernel.plugins.list()
        gone = kernel.plugins.left_disabled()
    if as_json:
        left = [{"name": name, "origin": "", "state": "disabled", "error": _left(name)} for name in gone]
        print_json([*infos, *left])
        return
    print_table(
        ("plugin", "version", "from", "state", "provides"),
        [(each.name, each.version, each.origin, each.state, _folded(each.provides)) for each in infos],
    )
    for name in gone:
        say(_left(name))
    if broken := [each.name for each in infos if each.state not in (*USABLE, *WISHED)]:
        say(f"{len(broken)} cannot be used: 'mce plugins doctor' says why")


def _folded(provides: Sequence[str]) -> str:
    """Return what a plugin provides in a few words: ``14 commands`` where there are many of a kind."""
    kinds: dict[str, list[str]] = {}
    for each in provides:
        kinds.setdefault(each.partition(":")[0], []).append(each)
    shown = ([f"{len(own)} {kind}s"] if len(own) > _LISTED else own for kind, own in kinds.items())
    return ", ".join(itertools.chain.from_iterable(shown))


def _left(name: str) -> str:
    return f"{name}: disabled, not installed: 'mce plugins enable {name}' forgets it"


@command(
    "info",
    "mce plugins info vault",
    "mce plugins info vault --json",
    short_help="Show everything that is known of a plugin.",
)
@click.argument("name", shell_complete=plugin_names)
@directory_option
def info(name: str, as_json: bool) -> None:
    """Show everything that is known of the plugin NAME, and what can be set for it in [plugins.NAME].

    It is imported, for its own Config says what that is.
    """
    with Kernel.prepare() as kernel:
        found = _known(kernel, name)
        options = list(options_of(kernel, name))
    if as_json:
        print_json({**{each.name: getattr(found, each.name) for each in fields(found)}, "settings": options})
        return
    rows = {
        "plugin": found.name,
        "summary": found.summary,
        "state": found.state,
        "why": found.error,
        "version": f"{found.version} ({found.distribution}, {found.origin})",
        "entry point": found.target,
        "manifest": "plugin.toml" if found.has_manifest else "none: it is imported whenever a kernel opens",
        "provides": ", ".join(found.provides),
        "hooks": ", ".join(found.hooks),
        "requires": ", ".join(found.requires),
    }
    print_fields([*((key, value) for key, value in rows.items() if value), *(("note", note) for note in found.notes)])
    if options:
        say()
        print_table(
            ("setting", "type", "default", "in force", "where", "what it is"),
            [(each.key, each.type, each.default, each.value, each.where, each.about) for each in options],
        )


@command("enable", "mce plugins enable s3", short_help="Let a plugin load again.")
@click.argument("name", shell_complete=plugin_names)
@directory_option
@click.pass_context
def enable(context: click.Context, name: str, as_json: bool) -> None:
    """Let the plugin NAME load again, now and later."""
    with Kernel.prepare() as kernel:
        if name not in kernel.plugins.left_disabled():
            _known(kernel, name)
        found = kernel.plugins.enable(name)
    if found is None:
        told = f"{name} is not installed; it is no longer kept disabled"
        print_json({"name": name, "state": "forgotten", "error": told}) if as_json else say(told)
        context.exit(Exit.OK)
    usable = found.state in USABLE
    if as_json:
        print_json(found)
    else:
        say(f"{name} is enabled" if usable else f"{name} {stands(found.state)} all the same: {found.error}")
    context.exit(Exit.OK if usable else Exit.PROBLEM)


@command("disable", "mce plugins disable s3 --reason 'the bucket has moved'", short_help="Keep a plugin from loading.")
@click.argument("name", shell_complete=plugin_names)
@click.option("--reason", default="", help="Kept, and shown to whoever asks.")
@directory_option
def disable(name: str, reason: str, as_json: bool) -> None:
    """Keep the plugin NAME from loading in this environment, until it is enabled again."""
    with Kernel.prepare() as kernel:
        _known(kernel, name)
        if name == "cli":
            raise Failure("the plugin 'cli' is what you are using: without it nothing could enable it", Exit.REFUSED)
        kernel.plugins.disable(name, reason)
        found = _known(kernel, name)
    if as_json:
        print_json(found)
    else:
        say(f"{name} is disabled: 'mce plugins enable {name}' takes that back")


@command("doctor", "mce plugins doctor", short_help="Import every plugin, and show those that fail.")
@directory_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Import every plugin, and show those that cannot be used, each with the reason.

    Exits with 1 where there are any. One that is disabled is no problem.
    """
    with notices.held_back(), Kernel.prepare() as kernel:
        for each in kernel.plugins.list():
            if each.state == "registered":
                kernel.plugins.activate(each.name)
        infos, gone = kernel.plugins.list(), kernel.plugins.left_disabled()
    broken = [each for each in infos if each.state not in (*USABLE, *WISHED)]
    if as_json:
        print_json({"unusable": broken, "plugins": len(infos)})
    else:
        for each in infos:
            if each.state not in USABLE:
                say(f"{each.name} {each.version} {stands(each.state)}: {each.error}")
            for note in each.notes:
                say(f"{each.name}: note: {note}")
        for name in gone:
            say(_left(name))
        usable, off = (sum(each.state in states for each in infos) for states in (USABLE, WISHED))
        say(f"{usable} can be used, {off} {'is' if off == 1 else 'are'} disabled, {len(broken)} cannot be used")
    context.exit(Exit.PROBLEM if broken else Exit.OK)


@command(
    "check",
    "mce plugins check .",
    "mce plugins check vault",
    short_help="Compare what a plugin declares with what it does.",
)
@click.argument("path_or_name", shell_complete=plugin_names)
@click.pass_context
def check(context: click.Context, path_or_name: str, as_json: bool) -> None:
    """Check a plugin: by its name one that is installed, by its folder a project that is not yet.

    Its entry points and plugin.toml are read as the kernel reads them, then it
    is imported and started beside an empty store, and what it declares is
    compared with what it does. Exits with 1 where anything is not as it says.
    """
    project = Path(path_or_name)
    if project.is_dir():
        with as_if_installed(project) as names:
            results = list(_checked(names))
    else:
        with Kernel.prepare() as kernel:
            _known(kernel, path_or_name)
        results = list(_checked([path_or_name]))
    good = not any(problems for _, problems in results)
    if as_json:
        print_json([{"plugin": found, "ok": not problems, "problems": problems} for found, problems in results])
    else:
        for found, problems in results:
            for problem in problems:
                say(f"{found.name}: {problem}")
            if not problems:
                hooks = f", hooks {', '.join(found.hooks)}" if found.hooks else ""
                say(f"{found.name} does what it declares: provides {', '.join(found.provides) or 'nothing'}{hooks}")
    context.exit(Exit.OK if good else Exit.PROBLEM)


def _checked(names: list[str]) -> Iterator[tuple[PluginInfo, list[str]]]:
    """Yield each plugin as it stands once it was started, and what is not as it says."""
    with tempfile.TemporaryDirectory(prefix="mce-check-") as folder:
        kernel = Kernel.open("sqlite:///:memory:", checkpoint_dir=folder, storage_backend="memory", quiet=True)
        with kernel, notices.held_back():
            for name in names:
                if _known(kernel, name).state == "registered":
                    kernel.plugins.activate(name)
                found = _known(kernel, name)
                problems = [] if found.state == "active" else [f"it {stands(found.state)}: {found.error}"]
                if not found.has_manifest:
                    problems.append("there is no [plugin." + name + "] in a plugin.toml: it is imported at every start")
                yield found, [*problems, *found.notes]


def _known(kernel: Kernel, name: str) -> PluginInfo:
    found = kernel.plugins.get(name)
    if found is None:
        names = [each.name for each in kernel.plugins.list()]
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
        raise Failure(f"there is no plugin {name!r}; {hint}", Exit.NOT_FOUND)
    return found


class _Plugins(click.Group):
    """The group, with ``new`` where the templates are there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, ``new`` among them where it can be had."""
        return sorted([*self.commands, *["new"] * (find_spec(_NEW) is not None)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing the templates for ``new`` alone."""
        if cmd_name == "new" and find_spec(_NEW) is not None:
            made: click.Command = import_module(_NEW).new
            return made
        return super().get_command(ctx, cmd_name)


plugins = _Plugins(
    "plugins",
    {each.name or "": each for each in (list_, info, enable, disable, doctor, check)},
    help="List, inspect, check, enable and disable plugins.",
    epilog=epilog(["mce plugins list", "mce plugins doctor", "mce plugins check ."]),
)
