"""Decides which plugins can be loaded together, and in which order.

A set of plugins is *sound* when

* everything that one of them requires is in it: the plugin, in a version that fits, or one that provides the capability
  (whoever provides it himself needs no other);
* none of them requires itself, directly or over others;
* no two of them conflict: one names the other, in a version that fits, or a capability of the other, or both provide
  the same one.

The *order* is: built-ins first, then by name. Of all sound sets the first one is loaded: that with the first plugin, if
a sound set has it; of these that with the second plugin, if one has it; and so on. So whoever comes first stays, and
nobody loses to a plugin that could not run anyway. This set is found exactly, with one bound: where capabilities with
several providers are entangled in conflicts, finding it may take trying all combinations, and after
`soundness.STEPS` choices alternatives are tried no more. What is loaded is sound even then, and nothing can be added.

Why another one is refused is the first of these that is true:

1. ``MISSING``: what it requires is not there, or is no requirement at all
2. ``WRONG_VERSION``: a plugin that it requires has a version that does not fit
3. ``REQUIREMENT_REFUSED``: what it requires was refused before, or is refused for one of the reasons 1 to 3
4. ``CYCLE``: it is on a ring of requirements, and nothing outside of rings would do instead
5. ``REQUIREMENT_REFUSED``: what it requires is on such a ring, or leads to one
6. ``CONFLICT``: it conflicts with one that is loaded
7. ``REQUIREMENT_REFUSED``: nothing that is loaded meets one of its requirements

Loading is topological, by name where it is free. `optional` and `after` are added to what is required last, plugin by
plugin in the order, and what would close a loop is left out.

A name is the plugin of exactly that name, else the first with that name after PEP 503: ``state_dict``, ``State-Dict``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from shlex import quote
from types import MappingProxyType

from model_checkpoint.plugins.candidates import Candidate, Candidates, Wanted
from model_checkpoint.plugins.requirements import Requirement, RequirementError, is_version, normalized

__all__ = ["Candidate", "Outcome", "Resolution", "Verdict", "resolve"]

_NONE: Mapping[str, str] = MappingProxyType({})
_LONGEST_RING = 12


class Outcome(StrEnum):
    """What becomes of a candidate."""

    LOADABLE = "loadable"
    MISSING = "missing"
    WRONG_VERSION = "wrong version"
    CONFLICT = "conflict"
    REQUIREMENT_REFUSED = "requirement refused"
    CYCLE = "cycle"


_OWN_FAULTS = [Outcome.MISSING, Outcome.WRONG_VERSION, Outcome.REQUIREMENT_REFUSED]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a plugin is refused: `reason` goes on from its name and says what to do."""

    name: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """Every candidate is in `order` or `refused`; `notes` says what those in `order` go without."""

    order: tuple[str, ...]
    refused: dict[str, Verdict]
    notes: dict[str, tuple[str, ...]]
    needs: dict[str, tuple[str, ...]]
    """For those in `order`: who meets what they require."""


def resolve(
    candidates: Iterable[Candidate],
    refused_before: Mapping[str, str] = _NONE,
) -> Resolution:
    """Return which candidates are loaded, in which order, and why the others are not. The order given does not matter.

    Args:
        candidates: each name once, or ``ValueError`` is raised.
        refused_before: plugin -> why it may not be loaded, such as ``is disabled: mce plugins enable s3``. A candidate
            named here only lends its capabilities to the messages.
    """
    known = Candidates(candidates, refused_before)
    loaded = known.space.first_sound_set()
    refusals = _Refusals(known, loaded)
    needs = {
        name: {option for _, options in known.wanted[name] for option in options if option in loaded} for name in loaded
    }
    order, notes = _ordered(known, needs, refusals)
    return Resolution(
        order,
        dict(sorted(refusals.verdicts.items())),
        notes,
        {name: tuple(sorted(needs[name], key=order.index)) for name in order},
    )


class _Refusals:
    """Why those that are not loaded are not, each with the plugin at the root of it."""

    def __init__(self, known: Candidates, loaded: set[str]) -> None:
        self._known, self._loaded = known, loaded
        space = known.space
        self._able = space.grounded(space.order)
        self._circling = space.possible() - self._able
        self._roots: dict[str, str] = {}
        self.verdicts: dict[str, Verdict] = {}
        waiting = [name for name in space.order if name not in loaded]
        for _ in tuple(waiting):  # a round explains somebody: reasons end at what is missing, a ring, or what is loaded
            for name in waiting:
                self._explain(name)
            waiting = [name for name in waiting if name not in self.verdicts]

    def _explain(self, name: str) -> None:
        known = self._known
        faults = [self.lack(want) for want, options in known.wanted[name] if not options]
        if faults:
            outcome = min((fault for fault, _ in faults), key=_OWN_FAULTS.index)
            self._refuse(name, outcome, "; ".join(f"needs {why}" for _, why in faults))
        elif name in self._circling and (ring := self._ring(name)):
            self._refuse(name, Outcome.CYCLE, _circle(ring))
        elif name in self._able and (rivals := [other for other in known.by_name if self._beats(other, name)]):
            clashes = [f"{self._clash(name, other)}: {_disable(other, name)}" for other in rivals]
            self._refuse(name, Outcome.CONFLICT, "; ".join(clashes))
        else:
            ground = self._loaded if name in self._able else self._able
            for want, options in known.wanted[name]:
                culprit = next((option for option in options if option in self.verdicts), None)
                if culprit is not None and ground.isdisjoint(options):
                    why = f"needs {self.blame(want, culprit)}"
                    self._refuse(name, Outcome.REQUIREMENT_REFUSED, why, self._roots[culprit])
                    return

    def _refuse(self, name: str, outcome: Outcome, reason: str, root: str | None = None) -> None:
        self.verdicts[name] = Verdict(name, outcome, reason)
        self._roots[name] = root or name

    def blame(self, wanted: Wanted, culprit: str) -> str:
        """Say why a requirement is not met by a refused plugin, as a text that goes on after ``needs``."""
        root = self._roots[culprit]
        source = f" from {culprit}" if isinstance(wanted, Requirement) and wanted.is_capability else ""
        chain = "" if root == culprit else f" cannot do without {root}, which"
        return f"{wanted}{source}, which{chain} {self.verdicts[root].reason}"

    def lack(self, wanted: Wanted) -> tuple[Outcome, str]:
        """Say why no candidate meets a requirement: what is wrong, and a text that goes on after ``needs``."""
        if isinstance(wanted, RequirementError):
            return Outcome.MISSING, f"what cannot be read: {wanted}"
        if wanted.is_capability:
            barred = self._known.barred_providers.get(wanted.name)
            if barred is not None:
                why = f"{wanted}, which {barred} provides, and that {self._known.barred[barred]}"
                return Outcome.REQUIREMENT_REFUSED, why
            return Outcome.MISSING, f"{wanted}, which nothing here provides: install the distribution that has it"
        found, barred = self._known.find(wanted.name), self._known.barred_names.get(normalized(wanted.name))
        if found is not None:
            shown = found.version if is_version(found.version) else f"{found.version!r}, which is no version (PEP 440)"
            return Outcome.WRONG_VERSION, f"{wanted}, found {shown}: {_upgrade(found.distribution, wanted)}"
        if barred is not None:
            return Outcome.REQUIREMENT_REFUSED, f"{wanted}, which {self._known.barred[barred]}"
        return Outcome.MISSING, f"{wanted}, which is not installed: install the distribution that has it"

    def _clash(self, one: str, other: str) -> str:
        """Say why two rivals conflict, as a text that goes on after the first one's name."""
        for speaker, target, says in ((one, other, "it says itself"), (other, one, f"{other} says")):
            for text in self._known.by_name[speaker].conflicts:
                if target in self._known.named(text, self._known.by_name[speaker]):
                    return f"conflicts with {other}, as {says} ({text!r})"
        shared = next(each for each in self._known.by_name[one].provides if each in self._known.by_name[other].provides)
        return f"conflicts with {other}, for both provide {shared}"

    def _beats(self, other: str, name: str) -> bool:
        return other in self._loaded and other in self._known.space.rivals[name]

    def _ring(self, name: str) -> list[str]:
        def next_ones(at: str) -> list[str]:
            unmet = [need for need in self._known.space.needs[at] if self._able.isdisjoint(need)]
            return [option for need in unmet for option in need if option in self._circling]

        return _path(name, name, next_ones)


def _ordered(
    known: Candidates, needs: Mapping[str, set[str]], refusals: _Refusals
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the order of loading those that have `needs`, and what they go without."""
    loaded, before = needs.keys(), {name: set(others) for name, others in needs.items()}
    notes: dict[str, list[str]] = {name: [] for name in loaded}

    def soften(name: str, texts: Iterable[str], *, optional: bool) -> None:
        for wanted, options in known.options_of_each(texts, known.by_name[name]):
            here = next((option for option in options if option in loaded), None)
            if here is not None:
                way = [here] if here == name else _path(here, name, lambda at: sorted(before[at]))
                if way:
                    notes[name].append(f"is not loaded after {here}, for that would be a loop: {_drawn([name, *way])}")
                else:
                    before[name].add(here)
            elif isinstance(wanted, RequirementError):
                notes[name].append(str(wanted))
            elif optional:
                lack = refusals.blame(wanted, options[0]) if options else refusals.lack(wanted)[1]
                notes[name].append(f"goes without {lack}")

    for name in known.space.order:
        if name in loaded:
            soften(name, known.by_name[name].optional, optional=True)
            soften(name, known.by_name[name].after, optional=False)
    return _sorted_by_need(before), {name: tuple(texts) for name, texts in sorted(notes.items()) if texts}


def _sorted_by_need(before: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Return all names, each after those before it, and by name where that leaves a choice."""
    sorter = TopologicalSorter(before)
    sorter.prepare()
    ready: list[str] = []
    order: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, name)
        order.append(heappop(ready))
        sorter.done(order[-1])
    return tuple(order)


def _path(start: str, goal: str, edges: Callable[[str], Iterable[str]]) -> list[str]:
    """Return a shortest way of at least one step from `start` to `goal`, with both, or nothing."""
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        at = queue.popleft()
        for each in edges(at):
            if each == goal:
                way = [goal, at]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if each not in came_from:
                came_from[each] = at
                queue.append(each)
    return []


def _drawn(ring: list[str]) -> str:
    """Draw a ring, which begins and ends with the same name."""
    if len(ring) > _LONGEST_RING:
        ring = [*ring[: _LONGEST_RING - 2], f"({len(ring) - _LONGEST_RING + 1} more)", ring[-1]]
    return " -> ".join(ring)


def _circle(ring: list[str]) -> str:
    """Say that plugins require one another; each of them gets the same drawing."""
    first = ring.index(min(ring))
    if len(ring) == 2:
        return f"requires itself, {_drawn(ring)}: its author has to take that out of its plugin.toml"
    drawing = _drawn([*ring[first:-1], *ring[:first], ring[first]])
    return f"is on a ring of requirements, {drawing}: one of them has to do without the next, tell its author"


def _upgrade(distribution: str, wanted: Requirement) -> str:
    if not distribution:
        return "give it a version that fits"
    return f"pip install -U {quote(f'{distribution}{wanted.specifier}')}"


def _disable(one: str, other: str) -> str:
    return f"keep {other} by mce plugins disable {quote(one)}, or {one} by mce plugins disable {quote(other)}"
