"""``mce hooks``: who listens to what, and what hooks do and cost while a script runs."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path
from typing import IO

import click

from model_checkpoint.cli.completing import hook_names
from model_checkpoint.cli.options import command, directory_option, group
from model_checkpoint.cli.output import as_json as json_text
from model_checkpoint.cli.output import print_json, print_table, readable, say
from model_checkpoint.cli.tracing import Counts, Timeline, run_script
from model_checkpoint.hooks import HookEvent, HookPriority
from model_checkpoint.kernel import Kernel

_SCRIPT = {"ignore_unknown_options": True, "allow_interspersed_args": False}
_STATS = ("plugin", "hook", "function", "calls", "errors", "timeouts", "skipped", "total", "p50", "p95", "max")


@command(
    "list",
    "mce hooks list",
    "mce hooks list --event after_checkpoint_save",
    short_help="List the hooks of all plugins.",
)
@click.option("--event", metavar="EVENT", help="Only the hooks of this event or question.", shell_complete=hook_names)
@directory_option
def list_(event: str | None, as_json: bool) -> None:
    """List the hooks of all plugins, event by event.

    Of a plugin that waits for its first use, its hooks are what its manifest declares.
    """
    with Kernel.prepare() as kernel:
        lines = kernel.hooks.stats()
        waiting = [each for each in kernel.plugins.list() if each.state == "registered"]
    rows = [
        {"hook": each.hook, "plugin": each.plugin, "function": each.function, "priority": _band(each.priority),
         "state": "quarantined" if each.quarantined else "active"}
        for each in lines
    ]  # fmt: skip
    rows += [
        {"hook": hook, "plugin": each.name, "function": "", "priority": "", "state": "waiting"}
        for each in waiting
        for hook in each.hooks
    ]
    rows.sort(key=lambda row: str(row["hook"]))
    if event is not None:
        rows = [row for row in rows if row["hook"] == event]
    if as_json:
        print_json(rows)
    elif not rows:
        say("no plugin listens" + (f" to {event}" if event else ""))
    else:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])


def _band(priority: int) -> str:
    return HookPriority(priority).name if priority in list(HookPriority) else str(priority)


@command(
    "stats",
    "mce hooks stats train.py --epochs 3",
    "mce hooks stats -o stats.json --json train.py",
    short_help="Run a script; show what each hook did and cost.",
    context_settings=_SCRIPT,
)
@click.option("-o", "--output", type=click.File("w"), help="Write there instead of to the standard error; - is stdout.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def stats(
    context: click.Context, output: IO[str] | None, script: Path, arguments: tuple[str, ...], as_json: bool
) -> None:
    """Run SCRIPT with ARGUMENTS, and show what each hook did: calls, errors, and how long they took.

    The script's own output, exit status and traceback are its own. Options of mce stand before SCRIPT.
    """
    counts = Counts()
    Kernel.register_everywhere(counts)
    atexit.register(_show_stats, counts, output, as_json)  # the script's kernels close at exit, before this
    context.exit(run_script(script, arguments))


def _show_stats(counts: Counts, output: IO[str] | None, as_json: bool) -> None:
    lines, out = counts.lines(), output or sys.stderr
    if as_json:
        click.echo(json_text([line._asdict() for line in lines], indent=None), file=out)
        return
    rows = [
        (line.plugin, line.hook, line.function, line.calls, line.errors, line.timeouts, line.skipped,
         *(f"{seconds * 1e3:.3f} ms" for seconds in (line.total_s, line.p50_s, line.p95_s, line.max_s)))
        for line in lines
        if line.calls or line.errors or line.timeouts or line.skipped
    ]  # fmt: skip
    if rows:
        print_table(_STATS, rows, right=_STATS[3:], file=out)
    else:
        click.echo("no hook was called", file=out)


@command(
    "trace",
    "mce hooks trace train.py --epochs 1",
    "mce hooks trace --event after_checkpoint_save train.py",
    short_help="Run a script; show every event and call of a hook.",
    context_settings=_SCRIPT,
)
@click.option("-o", "--output", type=click.File("w"), help="Write there instead of to the standard error; - is stdout.")
@click.option("--event", "events", multiple=True, type=click.Choice(list(map(str, HookEvent))), metavar="EVENT",
              help="Only this event and its hooks; repeatable.")  # fmt: skip
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def trace(
    context: click.Context,
    output: IO[str] | None,
    events: tuple[str, ...],
    script: Path,
    arguments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run SCRIPT with ARGUMENTS, and show every event and every call of a hook as it happens.

    With --json, one object a line. The script's own output, exit status and
    traceback are its own. Options of mce stand before SCRIPT.
    """

    def tell(at_s: float, event: str, told: dict[str, object]) -> None:
        if as_json:
            line = json_text({"at_s": at_s, "event": event, **told}, indent=None)
        elif event == "call":
            line = f"{at_s:10.4f}    {told['hook']}  {told['outcome']}  {_ms(told['duration_s'])}"
        else:
            line = f"{at_s:10.4f}  {event}  " + " ".join(f"{name}={value}" for name, value in told.items())
        click.echo(readable(line.rstrip()), file=out or sys.stderr)

    out = _kept_open(output)
    Kernel.register_everywhere(Timeline(tell, events))
    context.exit(run_script(script, arguments))


def _kept_open(output: IO[str] | None) -> IO[str] | None:
    """Return `output` as a file that click does not close: a script's kernels may close at exit, long after it."""
    if output is None:
        return None
    kept = open(os.dup(output.fileno()), "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    atexit.register(kept.close)  # registered before a kernel is opened, so called after it has closed
    return kept


def _ms(duration_s: object) -> str:
    return f"{duration_s * 1e3:.3f} ms" if isinstance(duration_s, float) else ""


hooks = group(
    "hooks",
    "List hooks, and watch them in a script.",
    [list_, stats, trace],
    "mce hooks list",
    "mce hooks trace train.py",
)
