"""Hooks: every event of the engine is a pluggy hookspec, and everything that listens is registered in one place.

>>> from model_checkpoint.hooks import HookEvent, HookManager
>>> hooks = HookManager()
>>> hooks.register_hook("shout", lambda context: print("crossed", context.metric_name), [HookEvent.ON_METRIC_THRESHOLD])
'shout'
>>> report = hooks.fire(HookEvent.ON_METRIC_THRESHOLD, metric_name="val_loss", value=0.1)
crossed val_loss
"""

from model_checkpoint.errors import OperationVetoed, Veto
from model_checkpoint.hooks.base_hook import BaseHook
from model_checkpoint.hooks.contexts import Context
from model_checkpoint.hooks.decorators import async_hook_handler, conditional_hook, hook_handler, retry_on_failure
from model_checkpoint.hooks.events import HookEvent, HookPriority
from model_checkpoint.hooks.manager import FireReport, HookManager
from model_checkpoint.hooks.marker import hookimpl
from model_checkpoint.hooks.stats import HookStats

__all__ = [
    "BaseHook",
    "Context",
    "FireReport",
    "HookEvent",
    "HookManager",
    "HookPriority",
    "HookStats",
    "OperationVetoed",
    "Veto",
    "async_hook_handler",
    "conditional_hook",
    "hook_handler",
    "hookimpl",
    "retry_on_failure",
]
