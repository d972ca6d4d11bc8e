"""What `resolve` must decide, written once more from the words of the specification: naively, and slowly.

Nothing of the product is used but the values that go in. Requirements are read by `packaging.requirements`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import combinations

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from model_checkpoint.plugins.resolution import Candidate


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Built-ins first, then by name."""
    return sorted((c for c in candidates if c.builtin), key=lambda c: c.name) + sorted(
        (c for c in candidates if not c.builtin), key=lambda c: c.name
    )


def same_name(plugins: list[Candidate], name: str) -> Candidate | None:
    exact = [c for c in plugins if c.name == name]
    alike = [c for c in plugins if canonicalize_name(c.name) == canonicalize_name(name)]
    return (exact or alike or [None])[0]


@cache
def fits(text: str, version: str) -> bool:
    specifier = Requirement(text).specifier
    if not str(specifier):
        return True
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def meeting(plugins: list[Candidate], text: str, asker: Candidate) -> list[str]:
    """The names of those that meet what `asker` requires, whatever becomes of them."""
    if ":" in text:
        return [c.name for c in plugins if text in c.provides]
    target = same_name(plugins, Requirement(text).name)
    if target is None:
        return []
    return [target.name] if target.name == asker.name or fits(text, target.version) else []


class World:
    """Who meets each requirement of each plugin (a capability of its own needs nobody), and who fights whom."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self.plugins = in_order(candidates)
        self.needs = {
            c.name: [meeting(self.plugins, text, c) for text in c.requires if text not in c.provides]
            for c in self.plugins
        }
        self.fights = {
            frozenset([c.name, other])
            for c in self.plugins
            for text in [*c.conflicts, *c.provides]
            for other in meeting(self.plugins, text, c)
            if other != c.name
        }

    def clash(self, names: Iterable[str]) -> bool:
        return any(frozenset(pair) in self.fights for pair in combinations(names, 2))


def is_sound(world: World, chosen: set[str]) -> bool:
    if world.clash(chosen):
        return False
    edges = {name: [[other for other in need if other in chosen] for need in world.needs[name]] for name in chosen}
    if any(not need for wants in edges.values() for need in wants):
        return False
    reached = {name: {other for need in wants for other in need} for name, wants in edges.items()}
    close(reached)
    return not any(name in reached[name] for name in chosen)


def close(reached: dict[str, set[str]]) -> None:
    """Whoever is reached over others is reached (Warshall)."""
    for middle in reached:
        for start in reached:
            if middle in reached[start]:
                reached[start] |= reached[middle]


def subsets(names: list[str]) -> Iterator[set[str]]:
    """All subsets: those with the first name before those without, and so on for the second."""
    if not names:
        yield set()
        return
    for rest in subsets(names[1:]):
        yield {names[0], *rest}
    yield from subsets(names[1:])


def exhaustive(world: World) -> set[str]:
    """The first of all sound subsets."""
    return next(chosen for chosen in subsets([c.name for c in world.plugins]) if is_sound(world, chosen))


def step_by_step(world: World) -> set[str]:
    """The same where every capability has at most one provider that could be loaded: each with all that it requires."""
    dead = set(unmeetable(world, {}))
    accepted: set[str] = set()
    for each in world.plugins:
        if each.name in dead:
            continue
        closure, grows = {each.name}, True
        while grows:
            wanted = {name for member in closure for need in world.needs[member] for name in need}
            grows = not wanted - dead <= closure
            closure |= wanted - dead
        if not world.clash(accepted | closure):
            accepted |= closure
    return accepted


def unmeetable(world: World, refused_before: Mapping[str, str]) -> dict[str, str]:
    """Those that could not be loaded if nobody conflicted, and why: repeat until nothing changes."""
    dead: dict[str, str] = {}
    barred = {canonicalize_name(name) for name in refused_before}

    def own_fault(each: Candidate) -> str:
        faults = set()
        for text in each.requires:
            if text in each.provides or meeting(world.plugins, text, each):
                continue
            if ":" in text:
                faults.add("missing")
            elif same_name(world.plugins, Requirement(text).name):
                faults.add("wrong version")
            else:
                is_barred = canonicalize_name(Requirement(text).name) in barred
                faults.add("requirement refused" if is_barred else "missing")
        return next((fault for fault in ("missing", "wrong version") if fault in faults), "requirement refused")

    changed = True
    while changed:
        changed = False
        for each in world.plugins:
            if each.name not in dead and any(set(need) <= set(dead) for need in world.needs[each.name]):
                dead[each.name] = own_fault(each)
                changed = True
    startable: set[str] = set()
    for _ in world.plugins:
        for each in world.plugins:
            if each.name not in dead and all(set(need) & startable for need in world.needs[each.name]):
                startable.add(each.name)
    stuck = [c.name for c in world.plugins if c.name not in dead and c.name not in startable]
    reached = {
        name: {other for need in world.needs[name] if not set(need) & startable for other in need if other in stuck}
        for name in stuck
    }
    close(reached)
    dead.update({name: "cycle" if name in reached[name] else "requirement refused" for name in stuck})
    return dead


def outcomes(world: World, refused_before: Mapping[str, str], loaded: set[str]) -> dict[str, str]:
    """Why those not in `loaded` are refused."""
    found = unmeetable(world, refused_before)
    for each in world.plugins:
        if each.name not in loaded and each.name not in found:
            rival = any(frozenset([each.name, other]) in world.fights for other in loaded)
            found[each.name] = "conflict" if rival else "requirement refused"
    return found


def is_topological(world: World, order: tuple[str, ...]) -> bool:
    """Whether each comes after all that it requires."""
    for place, name in enumerate(order):
        for need in world.needs[name]:
            (provider,) = [other for other in need if other in order]
            if provider not in order[:place]:
                return False
    return True
