"""``mce verify``: whether the stored bytes are the bytes that were saved."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from model_checkpoint.cli.completing import checkpoints
from model_checkpoint.cli.failures import Exit
from model_checkpoint.cli.options import command, place_options
from model_checkpoint.cli.output import print_json, readable, say, size
from model_checkpoint.contracts import DEPTHS
from model_checkpoint.hooks import Context, hookimpl

if TYPE_CHECKING:
    from model_checkpoint.cli.place import Place
    from model_checkpoint.kernel import Kernel


class _Progress:
    """Counts on a terminal what was checked, out of what the kernel tells its hooks."""

    name = "mce-verify-progress"

    def __init__(self) -> None:
        self.checked = self.nbytes = 0

    @hookimpl
    def before_integrity_check(self, context: Context) -> None:
        """Show what is being checked."""
        if sys.stderr.isatty():
            told = f"{self.checked} checked, {size(self.nbytes)} read; now {readable(context.checkpoint_id)}"
            click.echo(f"\r\x1b[K{told[:100]}", nl=False, err=True)

    @hookimpl
    def after_integrity_check(self, context: Context) -> None:
        """Count it."""
        self.checked += 1
        self.nbytes += context.nbytes_read or 0


@command("verify", "mce verify", "mce verify best:val_loss", "mce verify --depth fast --subset 2/7")
@click.argument("which", required=False, shell_complete=checkpoints)
@click.option(
    "--depth",
    type=click.Choice(DEPTHS),
    default="full",
    show_default=True,
    help="Files are there; structure is right; every byte has its fast digest; has its SHA-256.",
)
@click.option("--subset", metavar="I/N", help="Check the I-th of N parts, which together are everything.")
@place_options
@click.pass_context
def verify(
    context: click.Context, which: str | None, depth: str, subset: str | None, as_json: bool, place: Place
) -> None:
    """Check the checkpoint WHICH, or all that are stored, and compare the store with the records.

    Exits with 1 where anything is damaged, recorded and not stored, or stored and not recorded.
    """
    if which is not None and subset is not None:
        raise click.UsageError("a part is one of the whole store: leave out WHICH or --subset")
    progress = _Progress()
    with place.open(register=[progress]) as kernel, _cleared():
        ok = _one(kernel, which, depth, as_json) if which is not None else _all(kernel, depth, subset, as_json)
    context.exit(Exit.OK if ok else Exit.PROBLEM)


@contextlib.contextmanager
def _cleared() -> Iterator[None]:
    try:
        yield
    finally:
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)


def _one(kernel: Kernel, which: str, depth: str, as_json: bool) -> bool:
    report = kernel.verify(which, depth=depth)
    if as_json:
        print_json(report)
    elif report.ok:
        told = f"has its files ({depth})" if depth == "stat" else f"whole ({depth}), {size(report.nbytes_read)} read"
        say(f"{report.checkpoint_id}: {told}")
    else:
        _tell_damage(report.checkpoint_id, report.bad_parts)
    return report.ok


def _all(kernel: Kernel, depth: str, subset: str | None, as_json: bool) -> bool:
    report = kernel.check_store(depth=depth, subset=subset)
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "verified": report.verified,
                "damaged": report.damaged,
                "missing": report.missing,
                "unrecorded": report.unrecorded,
                "unavailable": report.unavailable,
            }
        )
        return report.ok
    for checkpoint_id, parts in report.damaged.items():
        _tell_damage(checkpoint_id, parts)
    for checkpoint_id in report.missing:
        say(f"{checkpoint_id}: recorded, and not stored")
    for checkpoint_id in report.unrecorded:
        say(f"{checkpoint_id}: stored, and not recorded: 'mce store rebuild' records it")
    for backend, count in report.unavailable.items():
        say(f"{count} checkpoints are stored by {backend!r}, which is not available: not checked")
    part = f" of part {subset}" if subset else ""
    say(
        f"{len(report.verified)} checkpoints{part} {_sound(depth)}, {len(report.damaged)} damaged,"
        f" {len(report.missing)} missing, {len(report.unrecorded)} not recorded"
    )
    return report.ok


def _sound(depth: str) -> str:
    return f"have their files ({depth})" if depth == "stat" else f"are whole ({depth})"


def _tell_damage(checkpoint_id: str, parts: tuple[str, ...]) -> None:
    say(f"{checkpoint_id}: DAMAGED")
    for part in parts or ("it does not verify",):
        say(f"  - {part}")
