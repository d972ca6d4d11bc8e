"""The best checkpoint by a metric, and the best flags: which checkpoint of a run is the best at this moment.

A flag belongs to one metric of one run and remembers in which mode it was won. A damaged checkpoint shows none: when it
is marked, each of its flags goes to the best of the rest, and when the mark is cleared it claims back those that it
deserves. Where nobody is there to take a flag, the damaged holder keeps it, unseen, so that the mode is not forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, insert, select, update

from model_checkpoint.contracts import BestFlag, CheckpointRecord
from model_checkpoint.database.checkpoint_rows import checkpoint_rows, load_checkpoints
from model_checkpoint.database.schema import best_flags, checkpoint_metrics, checkpoints, experiments, runs
from model_checkpoint.database.values import EXACT_INT, LARGEST, decode_number, encode_number
from model_checkpoint.errors import ConfigurationError

_Ranked: TypeAlias = "tuple[int, float, str]"  # key, value, exact
_UNDAMAGED = checkpoints.c.damage == ""


def best_checkpoint(
    connection: Connection, *, metric: str, mode: str, run_id: str | None, experiment_id: str | None
) -> CheckpointRecord | None:
    """Return the best undamaged one: the first step down an index on (run or experiment, metric, value)."""
    ranked = _ranked(metric, mode).where(_UNDAMAGED)
    if run_id is not None:
        ranked = ranked.where(checkpoint_metrics.c.run_key == run_key(run_id))
    if experiment_id is not None:
        ranked = ranked.where(checkpoint_metrics.c.experiment_key == experiment_key(experiment_id))
    top = _top(connection, ranked, mode)
    found = load_checkpoints(connection, checkpoint_rows().where(checkpoints.c.key == top.key)) if top else []
    return found[0] if found else None


def best_flags_of(connection: Connection, run_id: str) -> dict[str, BestFlag]:
    """Return the run's best flags by metric."""
    flags = best_flags.c
    rows = connection.execute(
        select(flags.metric, flags.mode, flags.value, flags.exact, checkpoints.c.id)
        .join(checkpoints, checkpoints.c.key == flags.checkpoint_key)
        .where(flags.run_key == run_key(run_id), _UNDAMAGED)
        .order_by(flags.metric)
    )
    return {
        metric: BestFlag(run_id, metric, mode, checkpoint_id, decode_number(value, exact))
        for metric, mode, value, exact, checkpoint_id in rows
    }


def set_flags(connection: Connection, run: int, key: int, record: CheckpointRecord, best: Sequence[BestFlag]) -> None:
    """Give the flags in `best` to the checkpoint that is being committed, whoever held them."""
    if not best:
        return
    if any(flag.run_id != record.run_id or flag.checkpoint_id != record.id for flag in best):
        raise ConfigurationError(f"best flags committed with checkpoint {record.id!r} belong to it and to its run")
    names = [flag.metric for flag in best]
    connection.execute(delete(best_flags).where(best_flags.c.run_key == run, best_flags.c.metric.in_(names)))
    rows = [
        {
            "run_key": run,
            "metric": flag.metric,
            "mode": _checked_mode(flag.mode),
            "checkpoint_key": key,
            **columns_of(flag.metric, flag.value),
        }
        for flag in best
    ]
    connection.execute(insert(best_flags), rows)


def hand_on_flags(connection: Connection, key: int) -> None:
    """Give every flag of a checkpoint that is damaged, or about to go, to the best of its run's others."""
    held = connection.execute(select(best_flags).where(best_flags.c.checkpoint_key == key)).all()
    for flag in held:
        others = _ranked(flag.metric, flag.mode).where(
            checkpoint_metrics.c.run_key == flag.run_key, checkpoints.c.key != key
        )
        heir = _top(connection, others.where(_UNDAMAGED), flag.mode) or _top(connection, others, flag.mode)
        if heir is not None:
            _give(connection, flag.run_key, flag.metric, heir.key, heir.value, heir.exact)


def claim_flags(connection: Connection, key: int) -> None:
    """Give a checkpoint whose mark was cleared every flag that it deserves more than the holder."""
    flags, own = best_flags.c, checkpoint_metrics.c
    contested = connection.execute(
        select(
            flags.run_key, flags.metric, flags.mode, flags.checkpoint_key, own.value,
            own.exact, flags.value.label("held"), flags.exact.label("held_exact"), checkpoints.c.damage,
        )
        .join(checkpoint_metrics, and_(own.run_key == flags.run_key, own.name == flags.metric))
        .join(checkpoints, checkpoints.c.key == flags.checkpoint_key)
        .where(own.checkpoint_key == key, flags.checkpoint_key != key, own.value.between(-LARGEST, LARGEST))
    ).all()  # fmt: skip
    for flag in contested:
        value, held = decode_number(flag.value, flag.exact), decode_number(flag.held, flag.held_exact)
        better = value < held if flag.mode == "min" else value > held
        if flag.damage or better or (value == held and key < flag.checkpoint_key):
            _give(connection, flag.run_key, flag.metric, key, flag.value, flag.exact)


def run_key(run_id: str) -> ColumnElement[int]:
    """Return the store's key of a run, as a part of a statement."""
    return select(runs.c.key).where(runs.c.id == run_id).scalar_subquery()


def experiment_key(experiment_id: str) -> ColumnElement[int]:
    """Return the store's key of an experiment, as a part of a statement."""
    return select(experiments.c.key).where(experiments.c.id == experiment_id).scalar_subquery()


def columns_of(name: str, value: float) -> dict[str, float | str | None]:
    """Return the two columns of a metric's value."""
    number, exact = encode_number(value, name)
    return {"value": number, "exact": exact}


def _ranked(metric: str, mode: str) -> Select[_Ranked]:
    table, value = checkpoint_metrics.c, checkpoint_metrics.c.value
    return (
        select(checkpoints.c.key, value, table.exact)
        .join(checkpoints, checkpoints.c.key == table.checkpoint_key)
        .where(table.name == metric, value.between(-LARGEST, LARGEST))
        .order_by(value.asc() if _checked_mode(mode) == "min" else value.desc(), table.checkpoint_key)
    )


def _top(connection: Connection, ranked: Select[_Ranked], mode: str) -> Row[_Ranked] | None:
    top = connection.execute(ranked.limit(1)).one_or_none()
    if top is None or abs(top.value) < EXACT_INT:
        return top
    # several integers share this float: compare them as what they are
    equals = connection.execute(ranked.where(checkpoint_metrics.c.value == top.value)).all()
    numbers = [decode_number(row.value, row.exact) for row in equals]
    return equals[numbers.index(min(numbers) if mode == "min" else max(numbers))]


def _give(connection: Connection, run: int, metric: str, key: int, value: float, exact: str | None) -> None:
    connection.execute(
        update(best_flags)
        .where(best_flags.c.run_key == run, best_flags.c.metric == metric)
        .values(checkpoint_key=key, value=value, exact=exact)
    )


def _checked_mode(mode: str) -> str:
    if mode in ("min", "max"):
        return mode
    raise ConfigurationError(f"{mode!r} is no ranking mode: use 'min' or 'max'")
