"""What the parameters of an optimizer carry beside their values: gradients that no step has used, and what is frozen.

::

    backward()                  a gradient                          saved: the next step needs it
    step()                      the same, marked with its version   not saved: zero_grad() comes next
    backward() without zero     of a later version than its mark    saved: an accumulation is under way

So an accumulation that is stopped in its middle goes on bit for bit, and checkpoints between steps do not grow. Where
no mark tells, because no step was taken since the adapter came to life, a gradient is saved.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

PARAMETERS = "parameters"
"""The key of it in an optimizer's state, beside ``state`` and ``param_groups``; torch's own loading ignores it."""
_LISTS = ("frozen", "used")
_MARK = "_model_checkpoint_used"


@cache
def watch_steps() -> None:
    """Mark from now on what every optimizer of this process uses up."""
    register_optimizer_step_post_hook(_mark_gradients)


def capture(optimizer: Optimizer, state: Any) -> dict[str, object]:
    """Return by number what is frozen, whose gradient was used by a step, and the gradients that were not."""
    frozen: list[object] = []
    used: list[object] = []
    gradients: dict[object, Tensor] = {}
    for key, param in numbered(optimizer, state):
        if not param.requires_grad:
            frozen.append(key)
        if param.grad is None:
            continue
        if not _is_used(param.grad):
            gradients[key] = param.grad
        elif param.grad.layout is torch.strided:
            used.append(key)
    return {"frozen": frozen, "used": used, "gradients": gradients}


def check(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, str]:
    """Return what of it cannot be restored, key -> what differs. Checkpoints of earlier versions have none of it."""
    if PARAMETERS not in state:
        return {}
    held, params = state[PARAMETERS], dict(numbered(optimizer, state))
    if not isinstance(held, dict) or not isinstance(held.get("gradients"), dict):
        return {PARAMETERS: "malformed"}
    lists = [held.get(name) for name in _LISTS]
    if not all(isinstance(keys, list) and all(type(key) is int for key in keys) for keys in lists):
        return {PARAMETERS: "malformed"}
    found = ((f"{PARAMETERS}.gradients[{key}]", grad, params.get(key)) for key, grad in held["gradients"].items())
    return {path: why for path, grad, param in found if (why := _difference(grad, param))}


def restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Put gradients and ``requires_grad`` back as they were; what a live gradient held before is gone.

    A gradient that a step had used comes back as zeros: the ``zero_grad()`` that follows makes the same of them. Warns
    where a parameter is frozen that was not, or the other way round.
    """
    held = state.get(PARAMETERS)
    turned: list[object] = []
    for key, param in numbered(optimizer, state):
        param.grad = None
        if held is None:
            continue
        wants = key not in held["frozen"]
        if param.requires_grad is not wants:
            param.requires_grad_(wants)
            turned.append(key)
        if key in held["gradients"]:
            param.grad = held["gradients"][key].detach().clone().to(param.device)
        elif key in held["used"]:
            param.grad = torch.zeros_like(param, requires_grad=False)
            _mark(param.grad)
    if turned:
        warnings.warn(
            f"requires_grad of {len(turned)} parameters is again what it was when the checkpoint was saved (numbers"
            f" {', '.join(map(str, turned[:10]))}{', ...' if len(turned) > 10 else ''} of the optimizer); set it after"
            " the load or resume if it is to differ",
            stacklevel=2,
        )


def numbered(optimizer: Optimizer, state: Any) -> Iterator[tuple[object, Tensor]]:
    """Yield every live parameter with its number in a stored state of as many groups and parameters."""
    for stored, live in zip(state["param_groups"], optimizer.param_groups, strict=True):
        yield from zip(stored["params"], live["params"], strict=True)


def _mark_gradients(optimizer: Optimizer, args: object, kwargs: object) -> None:
    if torch.compiler.is_compiling():  # unmarked gradients are saved, which costs space and loses nothing
        return
    for group in optimizer.param_groups:
        for param in group["params"]:
            if param.grad is not None:
                _mark(param.grad)


def _mark(grad: Tensor) -> None:
    if not grad.is_inference():  # has no version
        setattr(grad, _MARK, grad._version)


def _is_used(grad: Tensor) -> bool:
    return not grad.is_inference() and getattr(grad, _MARK, None) == grad._version


def _difference(grad: object, param: Tensor | None) -> str:
    if param is None:
        return "a gradient of no parameter"
    if not isinstance(grad, Tensor):
        return f"{type(grad).__name__} stored, where a gradient is needed"
    if grad.shape != param.shape:
        return f"shape {tuple(grad.shape)} stored, {tuple(param.shape)} live"
    wanted = getattr(param, "grad_dtype", param.dtype)  # None: any
    return "" if wanted in (None, grad.dtype) else f"{grad.dtype} stored, {wanted} live"
