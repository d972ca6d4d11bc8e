"""Captures and restores torch's modules, generators, tensors, schedulers, scalers and the like."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from model_checkpoint.contracts import Mismatches
from model_checkpoint.frameworks.state_dict_adapter import differences
from model_checkpoint.frameworks.torch_memory import carrier

_WRAPPERS = {
    "module.": "DistributedDataParallel or DataParallel, whose model is wrapped.module",
    "_orig_mod.": "torch.compile, whose model is compiled._orig_mod",
    "module._orig_mod.": "DistributedDataParallel around torch.compile",
    "_orig_mod.module.": "torch.compile around DistributedDataParallel",
}


class Modules:
    """``nn.Module``: its ``state_dict()``, copied in place into the parameters that are there."""

    def capture(self, obj: nn.Module) -> object:
        """Return the state dict; its tensors are the live ones."""
        return obj.state_dict()

    def check(self, obj: nn.Module, state: object) -> Mismatches:
        """Compare keys, shapes and dtypes."""
        if not isinstance(state, dict):
            return wrong_kind(state, "state dict")
        live = obj.state_dict()
        missing, unexpected = tuple(k for k in live if k not in state), tuple(k for k in state if k not in live)
        mismatched = {k: why for k, value in live.items() if k in state and (why := difference(state[k], value))}
        mismatched |= {k: why for k, why in _torn_ties(state, live).items() if k not in mismatched}
        if hint := _wrapper_hint(missing, unexpected):
            mismatched[""] = hint
        return Mismatches(missing, unexpected, mismatched)

    def restore_into(self, obj: nn.Module, state: Any, *, strict: bool) -> None:
        """Copy in place; with ``strict=False`` only the keys that fit."""
        fitting = state
        if not strict and isinstance(state, dict):
            found = self.check(obj, state)
            fitting = state.copy()  # keeps the versions of modules that torch hangs on a state dict
            for key in (*found.unexpected, *found.mismatched):
                fitting.pop(key, None)
        if strict or isinstance(state, dict):
            with _mode_of(*obj.parameters(), *obj.buffers()):
                obj.load_state_dict(fitting, strict=strict)


class Tensors:
    """A tensor given as the place to restore into."""

    def capture(self, obj: Tensor) -> object:
        """Return the tensor itself."""
        return obj

    def check(self, obj: Tensor, state: object) -> Mismatches:
        """Compare shape and dtype."""
        why = difference(state, obj)
        return Mismatches(mismatched={"": why} if why else {})

    def restore_into(self, obj: Tensor, state: Any, *, strict: bool) -> None:
        """Copy in place, bit for bit."""
        if not self.check(obj, state):
            with torch.no_grad(), _mode_of(obj):
                carrier(obj.detach()).copy_(carrier(state.detach()))


class Generators:
    """``torch.Generator``."""

    def capture(self, obj: torch.Generator) -> object:
        """Return its state, drawing nothing."""
        return {"device": obj.device.type, "state": obj.get_state()}

    def check(self, obj: torch.Generator, state: object) -> Mismatches:
        """Compare the kind of device and the size of the state."""
        if not isinstance(state, dict) or not isinstance(state.get("state"), Tensor):
            return wrong_kind(state, "generator's state")
        stored, live = (state.get("device"), tuple(state["state"].shape)), (obj.device.type, _shape_of_state(obj))
        return Mismatches(mismatched={} if stored == live else {"": f"device and size {stored} stored, {live} live"})

    def restore_into(self, obj: torch.Generator, state: Any, *, strict: bool) -> None:
        """Set the state."""
        if strict or not self.check(obj, state):
            obj.set_state(state["state"])


class Others:
    """Schedulers, scalers and whatever else of torch has ``state_dict()`` and ``load_state_dict()``."""

    def capture(self, obj: Any) -> object:
        """Return ``obj.state_dict()``."""
        return obj.state_dict()

    def check(self, obj: Any, state: object) -> Mismatches:
        """Compare what is known of schedulers and scalers; leave the rest to the object."""
        if isinstance(obj, torch.amp.GradScaler) and isinstance(state, dict):
            live = obj.state_dict()
            return Mismatches(tuple(k for k in live if k not in state), tuple(k for k in state if k not in live))
        if not isinstance(obj, torch.optim.lr_scheduler.LRScheduler):
            return Mismatches(mismatched=differences(obj, state))
        if not isinstance(state, dict):
            return wrong_kind(state, "state dict")
        live = obj.state_dict()
        if found := another_kind(live, state):
            return found
        counted = ("base_lrs", "min_lrs", "_schedulers", "lr_lambdas")
        sizes = {key: (len(state[key]), len(live[key])) for key in counted if key in live and key in state}
        return Mismatches(mismatched={k: f"{a} entries stored, {b} live" for k, (a, b) in sizes.items() if a != b})

    def restore_into(self, obj: Any, state: Any, *, strict: bool) -> None:
        """Load a copy: schedulers keep what they are given, and change it."""
        if strict or not self.check(obj, state):
            with torch.inference_mode(False):
                obj.load_state_dict(deepcopy(state))


def _mode_of(*tensors: Tensor) -> torch.inference_mode:
    """Return the mode in which they can be written into, whatever mode the caller is in."""
    return torch.inference_mode(any(not nn.parameter.is_lazy(each) and each.is_inference() for each in tensors))


def wrong_kind(state: object, wanted: str) -> Mismatches:
    """Return that `state` is something else altogether."""
    return Mismatches(mismatched={"": f"{type(state).__name__} stored, where a {wanted} is needed"})


def another_kind(
    live: Collection[str], stored: Collection[str], *, prefix: str = "", ignored: Collection[str] = ()
) -> Mismatches:
    """Return the keys in which two states differ, where each has some that the other lacks: they are of two classes.

    A difference in one direction is that of two versions of torch, which the class itself bridges.
    """
    missing = tuple(f"{prefix}{key}" for key in live if key not in stored and key not in ignored)
    unexpected = tuple(f"{prefix}{key}" for key in stored if key not in live and key not in ignored)
    return Mismatches(missing, unexpected) if missing and unexpected else Mismatches()


def difference(stored: object, live: object) -> str:
    """Return how a stored tensor differs from a live one in kind, or an empty string."""
    if not isinstance(live, Tensor):
        return ""
    if not isinstance(stored, Tensor):
        return f"{type(stored).__name__} stored, a tensor live"
    if live.is_meta:
        return "the live one is on the meta device: give the module memory first, with to_empty(device=...)"
    if nn.parameter.is_lazy(live):  # takes its shape from what is loaded
        return ""
    for what in ("shape", "dtype", "layout"):
        a, b = (_word(getattr(tensor, what)) for tensor in (stored, live))
        if a != b:
            return f"{what} {a} stored, {b} live"
    if live.layout is torch.strided and _is_expanded(live):
        return "the live one is expanded and cannot be written into: give it memory of its own with .clone()"
    return ""


def _is_expanded(tensor: Tensor) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def _torn_ties(state: dict[str, object], live: dict[str, object]) -> dict[str, str]:
    """Return the keys of live tensors that are one and the same, where the stored ones are two: one would be lost."""
    first: dict[object, str] = {}
    torn: dict[str, str] = {}
    for key, value in live.items():
        if key not in state or not isinstance(value, Tensor) or not _has_memory(value):
            continue
        place = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        other = first.setdefault(place, key)
        if other != key and not _same_bits(state[key], state[other]):
            torn[key] = f"tied to {other} in the live model, and the two differ in the checkpoint"
    return torn


def _has_memory(tensor: Tensor) -> bool:
    if tensor.is_meta or nn.parameter.is_lazy(tensor) or tensor.layout is not torch.strided:
        return False
    return tensor.numel() > 0


def _same_bits(one: object, other: object) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(carrier(one.detach()), carrier(other.detach()))


def _word(value: object) -> str:
    return str(tuple(value)) if isinstance(value, torch.Size) else str(value).removeprefix("torch.")


def _shape_of_state(generator: torch.Generator) -> tuple[int, ...]:
    return tuple(generator.get_state().shape)


def _wrapper_hint(missing: tuple[str, ...], unexpected: tuple[str, ...]) -> str:
    if not missing or not unexpected:
        return ""
    for prefix, wrapper in _WRAPPERS.items():
        if {prefix + key for key in missing} == set(unexpected):
            return f"saved from {wrapper}: pass a model that is wrapped in the same way, or save the one inside"
        if {prefix + key for key in unexpected} == set(missing):
            return f"the live model is wrapped by {wrapper}, the stored one is not: pass the one inside"
    return ""
