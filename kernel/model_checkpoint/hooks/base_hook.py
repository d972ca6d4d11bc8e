"""The base for objects whose methods are hooks."""

from __future__ import annotations


class BaseHook:
    """An object whose ``@hook_handler`` methods are registered together by ``register_object_hooks``.

    >>> from model_checkpoint.hooks import BaseHook, HookEvent, hook_handler
    >>> class Announce(BaseHook):
    ...     @hook_handler([HookEvent.AFTER_CHECKPOINT_SAVE])
    ...     def saved(self, context):
    ...         print("saved", context.checkpoint_id)
    """

    @property
    def name(self) -> str:
        """What its hooks are registered under; registering another object of that name replaces this one."""
        return type(self).__name__
