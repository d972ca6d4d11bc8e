"""Several processes that train one model decide together: rank 0 asks its hooks, and all do as it says.

Only for operations that every rank enters. Any other event is each rank's own: a hook under ``if rank == 0:`` must not
wait for processes that never come.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from model_checkpoint.common import leaves
from model_checkpoint.errors import HookError, OperationVetoed
from model_checkpoint.hooks.contexts import LIVE, Context

if TYPE_CHECKING:
    from model_checkpoint.contracts import RankGroup
    from model_checkpoint.hooks.manager import FireReport

TOGETHER = frozenset({"on_experiment_start", "on_run_start", "before_checkpoint_save", "before_checkpoint_load"})
"""Events of operations that every rank enters."""


def decide(group: RankGroup, context: Context, call: Callable[[Context], FireReport]) -> FireReport | None:
    """Let rank 0 call its hooks, and give `context` on every rank what they changed; None on the other ranks.

    Raises ``OperationVetoed`` on all ranks alike, and ``HookError`` where rank 0 failed.
    """
    if group.rank != 0:
        _apply(context, json.loads(group.broadcast(None)))
        return None
    outcome: dict[str, Any] = {"error": "it was interrupted"}
    live = {name: _shallow(context.get(name)) for name in context._writable if name in LIVE}
    try:
        try:
            report = call(context)
            outcome = {"changes": _changes(context, live)}
        except OperationVetoed as veto:
            outcome = {"veto": [veto.plugin, veto.reason]}
            raise
        except BaseException as error:
            outcome = {"error": f"{type(error).__name__}: {error}"}
            raise
    finally:  # whatever it is, the others wait for it
        group.broadcast(json.dumps(outcome).encode())
    return report


def _changes(context: Context, live: Mapping[str, object]) -> object:
    if replaced := [name for name in live if _shallow(context.get(name)) != live[name]]:
        raise HookError(f"a hook of rank 0 changed {replaced[0]!r}, and live objects cannot be sent to the other ranks")
    fields = {name: context.get(name) for name in context._writable if name not in LIVE}
    return leaves.encode(fields, lambda value, path, encode: None, path=context.event.value)


def _apply(context: Context, outcome: Mapping[str, Any]) -> None:
    if "veto" in outcome:
        raise OperationVetoed(context.event.value, *outcome["veto"])
    if "error" in outcome:
        raise HookError(f"a hook on {context.event.value} ended the operation on rank 0: {outcome['error']}")
    for name, value in leaves.decode(outcome["changes"], _refuse).items():  # type: ignore[attr-defined]
        object.__setattr__(context, name, value)


def _refuse(kind: str, node: Mapping[str, object], decode: object) -> object:
    raise HookError(f"rank 0 sent a {kind!r}, which this rank does not know")


def _shallow(value: object) -> object:
    """Return what tells whether a mapping of live objects still holds the same ones."""
    return {name: id(each) for name, each in value.items()} if isinstance(value, dict) else id(value)
