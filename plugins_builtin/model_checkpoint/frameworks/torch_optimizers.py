"""Captures and restores optimizers bit for bit; torch's own loading casts their state to the parameters' dtype."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from model_checkpoint.contracts import Mismatches
from model_checkpoint.frameworks import torch_gradients
from model_checkpoint.frameworks.torch_objects import another_kind, wrong_kind

_BY_SCHEDULERS = frozenset(
    {"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr", "params", "param_names"}
)
"""What schedulers, and torch for named parameters, add to groups; the live optimizer may not have them yet."""
_SHAPED_LIKE_PARAMETERS = frozenset(
    {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "acc_delta"}
    | {"sum", "ax", "prev", "step_size"}
)
"""Names under which the optimizers of torch keep one number for each number of a parameter."""


class Optimizers:
    """``torch.optim.Optimizer`` and what inherits from it."""

    def capture(self, obj: Optimizer) -> object:
        """Return ``state_dict()``, integer keys, settings and live tensors, and what `torch_gradients` adds to it."""
        state: Any = obj.state_dict()
        if not _has_numbers(obj, state):  # a class with a form of its own
            return state
        return {**state, torch_gradients.PARAMETERS: torch_gradients.capture(obj, state)}

    def check(self, obj: Optimizer, state: object) -> Mismatches:
        """Compare the groups, the number of their parameters, their settings, and the shapes of the state."""
        groups = state.get("param_groups") if isinstance(state, dict) else None
        if not isinstance(state, dict) or not isinstance(groups, list) or not isinstance(state.get("state"), dict):
            return wrong_kind(state, "state dict with 'state' and 'param_groups'")
        if len(groups) != len(obj.param_groups):
            return _mismatch("param_groups", f"{len(groups)} groups stored, {len(obj.param_groups)} live")
        sizes = [(_count(stored), len(live["params"])) for stored, live in zip(groups, obj.param_groups, strict=True)]
        wrong = {
            f"param_groups[{n}].params": f"{a} parameters stored, {b} live" for n, (a, b) in enumerate(sizes) if a != b
        }
        if wrong:
            return Mismatches(mismatched=wrong)
        if not groups:
            return Mismatches()
        found = another_kind(obj.param_groups[0], groups[0], prefix="param_groups[0].", ignored=_BY_SCHEDULERS)
        mismatched = {**dict(_wrong_shapes(obj, state)), **torch_gradients.check(obj, state)}
        return Mismatches(found.missing, found.unexpected, mismatched)

    def restore_into(self, obj: Optimizer, state: Any, *, strict: bool) -> None:
        """Load, then put back what torch has cast, and the gradients; with ``strict=False`` only where all of it fits.

        What is made here is trained on later, so it is made outside of an inference mode that the caller may be in.
        """
        if not strict and self.check(obj, state):
            return
        with torch.inference_mode(False):
            obj.load_state_dict({key: value for key, value in state.items() if key != torch_gradients.PARAMETERS})
            loaded: dict[Any, Any] = obj.state
            for key, param in _parameters(obj, state):
                place, stored = key if param is None else param, state["state"][key]
                held = loaded.get(place)
                if isinstance(held, dict) and isinstance(stored, dict) and held.keys() == stored.keys():
                    loaded[place] = _exact(stored, held)
            torch_gradients.restore(obj, state)


def _has_numbers(obj: Optimizer, state: object) -> bool:
    groups = state.get("param_groups") if isinstance(state, dict) else None
    live = [len(group["params"]) for group in obj.param_groups]
    return isinstance(groups, list) and [_count(group) for group in groups] == live


def _parameters(obj: Optimizer, state: dict[str, Any]) -> Iterator[tuple[object, Tensor | None]]:
    """Yield every key of the stored state with its live parameter, or None for state that belongs to no parameter."""
    by_key = dict(torch_gradients.numbered(obj, state))
    yield from ((key, by_key.get(key)) for key in state["state"])


def _exact(stored: Any, loaded: Any) -> Any:
    """Return `stored` on the devices that torch chose for `loaded`, in memory that nobody else holds."""
    if isinstance(stored, Tensor):
        if not isinstance(loaded, Tensor):
            return stored.clone()
        apart = loaded.untyped_storage().data_ptr() != stored.untyped_storage().data_ptr()
        return loaded if loaded.dtype == stored.dtype and apart else stored.clone().to(loaded.device)
    if isinstance(stored, dict):
        held = loaded if isinstance(loaded, dict) else {}
        return {key: _exact(value, held.get(key)) for key, value in stored.items()}
    if isinstance(stored, list | tuple):
        same = isinstance(loaded, list | tuple) and len(loaded) == len(stored)
        pairs = zip(stored, loaded if same else [None] * len(stored), strict=True)
        items = [_exact(value, other) for value, other in pairs]
        return items if isinstance(stored, list) else tuple(items)
    return stored


def _wrong_shapes(obj: Optimizer, state: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, param in _parameters(obj, state):
        stored = state["state"][key]
        if not isinstance(param, Tensor) or not isinstance(stored, dict):
            continue
        for name, value in stored.items():
            shapes = (tuple(value.shape), tuple(param.shape)) if isinstance(value, torch.Tensor) else ((), ())
            if name in _SHAPED_LIKE_PARAMETERS and shapes[0] != shapes[1]:
                yield f"state[{key}].{name}", f"shape {shapes[0]} stored, {shapes[1]} live"


def _count(group: object) -> int:
    params = group.get("params") if isinstance(group, dict) else None
    return len(params) if isinstance(params, list) else -1


def _mismatch(key: str, why: str) -> Mismatches:
    return Mismatches(mismatched={key: why})
