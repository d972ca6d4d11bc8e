"""The plugins that may be loaded, and who is meant when one speaks of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_checkpoint.plugins.requirements import Requirement, RequirementError, normalized, parse
from model_checkpoint.plugins.soundness import Need, Space

Wanted = Requirement | RequirementError
"""A requirement, or what is wrong with the text that should be one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that may be loaded, and what it says of others."""

    name: str
    version: str = ""
    builtin: bool = False
    distribution: str = ""
    provides: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


class Candidates:
    """The candidates, by everything that others call them.

    `refused_before` is that of `resolve`; those in it are *barred* here.
    """

    def __init__(self, candidates: Iterable[Candidate], refused_before: Mapping[str, str]) -> None:
        everybody = sorted(candidates, key=lambda each: (not each.builtin, each.name))
        doubles = sorted(name for name, count in Counter(each.name for each in everybody).items() if count > 1)
        if doubles:
            raise ValueError(f"several candidates have the same name: give each plugin once ({', '.join(doubles)})")
        self.by_name = {each.name: each for each in everybody if each.name not in refused_before}
        self.barred = dict(sorted(refused_before.items()))
        self._names = _by_normalized_name(self.by_name)
        self.barred_names = _by_normalized_name(self.barred)
        self.providers: dict[str, list[str]] = {}
        self.barred_providers: dict[str, str] = {}
        for each in everybody:
            for capability in dict.fromkeys(each.provides):
                if each.name in self.by_name:
                    self.providers.setdefault(capability, []).append(each.name)
                else:
                    self.barred_providers.setdefault(capability, each.name)
        self.wanted = {name: self.options_of_each(each.requires, each) for name, each in self.by_name.items()}
        needs = {name: tuple(options for _, options in wanted) for name, wanted in self.wanted.items()}
        self.space = Space(tuple(self.by_name), needs, self._rivals())

    def options_of_each(self, texts: Iterable[str], asker: Candidate) -> list[tuple[Wanted, Need]]:
        """Return what is required, and who meets it, but for the capabilities that `asker` has itself."""
        every = map(_parsed, texts)
        return [(wanted, self.options(wanted, asker)) for wanted in every if str(wanted) not in asker.provides]

    def options(self, wanted: Wanted, asker: Candidate) -> Need:
        """Return the candidates that meet a requirement."""
        if isinstance(wanted, RequirementError):
            return ()
        if wanted.is_capability:
            return tuple(self.providers.get(wanted.name, ()))
        found = self.find(wanted.name)
        fits = found is not None and (found is asker or wanted.matches(found.version))
        return (found.name,) if found is not None and fits else ()

    def find(self, name: str) -> Candidate | None:
        """Return the candidate that is meant by `name`."""
        return self.by_name.get(name) or self.by_name.get(self._names.get(normalized(name), ""))

    def named(self, text: str, speaker: Candidate) -> set[str]:
        """Return the others that one of a candidate's `conflicts` names."""
        return set(self.options(_parsed(text), speaker)) - {speaker.name}

    def _rivals(self) -> dict[str, set[str]]:
        rivals: dict[str, set[str]] = {name: set() for name in self.by_name}
        for name, each in self.by_name.items():
            for text in each.conflicts:
                for other in self.named(text, each):
                    rivals[name].add(other)
                    rivals[other].add(name)
            for capability in each.provides:
                rivals[name].update(self.providers[capability])
            rivals[name].discard(name)
        return rivals


def _parsed(text: str) -> Wanted:
    try:
        return parse(text)
    except RequirementError as error:
        return error


def _by_normalized_name(names: Iterable[str]) -> dict[str, str]:
    """Return normalized name -> the first of `names` that has it."""
    table: dict[str, str] = {}
    for name in names:
        table.setdefault(normalized(name), name)
    return table
