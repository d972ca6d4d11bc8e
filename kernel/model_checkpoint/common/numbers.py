"""What may be a metric: its name, its value, its step, and which of two values is the better one."""

from __future__ import annotations

import contextlib
import operator
import re
from typing import Literal

from model_checkpoint.errors import MetricError

MAX_METRIC_NAME_LENGTH = 500
MAX_STEP = 2**63 - 1
"""What databases hold. A larger step, once buffered, would let every later write of its run fail."""
_SMALLER_IS_BETTER = frozenset(
    {"loss", "error", "err", "perplexity", "ppl", "mse", "mae", "rmse", "wer", "cer", "nll", "bpb"}
)
_LARGER_IS_BETTER = frozenset(
    {"acc", "accuracy", "f1", "auc", "auroc", "precision", "recall", "bleu", "rouge", "map", "iou", "dice"}
    | {"reward", "return", "r2", "psnr", "ssim", "score"}
)
_TURNED_ROUND = frozenset({"neg", "negative"})  # scikit-learn's neg_mean_squared_error: larger is better
_SEPARATORS = re.compile(r"[/_.-]")
_DATES_AND_SPANS = ("M", "m")  # numpy's kinds whose item() is an int of nanoseconds: a number by accident


def as_metric_value(name: object, value: object) -> float | int:
    """Return `value` as a plain number: an int of any size, or a float with NaN and the infinities among them.

    Takes int, float, bool (as 0 or 1), numpy scalars, and arrays and tensors of zero dimensions of any framework, which
    are read with ``.item()``. Raises ``MetricError``, with the metric's name, for anything else, and for a `name` that
    is not a string of 1 to 500 characters.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_METRIC_NAME_LENGTH:
        raise MetricError(_bad_name(name))
    kind = type(value)
    if kind is float or kind is int:
        return value  # type: ignore[return-value]  # mypy does not narrow by type()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return _item(name, value)


def checked_step(step: object, what: str = "step") -> int | None:
    """Return `step` as None or an int from 0 to 2**63 - 1: numpy's and torch's integers are taken, floats are not.

    Raises ``MetricError`` that calls it `what`.
    """
    if step is None:
        return None
    hint = f"convert it with int({what})"
    with contextlib.suppress(TypeError):  # a float, a string, a tensor of several elements
        number = None if isinstance(step, bool) else operator.index(step)  # type: ignore[arg-type]
        if number is not None and 0 <= number <= MAX_STEP:
            return number
        hint = hint if number is None else "count from 0"
    raise MetricError(f"{what}={_shown(step)} ({_kind(step)}) is neither None nor an int from 0 to 2**63 - 1: {hint}")


def metric_mode(name: str) -> Literal["min", "max"] | None:
    """Return the better direction of a metric as its name tells it, or None where it is unclear or contradictory.

    A name that ends in ``loss`` means ``min``, as in Transformers; any other word counts where it is a whole part
    between ``/ _ - .``, in either case of letters. ``neg`` makes it unclear: people mean both things by it.

    >>> metric_mode("val/accuracy"), metric_mode("train_loss"), metric_mode("zeta"), metric_mode("error_score")
    ('max', 'min', None, None)
    """
    lowered = name.lower()
    parts = set(_SEPARATORS.split(lowered))
    smaller = lowered.endswith("loss") or not parts.isdisjoint(_SMALLER_IS_BETTER)
    larger = not parts.isdisjoint(_LARGER_IS_BETTER)
    if smaller == larger or not parts.isdisjoint(_TURNED_ROUND):
        return None
    return "min" if smaller else "max"


def _item(name: str, value: object) -> float | int:
    item, shape = getattr(value, "item", None), getattr(value, "shape", None)
    if item is None or shape is None:
        raise MetricError(f"metric {name!r} is no number: {_shown(value)} ({_kind(value)}). {_advice(value)}")
    if tuple(shape) != ():
        raise MetricError(
            f"metric {name!r} is no single number: a {_kind(value)} of shape {tuple(shape)}."
            " Reduce it first, for instance with .mean(), or call .item() on its one element"
        )
    dtype_kind = getattr(getattr(value, "dtype", None), "kind", "")
    try:
        number = item()
        if dtype_kind == "f":
            number = float(number)  # the item() of a long double is a long double again
    except Exception as error:  # a framework's own: a tensor without data, a device that is gone
        raise MetricError(f"metric {name!r} cannot be read from a {_kind(value)}: {error}") from error
    if not isinstance(number, (int, float)) or dtype_kind in _DATES_AND_SPANS:
        raise MetricError(f"metric {name!r} is no number: {_shown(value)} ({_kind(value)}). {_advice(number)}")
    return int(number) if isinstance(number, bool) else number


def _bad_name(name: object) -> str:
    if not isinstance(name, str):
        found = f"{_shown(name)} ({_kind(name)})"
    else:
        found = f"a string of {len(name)} characters ({_shown(name)})"
    return f"a metric's name is {found}: give a string of 1 to {MAX_METRIC_NAME_LENGTH} characters, such as 'val_loss'"


def _advice(value: object) -> str:
    if value is None:
        return "Leave it out, or give float('nan') where a value is missing"
    if isinstance(value, complex):
        return "Record abs(value), or its parts as two metrics"
    return "Give an int, a float, or a tensor or array of one number; float(value) converts what holds one"


def _kind(value: object) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # a repr of someone else's that fails, or an int of more than 4300 digits
        return f"<{_kind(value)}>"
    return text if len(text) <= 80 else text[:77] + "..."
