"""The whole surface that plugins can extend, one function each.

======================  ==============================================================================
`specs.core`            the kernel, experiments and runs, checkpoints, integrity, records
`specs.insight`         metrics, selection, cloud, notifications, retention
`specs.surfaces`        REST, configuration, plugins, performance, migration, dashboards
`specs.answers`         what plugins provide, and the decisions that they may take
======================  ==============================================================================

An implementation takes the arguments it wants, by name. ``context`` is the event's own; ``kernel`` is the `Kernel`.
"""

from model_checkpoint.hooks.specs import answers, core, insight, surfaces
from model_checkpoint.hooks.specs.marks import ANSWERS, EVENTS, PROJECT, EventSpec, FieldSpec

NAMESPACES = (core, insight, surfaces, answers)

__all__ = ["ANSWERS", "EVENTS", "NAMESPACES", "PROJECT", "EventSpec", "FieldSpec"]
