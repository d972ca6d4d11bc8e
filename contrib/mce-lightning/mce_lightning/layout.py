"""How a checkpoint of Lightning is told to the engine, and back: the weights are ``model``, as everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NAMES = {"state_dict": "model", "optimizer_states": "optimizer", "lr_schedulers": "scheduler"}
"""Lightning's key -> the engine's name."""
REST = "lightning"
"""Everything else: loops, callbacks, hyper-parameters, what ``on_save_checkpoint`` added."""


def to_objects(checkpoint: Mapping[str, Any]) -> dict[str, object]:
    """Return the objects to save."""
    objects: dict[str, object] = {name: checkpoint[key] for key, name in NAMES.items() if key in checkpoint}
    objects[REST] = {key: value for key, value in checkpoint.items() if key not in NAMES}
    return objects


def to_checkpoint(states: Mapping[str, object]) -> dict[str, Any]:
    """Return the checkpoint as Lightning dumped it."""
    rest = states.get(REST)
    found: dict[str, Any] = dict(rest) if isinstance(rest, dict) else {}
    return found | {key: states[name] for key, name in NAMES.items() if name in states}


def monitored(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that checkpoint callbacks watch, as they stand in the checkpoint itself."""
    found: dict[str, float] = {}
    callbacks = checkpoint.get("callbacks")
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        name = state.get("monitor") if isinstance(state, Mapping) else None
        if isinstance(name, str) and (value := number(state.get("current_score"))) is not None:
            found[name] = value
    return found


def number(value: object) -> float | None:
    """Return a float where `value` is a number or a tensor with one; None for anything else."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None


def whole(value: object) -> int | None:
    """Return an int where `value` is a count, else None."""
    found = number(value)
    return int(found) if found is not None and math.isfinite(found) and found >= 0 else None
