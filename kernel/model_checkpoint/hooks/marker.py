"""How a plugin's functions are marked as hook implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar, overload

import pluggy

from model_checkpoint.hooks.events import HookEvent, HookPriority
from model_checkpoint.hooks.specs import PROJECT

F = TypeVar("F", bound=Callable[..., object])
OnError = Literal["isolate", "abort"]
OPTIONS = f"{PROJECT}_options"
"""The attribute that carries `HookOptions` on a marked function."""
CONDITIONS = f"{PROJECT}_conditions"
"""The attribute that carries the conditions of ``@conditional_hook``."""


class HookOptions(NamedTuple):
    """How one hook is to be called."""

    events: tuple[HookEvent, ...] = ()
    """The events that a handler method listens to; a hookimpl says it by its name."""
    priority: int = HookPriority.NORMAL
    timeout_s: float | None = None
    on_error: OnError = "isolate"


class _Hookimpl:
    """Marks a function as a hook implementation: ``@hookimpl`` or ``@hookimpl(priority=HookPriority.HIGH)``.

    The function's name is that of the event, and it takes the arguments it wants: ``context``, ``kernel``.

    Args:
        priority: when it is called among others, see `HookPriority`.
        timeout: seconds after which the operation goes on without it.
        on_error: ``isolate`` or ``abort``: whether an error of it ends the operation.
        tryfirst, trylast: the first of ``HIGH``, the last of ``LOW``.
        wrapper, hookwrapper, optionalhook, specname: as in pluggy.
    """

    def __init__(self) -> None:
        self._mark = pluggy.HookimplMarker(PROJECT)

    @overload
    def __call__(self, function: F) -> F: ...

    @overload
    def __call__(
        self,
        *,
        priority: int = ...,
        timeout: float | None = ...,
        on_error: OnError = ...,
        tryfirst: bool = ...,
        trylast: bool = ...,
        wrapper: bool = ...,
        hookwrapper: bool = ...,
        optionalhook: bool = ...,
        specname: str | None = ...,
    ) -> Callable[[F], F]: ...

    def __call__(
        self,
        function: F | None = None,
        *,
        priority: int = HookPriority.NORMAL,
        timeout: float | None = None,
        on_error: OnError = "isolate",
        tryfirst: bool = False,
        trylast: bool = False,
        wrapper: bool = False,
        hookwrapper: bool = False,
        optionalhook: bool = False,
        specname: str | None = None,
    ) -> F | Callable[[F], F]:
        def mark(marked: F) -> F:
            self._mark(
                tryfirst=tryfirst,
                trylast=trylast,
                wrapper=wrapper,
                hookwrapper=hookwrapper,
                optionalhook=optionalhook,
                specname=specname,
            )(marked)
            setattr(marked, OPTIONS, HookOptions((), priority, timeout, on_error))
            return marked

        return mark if function is None else mark(function)


hookimpl = _Hookimpl()
