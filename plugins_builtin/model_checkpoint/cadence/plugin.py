"""The plugin ``cadence``: provides the kinds of rule, and ``expression``, which joins those of all plugins."""

from __future__ import annotations

from typing import Any, cast

from model_checkpoint.cadence.composition import Rule
from model_checkpoint.cadence.kinds import KINDS
from model_checkpoint.contracts import SaveDecisionDescriptor
from model_checkpoint.hooks import hookimpl


@hookimpl
def register_save_decisions(kernel: object) -> list[SaveDecisionDescriptor]:
    """Provide every kind, and what reads whole expressions."""

    def create(text: str) -> Rule:
        from model_checkpoint.cadence.expression import parse  # lark is not imported before something is to be read

        return parse(text, cast("Any", kernel).plugins.provided.others["register_save_decisions"] if kernel else None)

    summary = "any of them joined by | & ~, as in every:500steps | improved:val_loss"
    return [*KINDS.values(), SaveDecisionDescriptor("expression", create, summary)]
