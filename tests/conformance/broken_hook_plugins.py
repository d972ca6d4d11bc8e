"""For each rule of the kit a plugin that breaks this one alone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from model_checkpoint.hooks import hookimpl


class Whole:
    """Breaks nothing."""

    @hookimpl
    def after_checkpoint_save(self, context, kernel): ...

    @hookimpl
    def before_metric_collection(self, context):
        return {"tags": {"seen": ""}}


class HasAnArgumentOfItsOwn(Whole):
    """Refused by every kernel, so that no rule but the first can even be tried."""

    @hookimpl
    def on_run_end(self, context, reason): ...


class LeavesAHookBehind(Whole):
    @hookimpl
    def on_run_start(self, kernel):
        kernel.hooks.register_hook("left behind", lambda context: None, ["on_run_end"])


class NeedsAStep(Whole):
    @hookimpl
    def on_resume(self, context):
        return context.step + 1


class RefusesTheSecondEpoch(Whole):
    @hookimpl
    def before_checkpoint_save(self, context):
        return context.epoch != 1


class ImprovesTheWeights(Whole):
    @hookimpl
    def before_checkpoint_save(self, context):
        for thing in (context.state or {}).values():
            if hasattr(thing, "values") and isinstance(thing.values, list):
                thing.values.append(1.0)


class DrawsALot(Whole):
    @hookimpl
    def after_checkpoint_save(self, context, kernel):
        random.random()


class RemembersEverything(Whole):
    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    def before_checkpoint_save(self, context):
        self.seen.append(context)


class TakesItsTime(Whole):
    @hookimpl
    def on_checkpoint_staged(self, context):
        time.sleep(0.3)


class BelongsToOneThread(Whole):
    def __init__(self) -> None:
        self.taken = threading.Lock()

    @hookimpl
    def on_metric_threshold(self, context):
        if not self.taken.acquire(blocking=False):
            raise RuntimeError("in use by another thread")
        try:
            time.sleep(0.02)
        finally:
            self.taken.release()


class LeavesAThreadRunning(Whole):
    @hookimpl
    def on_run_end(self, context):
        threading.Thread(target=lambda: time.sleep(2), daemon=True).start()


BROKEN: dict[int, Callable[[], object]] = {
    1: HasAnArgumentOfItsOwn,
    2: LeavesAHookBehind,
    3: NeedsAStep,
    4: RefusesTheSecondEpoch,
    5: ImprovesTheWeights,
    6: DrawsALot,
    7: RemembersEverything,
    8: TakesItsTime,
    9: BelongsToOneThread,
    10: LeavesAThreadRunning,
}
