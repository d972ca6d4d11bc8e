"""When to save, as small values: ``every:500steps | improved:val_loss | before-limit:5m``.

::

    text --parse (expression.lark)--> rules, joined by | & ~ --asked with a Moment--> Decision
                                        |
                                     begin(kernel) --> Cadence, which makes the moments of one training

A rule decides from a moment alone: it reads no clock and remembers nothing. What has to be remembered, the last save,
what saves have cost, a signal that came, is the cadence's, which puts it into the moments.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_checkpoint.cadence.adaptive import Adaptive
    from model_checkpoint.cadence.before_limit import BeforeLimit
    from model_checkpoint.cadence.composition import AllOf, AnyOf, Not, Rule
    from model_checkpoint.cadence.ends import First, Last
    from model_checkpoint.cadence.every import EveryEpochs, EverySeconds, EverySteps
    from model_checkpoint.cadence.expression import ExpressionError, parse
    from model_checkpoint.cadence.improved import Improved
    from model_checkpoint.cadence.on_exception import OnException
    from model_checkpoint.cadence.on_signal import OnSignal
    from model_checkpoint.cadence.preemption import PreemptionSaver
    from model_checkpoint.cadence.signals import SignalWatch
    from model_checkpoint.cadence.training import Cadence

__all__ = [
    "Adaptive",
    "AllOf",
    "AnyOf",
    "BeforeLimit",
    "Cadence",
    "EveryEpochs",
    "EverySeconds",
    "EverySteps",
    "ExpressionError",
    "First",
    "Improved",
    "Last",
    "Not",
    "OnException",
    "OnSignal",
    "PreemptionSaver",
    "Rule",
    "SignalWatch",
    "parse",
]

_NAMES = {
    "adaptive": "Adaptive",
    "before_limit": "BeforeLimit",
    "composition": "AllOf AnyOf Not Rule",
    "ends": "First Last",
    "every": "EveryEpochs EverySeconds EverySteps",
    "expression": "ExpressionError parse",
    "improved": "Improved",
    "on_exception": "OnException",
    "on_signal": "OnSignal",
    "preemption": "PreemptionSaver",
    "signals": "SignalWatch",
    "training": "Cadence",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value
