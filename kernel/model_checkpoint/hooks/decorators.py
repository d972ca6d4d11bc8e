"""Marks for the functions and methods of training scripts.

All but `retry_on_failure` only attach a note to the function and return it unchanged, so their order does not matter.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from model_checkpoint.errors import HookRegistrationError, Veto
from model_checkpoint.hooks.checks import checked_events, checked_options, definition
from model_checkpoint.hooks.events import HookEvent, HookPriority
from model_checkpoint.hooks.marker import CONDITIONS, OPTIONS, HookOptions, OnError

F = TypeVar("F", bound=Callable[..., object])


def hook_handler(
    events: Iterable[HookEvent | str] | HookEvent | str,
    *,
    priority: int = HookPriority.NORMAL,
    timeout: float | None = None,
    on_error: OnError = "isolate",
) -> Callable[[F], F]:
    """Let a method hear `events`, once its object is given to ``register_object_hooks``.

    The method takes the context. `timeout` is in seconds. Raises ``UnknownEventError``, ``HookRegistrationError``.
    """
    options = HookOptions(checked_events(events), priority, timeout, on_error)
    checked_options(options)

    def mark(function: F) -> F:
        setattr(function, OPTIONS, options)
        return function

    return mark


def async_hook_handler(
    events: Iterable[HookEvent | str] | HookEvent | str,
    *,
    priority: int = HookPriority.NORMAL,
    timeout: float | None = None,
    on_error: OnError = "isolate",
) -> Callable[[F], F]:
    """Let an ``async def`` method hear `events`; `hook_handler` that refuses anything else."""
    mark = hook_handler(events, priority=priority, timeout=timeout, on_error=on_error)

    def mark_async(function: F) -> F:
        is_async = inspect.iscoroutinefunction(function)
        if not is_async:
            raise HookRegistrationError(
                f"@async_hook_handler is for async functions\ndefinition: {definition(function)}\n"
                "write it as 'async def', or use @hook_handler"
            )
        return mark(function)

    return mark_async


def conditional_hook(condition: Callable[[Any], object]) -> Callable[[F], F]:
    """Call the function only where ``condition(context)`` is true; several conditions must all be true.

    A condition that raises counts as a failure of the hook.
    """

    def mark(function: F) -> F:
        setattr(function, CONDITIONS, (*getattr(function, CONDITIONS, ()), condition))
        return function

    return mark


def retry_on_failure(
    attempts: int = 3, *, delay: float = 0.1, backoff: float = 2.0, only: type[Exception] = Exception
) -> Callable[[F], F]:
    """Call the function again when it raises: at most `attempts` times in all.

    `delay` is the pause in seconds before the second attempt; each later pause is `backoff` times as long. A ``Veto``
    is an answer, and is not tried again. The error of the last attempt is raised.
    """
    if attempts < 1 or delay < 0 or backoff <= 0:
        raise HookRegistrationError(
            f"retry_on_failure(attempts={attempts}, delay={delay}, backoff={backoff}) cannot be: attempts is at least"
            " 1, delay at least 0 seconds, backoff greater than 0"
        )
    pauses_s = [delay * backoff**n for n in range(attempts - 1)]

    def wrap(function: F) -> F:
        again: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def again_async(*args: object, **kwargs: object) -> object:
                from asyncio import sleep

                for pause_s in pauses_s:
                    try:
                        return await function(*args, **kwargs)
                    except only as error:
                        _give_up_on_answers(error)
                        await sleep(pause_s)
                return await function(*args, **kwargs)

            again = again_async
        else:

            @functools.wraps(function)
            def again_sync(*args: object, **kwargs: object) -> object:
                for pause_s in pauses_s:
                    try:
                        return function(*args, **kwargs)
                    except only as error:
                        _give_up_on_answers(error)
                        time.sleep(pause_s)
                return function(*args, **kwargs)

            again = again_sync
        result: F = again
        return result

    return wrap


def _give_up_on_answers(error: Exception) -> None:
    if isinstance(error, Veto):
        raise error
