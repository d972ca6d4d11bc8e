"""What all rules have in common, and the three ways in which they are joined: ``a | b``, ``a & b``, ``~a``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_checkpoint.contracts import Decision, Moment, SaveDecision

if TYPE_CHECKING:
    from model_checkpoint.cadence.training import Cadence


class Rule:
    """A save decision that joins others. Its subclasses are frozen dataclasses with a `text` and a `decide`."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """The rule as `parse` reads it."""
        raise NotImplementedError

    def decide(self, moment: Moment) -> Decision:
        """Say whether to save at this moment."""
        raise NotImplementedError

    def leaves(self) -> Iterator[Rule]:
        """Yield the rules that this one is made of, none of which is joined of others."""
        yield self

    def begin(self, kernel: object = None, clock: Callable[[], float] = time.monotonic) -> Cadence:
        """Begin to be asked in a training. See `Cadence.begin`."""
        from model_checkpoint.cadence.training import Cadence

        return Cadence.begin(self, kernel, clock)

    def __or__(self, other: SaveDecision) -> Rule:
        return any_of(self, as_rule(other)) if _decides(other) else NotImplemented

    def __ror__(self, other: SaveDecision) -> Rule:
        return any_of(as_rule(other), self) if _decides(other) else NotImplemented

    def __and__(self, other: SaveDecision) -> Rule:
        return all_of(self, as_rule(other)) if _decides(other) else NotImplemented

    def __rand__(self, other: SaveDecision) -> Rule:
        return all_of(as_rule(other), self) if _decides(other) else NotImplemented

    def __invert__(self) -> Rule:
        return Not(self)

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, repr=False)
class AnyOf(Rule):
    """Saves where one of its rules does. Made with ``a | b``."""

    rules: tuple[Rule, ...]

    @property
    def text(self) -> str:
        """The rules with ``|`` between them."""
        return " | ".join(rule.text for rule in self.rules)

    def leaves(self) -> Iterator[Rule]:
        """Yield those of each rule."""
        for rule in self.rules:
            yield from rule.leaves()

    def decide(self, moment: Moment) -> Decision:
        """Say yes with the reasons of those that do, else no with everybody's."""
        answers = [rule.decide(moment) for rule in self.rules]
        yes = [answer for answer in answers if answer.save]
        return _joined(bool(yes), yes or answers)


@dataclass(frozen=True, slots=True, repr=False)
class AllOf(Rule):
    """Saves where all of its rules do. Made with ``a & b``."""

    rules: tuple[Rule, ...]

    @property
    def text(self) -> str:
        """The rules with ``&`` between them."""
        return " & ".join(f"({rule.text})" if isinstance(rule, AnyOf) else rule.text for rule in self.rules)

    def leaves(self) -> Iterator[Rule]:
        """Yield those of each rule."""
        for rule in self.rules:
            yield from rule.leaves()

    def decide(self, moment: Moment) -> Decision:
        """Say yes with everybody's reasons, else no with the reasons of those that do not."""
        answers = [rule.decide(moment) for rule in self.rules]
        no = [answer for answer in answers if not answer.save]
        return _joined(not no, no or answers)


@dataclass(frozen=True, slots=True, repr=False)
class Not(Rule):
    """Saves where its rule does not. Made with ``~a``."""

    rule: Rule

    @property
    def text(self) -> str:
        """The rule behind ``~``."""
        joined = isinstance(self.rule, AnyOf | AllOf)
        return f"~({self.rule.text})" if joined else f"~{self.rule.text}"

    def leaves(self) -> Iterator[Rule]:
        """Yield those of the rule."""
        return self.rule.leaves()

    def decide(self, moment: Moment) -> Decision:
        """Say the opposite, for the same reason."""
        answer = self.rule.decide(moment)
        return Decision(not answer.save, f"not ({answer.reason})")


@dataclass(frozen=True, slots=True, repr=False)
class Plugged(Rule):
    """A decision that another plugin provides, or a script."""

    decision: SaveDecision

    @property
    def text(self) -> str:
        """What it says of itself."""
        return str(self.decision)

    def decide(self, moment: Moment) -> Decision:
        """Ask it."""
        return self.decision.decide(moment)


def as_rule(decision: SaveDecision) -> Rule:
    """Return `decision` as something that can be joined."""
    return decision if isinstance(decision, Rule) else Plugged(decision)


def any_of(*rules: Rule) -> Rule:
    """Return the rules joined by ``|``, without brackets that change nothing."""
    flat = [each for rule in rules for each in (rule.rules if isinstance(rule, AnyOf) else (rule,))]
    return AnyOf(tuple(flat)) if len(flat) > 1 else flat[0]


def all_of(*rules: Rule) -> Rule:
    """Return the rules joined by ``&``, without brackets that change nothing."""
    flat = [each for rule in rules for each in (rule.rules if isinstance(rule, AllOf) else (rule,))]
    return AllOf(tuple(flat)) if len(flat) > 1 else flat[0]


def _decides(other: object) -> bool:
    return callable(getattr(other, "decide", None)) and not isinstance(other, type)


def _joined(save: bool, answers: list[Decision]) -> Decision:
    return Decision(
        save, "; ".join(answer.reason for answer in answers), save and any(answer.urgent for answer in answers)
    )
