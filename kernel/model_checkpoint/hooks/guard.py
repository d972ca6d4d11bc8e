"""What stands around a hook function between pluggy and the one who wrote it.

::

    pluggy -> adapter -> (watchers) -> condition -> time limit -> function
                |
                +-- a result: False is a veto, a dict changes the starred fields, anything else is collected
                +-- Veto: the operation stops with OperationVetoed
                +-- an error: counted, logged, told to on_plugin_error, and swallowed, unless the hook says abort

Everything that can be decided once is decided when the adapter is made; a call pays for what its hook uses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol

from pluggy import Result

from model_checkpoint.errors import ContextFieldError, OperationVetoed, Veto
from model_checkpoint.hooks.contexts import Context, snapshot
from model_checkpoint.hooks.specs import EVENTS
from model_checkpoint.hooks.stats import FOLD_AT

if TYPE_CHECKING:
    from model_checkpoint.hooks.record import HookRecord

PASSING = (KeyboardInterrupt, GeneratorExit)
"""All else is isolated: neither ``sys.exit`` nor a library's own BaseException in a hook ends a training."""
Call = Callable[[Context], object]
_AFTER = "after_plugin_execute"
_UNWATCHED = frozenset({"before_plugin_execute", _AFTER, "on_plugin_error"})


class Owner(Protocol):
    """What the guard needs of the hook manager."""

    watched: bool
    """Whether anybody listens to before or after_plugin_execute."""

    def call_timed(self, call: Call, context: Context, timeout_s: float) -> object: ...

    def call_async(self, record: HookRecord, call: Callable[[], Any]) -> object: ...

    def call_later(self, record: HookRecord, call: Call, context: Context) -> None: ...

    def failed(self, record: HookRecord, error: BaseException) -> None: ...

    def may_execute(self, record: HookRecord) -> bool: ...

    def executed(self, record: HookRecord, outcome: str, duration_s: float) -> None: ...


def guarded(owner: Owner, record: HookRecord, function: Call) -> Call:
    """Return what pluggy calls for a plain hook. Raises ``OperationVetoed``, and errors that are not isolated."""
    call = _limited(owner, record, _conditional(record, _awaited(owner, record, function)))
    tally, fold_at = record.tally, FOLD_AT
    durations, note = tally.durations_ns, tally.durations_ns.append
    now, watchable = perf_counter_ns, record.hook not in _UNWATCHED

    def adapter(context: Context, *, watching: bool = watchable) -> object:
        if watching and owner.watched:
            return _watched(owner, record, lambda given: adapter(given, watching=False), context)
        started = now()
        try:
            result = call(context)
            if result is not None:
                result = _settle(record, context, result)
        except PASSING:
            raise
        except BaseException as error:
            note(now() - started)
            _handle(owner, record, error)
            return None
        note(now() - started)
        if tally.consecutive:
            tally.consecutive = 0
        if len(durations) >= fold_at:
            tally.fold()
        return None if result is _SKIPPED else result

    if record.options.priority >= 100:

        def later(context: Context) -> None:
            owner.call_later(record, _alone(adapter), snapshot(context))

        return later
    return adapter


def guarded_wrapper(
    owner: Owner, record: HookRecord, function: Callable[[Context], Generator[Any, Any, object]]
) -> Call:
    """Return what pluggy calls for a wrapper: one that yields exactly once, whatever the function does."""
    tally, old_style = record.tally, record.kind == "hookwrapper"

    def adapter(context: Context) -> Generator[None, object, object]:
        started = perf_counter_ns()
        inner: Generator[Any, Any, object] | None = None
        try:
            if all(condition(context) for condition in record.conditions):
                inner = function(context)
                next(inner)
            else:
                tally.skipped += 1
        except StopIteration:
            inner = None
            _handle(owner, record, RuntimeError("the wrapper did not yield: it must do so exactly once"))
        except PASSING:
            raise
        except BaseException as error:
            inner = None
            _handle(owner, record, error)
        paused = perf_counter_ns()
        result: object = None
        raised: BaseException | None = None
        try:
            result = yield
        except BaseException as error:  # of the operation's own hooks, for the wrapper to see
            raised = error
        if inner is None:
            return _given(result, raised)
        resumed = perf_counter_ns()
        try:
            outcome = _resume(inner, result, raised, old_style)
            tally.consecutive = 0
            return outcome
        except PASSING:
            raise
        except BaseException as error:
            if error is not raised:
                _handle(owner, record, error)
            return _given(result, raised)
        finally:
            tally.durations_ns.append(paused - started + perf_counter_ns() - resumed)

    return adapter


def answering(owner: Owner, record: HookRecord, function: Callable[..., object], names: tuple[str, ...]) -> Call:
    """Return what pluggy calls for a hook that gives an answer: counted, awaited where it is async, never isolated."""

    def call(**arguments: object) -> object:
        started = perf_counter_ns()
        try:
            if record.is_async:
                return owner.call_async(record, lambda: function(**arguments))
            return function(**arguments)
        except BaseException:
            record.tally.errors += 1
            raise
        finally:
            record.tally.durations_ns.append(perf_counter_ns() - started)

    # pluggy hands over what the adapter's own parameters are called
    passed = ", ".join(f"{name}={name}" for name in names)
    adapter: Call = eval(f"lambda call: lambda {', '.join(names)}: call({passed})")(call)
    return adapter


_SKIPPED = object()


def _awaited(owner: Owner, record: HookRecord, function: Call) -> Call:
    if not record.is_async:
        return function
    return lambda context: owner.call_async(record, lambda: function(context))


def _conditional(record: HookRecord, call: Call) -> Call:
    if not record.conditions:
        return call
    conditions, tally = record.conditions, record.tally

    def checked(context: Context) -> object:
        for condition in conditions:
            if not condition(context):
                tally.skipped += 1
                return _SKIPPED
        return call(context)

    return checked


def _limited(owner: Owner, record: HookRecord, call: Call) -> Call:
    timeout_s = record.options.timeout_s
    if timeout_s is None or record.is_async:  # a coroutine's limit is kept by its loop
        return call
    limit_s = timeout_s
    return lambda context: owner.call_timed(call, context, limit_s)


def _settle(record: HookRecord, context: Context, result: object) -> object:
    """Take a result for what it means: False a veto, a mapping changes of the starred fields."""
    if result is False and context._vetoable:
        raise Veto("it returned False")
    if isinstance(result, Mapping) and context._writable:
        context.update(result)
    return result


def _handle(owner: Owner, record: HookRecord, error: BaseException) -> None:
    """Count and tell a failure, or raise what the operation must see."""
    if isinstance(error, Veto):
        spec = EVENTS.get(record.hook)
        if spec is not None and spec.veto:
            raise OperationVetoed(record.hook, record.plugin, error.reason) from error
        error = ContextFieldError(f"{record.hook} cannot be vetoed: it tells what has happened already")
    owner.failed(record, error)


def _alone(adapter: Call) -> Call:
    """Keep a background hook from ending the thread it runs on."""

    def quiet(context: Context) -> None:
        with contextlib.suppress(BaseException):  # told already; there is no operation left to veto or to abort
            adapter(context)

    return quiet


def _watched(owner: Owner, record: HookRecord, guard: Call, context: Context) -> object:
    if not owner.may_execute(record):
        record.tally.skipped += 1
        owner.executed(record, "skipped", 0.0)
        return None
    tally = record.tally
    errors, timeouts, started, outcome = tally.errors, tally.timeouts, perf_counter_ns(), "ok"
    try:
        return guard(context)
    except OperationVetoed:
        outcome = "veto"
        raise
    finally:
        if tally.timeouts > timeouts:
            outcome = "timeout"
        elif tally.errors > errors:
            outcome = "error"
        owner.executed(record, outcome, (perf_counter_ns() - started) / 1e9)


def _given(result: object, raised: BaseException | None) -> object:
    if raised is not None:
        raise raised
    return result


def _resume(
    inner: Generator[Any, Any, object], result: object, raised: BaseException | None, old_style: bool
) -> object:
    """Let the wrapper end, and return what it makes of the outcome."""
    outcome: Result[object] = Result(None if raised else result, raised)
    try:
        if old_style:
            inner.send(outcome)
        elif raised is not None:
            inner.throw(raised)
        else:
            inner.send(result)
    except StopIteration as end:
        return outcome.get_result() if old_style else end.value
    inner.close()
    raise RuntimeError("the wrapper yielded twice: it must do so exactly once")
