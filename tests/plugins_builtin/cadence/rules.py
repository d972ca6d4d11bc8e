"""Rules and moments for properties, drawn by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from model_checkpoint.cadence import (
    Adaptive,
    BeforeLimit,
    EveryEpochs,
    EverySeconds,
    EverySteps,
    First,
    Improved,
    Last,
    OnException,
    OnSignal,
    Rule,
)
from model_checkpoint.cadence.on_signal import KNOWN
from model_checkpoint.contracts import Moment

DURATIONS = st.one_of(st.integers(1, 10**7).map(float), st.floats(1e-9, 1e15, allow_subnormal=False))
METRICS = st.one_of(st.sampled_from(["val_loss", "acc", "val/acc top-1"]), st.text(min_size=1, max_size=20))
LEAVES: st.SearchStrategy[Rule] = st.one_of(
    st.builds(EverySteps, st.integers(1, 2**40)),
    st.builds(EveryEpochs, st.integers(1, 100)),
    st.builds(EverySeconds, DURATIONS),
    st.builds(First),
    st.builds(Last),
    st.builds(Improved, METRICS, st.sampled_from(["min", "max"]), st.floats(0, 1e6)),
    st.builds(OnException),
    st.builds(OnSignal, st.lists(st.sampled_from(KNOWN), min_size=1).map(tuple), DURATIONS),
    st.builds(BeforeLimit, DURATIONS, st.none() | DURATIONS),
    st.builds(Adaptive, st.floats(0.001, 100), DURATIONS),
)
RULES: st.SearchStrategy[Rule] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        inner.map(lambda rule: ~rule),
    ),
    max_leaves=8,
)
_SECONDS = st.floats(0, 1e6)
_VALUES = st.dictionaries(st.sampled_from(["val_loss", "acc"]), st.floats(allow_nan=True), max_size=2)
MOMENTS = st.builds(
    Moment,
    step=st.none() | st.integers(0, 10**6),
    epoch=st.none() | st.integers(0, 100),
    since_start_s=_SECONDS,
    since_save_s=_SECONDS,
    saved_step=st.integers(0, 10**6),
    saved_epoch=st.integers(-1, 100),
    save_count=st.integers(0, 3),
    resumed=st.booleans(),
    metrics=_VALUES,
    lowest=_VALUES,
    highest=_VALUES,
    stalls_s=st.lists(_SECONDS, max_size=3).map(tuple),
    writes_s=st.lists(_SECONDS, max_size=3).map(tuple),
    stalled_s=_SECONDS,
    left_s=st.none() | st.floats(-100, 1e6),
    signal=st.sampled_from(["", "SIGTERM", "SIGUSR1"]),
    error=st.sampled_from(["", "ValueError: x"]),
    last=st.booleans(),
)
