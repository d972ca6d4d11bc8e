"""The kinds of rule that are built in, by the word that they begin with."""

from __future__ import annotations

from model_checkpoint.cadence import adaptive, before_limit, ends, every, improved, on_exception, on_signal
from model_checkpoint.contracts import SaveDecisionDescriptor

KINDS = {
    each.name: each
    for each in (
        SaveDecisionDescriptor("every", every.create, "every n steps or epochs, or so long after the last save"),
        SaveDecisionDescriptor("first", ends.create_first, "when a fresh training first asks"),
        SaveDecisionDescriptor("last", ends.create_last, "at the step that the training says is its last"),
        SaveDecisionDescriptor("improved", improved.create, "when a metric is better than in every save so far"),
        SaveDecisionDescriptor("on-exception", on_exception.create, "when an exception ends the training"),
        SaveDecisionDescriptor("on-signal", on_signal.create, "at the first step after SIGTERM, SIGINT or SIGUSR1"),
        SaveDecisionDescriptor("before-limit", before_limit.create, "once before the job's time is over"),
        SaveDecisionDescriptor("adaptive", adaptive.create, "as often as it pays, within a budget"),
    )
}
