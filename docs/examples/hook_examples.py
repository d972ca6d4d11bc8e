"""Hooks in every form, and every rule that they can rely on. Run it, and read it beside what it prints.

    python docs/examples/hook_examples.py

Nothing is written to disk: the records are in memory, and so are the checkpoints.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings

from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
from model_checkpoint.hooks import (
    BaseHook,
    HookEvent,
    HookPriority,
    Veto,
    async_hook_handler,
    hook_handler,
    retry_on_failure,
)
from model_checkpoint.hooks.decorators import conditional_hook
from model_checkpoint.kernel import hookimpl

logging.getLogger("model_checkpoint").setLevel(logging.ERROR)  # a failing hook is a warning in the log
SAVE, SAVED = HookEvent.BEFORE_CHECKPOINT_SAVE, HookEvent.AFTER_CHECKPOINT_SAVE

manager = EnhancedCheckpointManager("sqlite:///:memory:", storage_backend="memory", experiment="hooks", quiet=True)
hooks = manager.hook_manager


def chapter(title: str) -> None:
    """Print a heading and forget the hooks of the chapter before."""
    for line in hooks.stats():
        hooks.unregister_hook(line.plugin) if line.plugin.startswith(("ex-", "My")) else None
    print(f"\n{title}")


def save(epoch: int = 0, **metrics: float) -> str | None:
    """Save a state worth nothing."""
    return manager.save_checkpoint(state={"weights": [0.1, epoch]}, epoch=epoch, metrics=metrics)


chapter("A function, registered by name")


def validate_checkpoint(context) -> bool:
    """Refuse a checkpoint whose accuracy is not a number."""
    return context.metrics.get("accuracy", 0.0) == context.metrics.get("accuracy", 0.0)


manager.register_hook("ex-validation", validate_checkpoint, [SAVE], priority=HookPriority.HIGH)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print("  a number:", save(accuracy=0.9))
    print("  not a number:", save(accuracy=float("nan")), "-", caught[0].message)


chapter("An object whose methods are handlers")


class MyHooks(BaseHook):
    """Announces checkpoints, every tenth epoch in a special way."""

    @hook_handler([SAVED], priority=HookPriority.LOW)
    def saved(self, context) -> None:
        """Announce it."""
        print(f"  saved epoch {context.epoch}, {context.nbytes_written} bytes")

    @hook_handler([SAVED])
    @conditional_hook(lambda context: context.epoch % 10 == 0)
    def every_tenth(self, context) -> None:
        """Celebrate it."""
        print("  a tenth epoch!")


hooks.register_object_hooks(MyHooks())
save(9), save(10)


chapter("A plugin: functions that carry the name of their event")


class Stamp:
    """Tags every checkpoint."""

    @hookimpl(priority=HookPriority.CRITICAL)
    def before_checkpoint_save(self, context, kernel) -> dict:
        """Return the fields to change."""
        return {"tags": {**context.tags, "stamped-by": kernel.config.storage.backend}}


manager.kernel.plugins.add(Stamp())
print("  tags:", dict(manager.get_checkpoint(save()).tags))
hooks.unregister(name="Stamp")


chapter("Order: by priority, then first come, first served")
for name, priority in {
    "low": HookPriority.LOW,
    "critical": HookPriority.CRITICAL,
    "normal": HookPriority.NORMAL,
}.items():
    manager.register_hook(f"ex-{name}", lambda context, name=name: print("  " + name), [SAVED], priority=priority)
save()


chapter("Registering a name again replaces it, as when a notebook cell is run twice")
for attempt in (1, 2):
    manager.register_hook("ex-cell", lambda context, attempt=attempt: print(f"  cell, run {attempt}"), [SAVED])
save()


chapter("Three ways to say no")


def no_by_raising(context) -> None:
    """Say why."""
    raise Veto("the loss is NaN")


for name, refuse in {
    "ex-raise": no_by_raising,
    "ex-method": lambda context: context.veto("too early"),
    "ex-false": lambda context: False,
}.items():
    manager.register_hook(name, refuse, [SAVE])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert save() is None
    print("  " + str(caught[0].message))
    hooks.unregister_hook(name)


chapter("An error is isolated, counted, and told; five in a row switch the hook off")
manager.register_hook("ex-broken", lambda context: 1 / 0, [SAVED])
manager.register_hook(
    "ex-told", lambda context: print(f"  {context.plugin}: {context.error}, {context.consecutive} in a row"),
    [HookEvent.ON_PLUGIN_ERROR], condition=lambda context: context.consecutive in (1, 5),
)  # fmt: skip
for epoch in range(6):
    assert save(epoch) is not None
print("  switched off:", next(line.quarantined for line in hooks.stats() if line.plugin == "ex-broken"))


chapter("Only where the hook says so does its error end the operation")
manager.register_hook("ex-strict", lambda context: 1 / 0, [SAVE], on_error="abort")
try:
    save()
except ZeroDivisionError as error:
    print(f"  {type(error).__name__}: {error} ({error.__notes__[0]})")


chapter("A time limit: what is late costs its limit and changes nothing")
manager.register_hook("ex-hangs", lambda context: time.sleep(1), [SAVED], timeout=0.05)
started = time.perf_counter()
save()
print(f"  one second of sleep cost {'less than half' if time.perf_counter() - started < 0.5 else 'too much'}")


chapter("In the background: never blocks, and sees a snapshot without live objects")


def upload(context) -> None:
    """Pretend to be slow."""
    time.sleep(0.05)
    print(f"  uploaded epoch {context.epoch}, model in sight: {context.get('model') is not None}")


manager.register_hook("ex-upload", upload, [SAVE], priority=HookPriority.BACKGROUND)
save(3)
print("  the save is back already")
hooks.flush(5)


chapter("Async hooks: awaited from sync code, and on your own loop from async code")


class MyAsyncHooks(BaseHook):
    """Talks to something far away."""

    @async_hook_handler([SAVED, HookEvent.ON_METRIC_THRESHOLD], timeout=5)
    async def tell(self, context) -> None:
        """Wait as a network would."""
        await asyncio.sleep(0.01)
        print(f"  told of {context.event}")


hooks.register_object_hooks(MyAsyncHooks())
save()
asyncio.run(hooks.afire(HookEvent.ON_METRIC_THRESHOLD, metric_name="val_loss", value=0.1))


chapter("Trying again")
attempts = []


@retry_on_failure(attempts=3, delay=0.01)
def flaky(context) -> None:
    """Fail twice."""
    attempts.append(1)
    if len(attempts) < 3:
        raise ConnectionError("not yet")


manager.register_hook("ex-flaky", flaky, [SAVED])
save()
print(f"  succeeded at attempt {len(attempts)}")


chapter("A wrapper stands around all plain hooks of its event")


class MyWrapper:
    """Sees what the others said."""

    @hookimpl(wrapper=True)
    def before_checkpoint_save(self, context):
        """Yield exactly once."""
        print("  before them")
        results = yield
        print(f"  after them: {results}")
        return results


hooks.register_object_hooks(MyWrapper())
manager.register_hook("ex-says", lambda context: "fine with me", [SAVE])
save()


chapter("A decision: the first answer that is not None counts")


class MyNames:
    """Names checkpoints after their epoch."""

    @hookimpl
    def make_checkpoint_id(self, context) -> str | None:
        """Name every hundredth."""
        return f"milestone-{context.epoch}" if context.epoch % 100 == 0 and context.epoch else None


hooks.register_object_hooks(MyNames())
print(" ", save(100))


chapter("Every hook has its statistics")
for line in hooks.stats():
    if line.plugin == "performance" and line.hook == SAVED:
        print(
            f"  {line.plugin} on {line.hook}: {'many' if line.calls > 20 else line.calls} calls, {line.errors} errors"
        )
manager.close()
