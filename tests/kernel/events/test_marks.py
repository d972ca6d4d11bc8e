"""The event of an alias that moves."""

from __future__ import annotations

from event_log import Log
from model_checkpoint.kernel import Kernel


def test_an_alias_that_moves(opened: tuple[Kernel, Log]) -> None:
    kernel, log = opened
    with kernel.run("digits") as session:
        record = session.state.record
        first, second = kernel.save({"w": 1}, step=1), kernel.save({"w": 2}, step=2)
        log.seen.clear()
        kernel.alias("prod", first)
        kernel.alias("prod", first)
        kernel.alias("prod", second)
        kernel.alias("prod", None)
        shared = {"alias": "prod", "model_name": "", "actor": "script"}
        for about, old, new in ((first, None, first), (second, first, second), (second, second, None)):
            log.take("on_alias_change", record, about, old_checkpoint_id=old, new_checkpoint_id=new, **shared)
        log.seen.clear()
