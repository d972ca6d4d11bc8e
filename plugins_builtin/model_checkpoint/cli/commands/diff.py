"""``mce diff``: how one checkpoint differs from another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from model_checkpoint.cli.completing import checkpoints
from model_checkpoint.cli.options import command, place_options
from model_checkpoint.cli.output import as_json as json_text
from model_checkpoint.cli.output import number, print_json, say

if TYPE_CHECKING:
    from typing import Any

    from model_checkpoint.cli.place import Place

    DiffReport = Any
    TensorChange = Any

_ALWAYS = ("created_at_s", "sequence")
"""What differs between any two, and tells nobody anything."""


@command(
    "diff",
    "mce diff best:val_loss latest",
    "mce diff --all digits-7-e0001 digits-7-e0002",
    "mce diff --digests digits-7-e0001 digits-7-e0002 --json",
)
@click.argument("first", shell_complete=checkpoints)
@click.argument("second", shell_complete=checkpoints)
@click.option("--all", "every", is_flag=True, help="A line for each tensor, not for each object.")
@click.option(
    "--digests", is_flag=True, help="Compare digests alone, and read no tensor: nothing tells how far one moved."
)
@place_options
def diff(first: str, second: str, every: bool, digests: bool, as_json: bool, place: Place) -> None:
    """Show how the checkpoint SECOND differs from FIRST: tensors, metrics, metadata.

    Of the tensors that changed, the largest absolute difference of two elements
    is shown, and with --all the norm of each tensor's difference too.
    """
    with place.open() as kernel:
        report = kernel.diff(first, second)
        changes = {} if digests else report.read_changes()
    if as_json:
        names = ("added", "removed", "changed", "same", "metrics", "metadata")
        print_json({**{name: getattr(report, name) for name in names}, "changes": changes})
        return
    for line in _each(report, changes) if every else _folded(report, changes):
        say(line)
    for name, (one, other) in report.metrics.items():
        say(f"  metrics.{name}: {_value(one)} -> {_value(other)}")
    for name, pair in report.metadata.items():
        if name in report.metrics or name in _ALWAYS:
            continue
        say(f"  {name}: {json_text(pair[0], indent=None)} -> {json_text(pair[1], indent=None)}")
    say(
        f"{len(report.changed)} tensors differ, {len(report.added)} are new, {len(report.removed)} are gone,"
        f" {len(report.same)} are the same"
    )


def _each(report: DiffReport, changes: Mapping[str, TensorChange]) -> Iterator[str]:
    """Yield a line for each tensor that is not in both, or not the same in both."""
    yield from (f"- {name}" for name in report.removed)
    yield from (f"+ {name}" for name in report.added)
    for name in report.changed:
        change = changes.get(name)
        if change is None:
            told = ""
        elif change.first != change.second:
            told = f"  {change.first} -> {change.second}"
        elif change.max_abs is None:
            told = f"  {change.first}"
        else:
            told = f"  by at most {change.max_abs:.3g}, norm {change.norm:.3g}"
        yield f"~ {name}{told}"


def _folded(report: DiffReport, changes: Mapping[str, TensorChange]) -> Iterator[str]:
    """Yield a line for each object in which a tensor is new, gone or changed."""
    kinds = {"changed": report.changed, "new": report.added, "gone": report.removed, "same": report.same}
    objects: dict[str, dict[str, list[str]]] = {}
    for kind, names in kinds.items():
        for name in names:
            objects.setdefault(name.partition(".")[0], {each: [] for each in kinds})[kind].append(name)
    for name, own in sorted(objects.items()):
        both = len(own["changed"]) + len(own["same"])
        told = [f"{len(own['changed'])} of {both} tensors changed"] if own["changed"] else []
        told += [f"{len(own[kind])} are {kind}" for kind in ("new", "gone") if own[kind]]
        if not told:
            continue
        moved = {each: changes[each] for each in own["changed"] if each in changes}
        known = {each: change.max_abs for each, change in moved.items() if _is_measure(change)}
        most = max(known, key=lambda each: (known[each] != known[each], known[each]), default=None)  # NaN before all
        yield f"{name}: {', '.join(told)}" + (f", by at most {known[most]:.3g} ({most})" if most else "")


def _is_measure(change: TensorChange) -> bool:
    """Say whether a difference tells how far something moved: that of two random states, or of flags, does not."""
    return change.max_abs is not None and change.second.startswith(("float", "bfloat", "complex"))


def _value(value: float | None) -> str:
    return "none" if value is None else number(value)
