"""Finds the first sound set of plugins, as `resolution` defines it, among names with needs and rivals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

STEPS = 10_000
"""How many choices are tried for all plugins together: some tenths of a second for 90 that are all entangled."""
Need = tuple[str, ...]
"""Those that would meet a requirement, first come first. Any two of them are rivals, so a sound set has one."""


@dataclass(frozen=True, slots=True)
class Space:
    """What is known of the plugins that may be chosen."""

    order: tuple[str, ...]
    needs: Mapping[str, tuple[Need, ...]]
    rivals: Mapping[str, Set[str]]
    """Whom each conflicts with, on both sides."""

    def possible(self) -> set[str]:
        """Return those whose every requirement can be met, conflicts and rings aside."""
        left = set(self.order)
        while lost := {name for name in left if any(left.isdisjoint(need) for need in self.needs[name])}:
            left -= lost
        return left

    def grounded(self, among: Iterable[str], base: Set[str] = frozenset()) -> set[str]:
        """Return those that can be loaded one after the other, each when all that it requires is: no rings."""
        done, left = set(base), list(among)
        while True:
            later = []
            for name in left:
                if any(done.isdisjoint(need) for need in self.needs[name]):
                    later.append(name)
                else:
                    done.add(name)
            if len(later) == len(left):
                return done - base
            left = later[::-1]  # so a long chain takes two rounds, whichever way it runs

    def first_sound_set(self) -> set[str]:
        """Return the sound set that has the first plugin in the order, if one has it, then the second, and so on.

        ::

            taken     decided: in the set
            refused   decided: no sound set has it together with those taken
            witness   a sound set with all of those taken and none refused; when all are decided, it is the set
        """
        able, taken, refused = self.grounded(self.order), set[str](), set[str]()
        witness: frozenset[str] = frozenset()
        steps = iter(range(STEPS))
        for name in self.order:
            if name in able and name not in witness:
                allowed = able - refused
                larger = self._completed(witness, {name}, allowed)
                if larger is None and self.rivals[name].isdisjoint(taken):
                    larger = self._completed(frozenset(), taken | {name}, allowed, steps)
                witness = witness if larger is None else larger
            (taken if name in witness else refused).add(name)
        while more := next((name for name in self.order if name in refused & able and self._fits(name, taken)), None):
            taken.add(more)  # only after the steps were used up
            refused.remove(more)
        return taken

    def _fits(self, name: str, taken: Set[str]) -> bool:
        met = not any(taken.isdisjoint(need) for need in self.needs[name])
        return met and taken.isdisjoint(self.rivals[name])

    def _completed(
        self, base: frozenset[str], fresh: Set[str], allowed: Set[str], steps: Iterator[int] | None = None
    ) -> frozenset[str] | None:
        """Return a sound set with `base`, which is sound, and `fresh`, or None.

        With `steps`, all alternatives are tried until these are used up; without, only the first one of each.
        """
        start = base | fresh
        if any(not self.rivals[name].isdisjoint(start) for name in fresh):
            return None
        stack = [(start, [need for name in fresh for need in self.needs[name]])]
        while stack and (steps is None or next(steps, None) is not None):
            chosen, open_needs = stack.pop()
            open_needs = [need for need in open_needs if chosen.isdisjoint(need)]
            if not open_needs:
                if self.grounded(chosen - base, base) == chosen - base:
                    return chosen
                continue
            choices = (self._choices(need, chosen, allowed) for need in open_needs)
            fewest = min(choices, key=len)  # what is forced, or impossible, comes before what is free
            tried = fewest[:1] if steps is None else reversed(fewest)  # from the top of the stack: the first one first
            stack.extend((chosen | {name}, [*open_needs, *self.needs[name]]) for name in tried)
        return None

    def _choices(self, need: Need, chosen: Set[str], allowed: Set[str]) -> list[str]:
        return [name for name in need if name in allowed and self.rivals[name].isdisjoint(chosen)]
