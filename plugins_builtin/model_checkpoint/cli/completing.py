"""What a shell is offered where a command wants the name of something that is there: a checkpoint, a plugin, a key.

A shell asks while somebody types: so records are read without opening a kernel, no hook is called and nothing is
created; where anything goes wrong, nothing is offered and nothing said.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from model_checkpoint.cli import notices
from model_checkpoint.cli.options import DIRECTORY
from model_checkpoint.cli.place import Place, database_file
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel, show_config

if TYPE_CHECKING:
    from model_checkpoint.contracts import CheckpointRecord, RecordStore

NEWEST = 50
"""How many checkpoints and runs are offered at most."""
Offer = tuple[str, str]
"""A word, and what is said of it."""
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offering(look: Callable[[Kernel], Iterable[Offer]]) -> Complete:
    """Return what click calls: it offers the words that `look` finds and that begin as what was typed."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        place = Place(context.params.get("database"), context.params.get("checkpoint_dir"))
        nowhere = io.StringIO()
        try:
            with (
                contextlib.chdir(context.meta.get(DIRECTORY, ".")),
                contextlib.redirect_stdout(nowhere),
                contextlib.redirect_stderr(nowhere),
                notices.held_back(),
                place.prepare() as kernel,
            ):
                found = dict(look(kernel))
        except Exception:  # settings, a plugin, a database that is none: whoever types did not ask about it
            return []
        return [CompletionItem(word, help=about) for word, about in found.items() if word.startswith(incomplete)]

    return complete


@contextlib.contextmanager
def _records(kernel: Kernel) -> Iterator[RecordStore | None]:
    """Give the records, or None where opening them would create something or ask another machine."""
    database = kernel.config.database
    file = database_file(database.url)
    there = file is not None and file.is_file() and file.stat().st_size > 0
    descriptor = kernel.plugins.provided.schemes.get(database.scheme) if there else None
    if descriptor is None:
        yield None
        return
    with contextlib.closing(descriptor.open(database.url)) as store:
        yield store


def _newest(kernel: Kernel) -> list[CheckpointRecord]:
    with _records(kernel) as store:
        return store.list_checkpoints(limit=NEWEST) if store else []


def _checkpoints(kernel: Kernel) -> Iterator[Offer]:
    records = _newest(kernel)
    for record in records:
        yield record.id, record.run_name if record.step is None else f"{record.run_name}, step {record.step}"
    if records:
        yield "latest", "the newest"
    for record in records:
        yield from ((alias, record.id) for alias in record.aliases)
        yield from ((f"best:{metric}", "the best by it") for metric in record.metrics)
        yield from ((f"tag:{tag}", "the newest with it") for tag in record.tags)


def _metrics(kernel: Kernel) -> Iterator[Offer]:
    return ((name, "") for record in _newest(kernel) for name in record.metrics)


def _runs(kernel: Kernel) -> Iterator[Offer]:
    with _records(kernel) as store:
        yield from ((run.name, str(run.status)) for run in (store.list_runs(limit=NEWEST) if store else ()))


def _plugins(kernel: Kernel) -> Iterator[Offer]:
    yield from ((each.name, each.summary) for each in kernel.plugins.list())
    yield from ((name, "disabled, not installed") for name in kernel.plugins.left_disabled())


def _formats(kernel: Kernel) -> Iterator[Offer]:
    return ((name, "") for name in kernel.plugins.provided.others["register_codecs"].names())


checkpoints = _offering(_checkpoints)
"""Ids of the newest checkpoints, and the other words that name one."""
metrics = _offering(_metrics)
runs = _offering(_runs)
plugins = _offering(_plugins)
formats = _offering(_formats)
settings = _offering(lambda kernel: ((row.key, row.value) for row in show_config(kernel)))
hook_names = _offering(lambda kernel: ((str(event), "") for event in HookEvent))
