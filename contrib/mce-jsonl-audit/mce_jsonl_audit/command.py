"""The command ``mce audit``: verifies a trail, and prints anchors to keep elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mce_jsonl_audit.verifier import Anchor
from mce_jsonl_audit.verifier import head as head_of
from mce_jsonl_audit.verifier import verify as verify_trail
from model_checkpoint.errors import CheckpointEngineError


@click.group()
def audit() -> None:
    """Verify the audit trail, or print an anchor of it."""


@audit.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--anchor", help="What `mce audit head` printed earlier: finds a tail that was cut off.")
@click.option("--pruned", is_flag=True, help="The oldest files were put away on purpose.")
def verify(file: Path, anchor: str | None, pruned: bool) -> None:
    """Check FILE and the files that it was rotated into. Ends with 1 where anything was changed."""
    try:
        report = verify_trail(file, anchor=Anchor.parse(anchor) if anchor else None, pruned=pruned)
    except (CheckpointEngineError, OSError) as error:
        click.echo(f"{file} cannot be verified: {error}", err=True)
        sys.exit(2)
    for word, lines in (("torn", report.torn), ("gap", report.gaps)):
        for line in lines:
            click.echo(f"{word}: {line}")
    for finding in report.findings:
        click.echo(str(finding), err=True)
    if not report.ok:
        click.echo(f"not whole: {len(report.findings)} findings in {report.lines} lines", err=True)
        sys.exit(1)
    last = f"the last is {report.last.seq}:{report.last.sha256}" if report.last else "none of them is finished"
    click.echo(f"whole: {report.lines} lines in {len(report.files)} files; {last}")


@audit.command()
@click.argument("file", type=click.Path(path_type=Path))
def head(file: Path) -> None:
    """Print the anchor of FILE, number:digest, to keep where whoever can write to FILE cannot."""
    try:
        click.echo(str(head_of(file)))
    except (CheckpointEngineError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
