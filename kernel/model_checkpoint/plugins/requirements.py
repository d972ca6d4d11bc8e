"""Reads what a plugin says of others: ``name``, ``name>=1.2,<2``, or a capability, ``kind:name``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
CAPABILITY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+/-]{0,200}")
_CAPABILITY = re.compile(rf"[a-z][a-z0-9_-]*:{CAPABILITY_NAME.pattern}")
_PLUGIN = re.compile(rf"({NAME.pattern})\s*([<>=!~].*)?")
_RUNS = re.compile(r"[-_.]+")
LONGEST = 500
"""Characters. What is longer is no requirement that anybody wrote."""


class RequirementError(ValueError):
    """A text that is no requirement; the message begins with the text and says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A plugin, perhaps in certain versions, or a capability."""

    name: str
    """The plugin's name, or the whole capability."""
    specifier: str = ""
    """Such as ``>=1.2,<2``; empty where any version will do."""
    is_capability: bool = False

    def __str__(self) -> str:
        return f"{self.name}{self.specifier}"

    def matches(self, version: str) -> bool:
        """Say whether `version` will do."""
        return fits(version, self.specifier)


def parse(text: str) -> Requirement:
    """Return what `text` requires. Raises ``RequirementError``."""
    text = text.strip()
    shown = repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
    if len(text) > LONGEST:
        raise RequirementError(f"{shown} is longer than {LONGEST} characters: write name, name>=1.2 or kind:name")
    if is_capability(text):
        return Requirement(text, is_capability=True)
    found = _PLUGIN.fullmatch(text)
    if found is None:
        raise RequirementError(f"{shown} is no requirement: write name, name>=1.2,<2 or kind:name")
    name, specifier = found[1], "".join((found[2] or "").split())
    if wrong := wrong_specifier(specifier):
        raise RequirementError(f"{shown}: {wrong}")
    return Requirement(name, specifier)


def is_capability(text: str) -> bool:
    """Say whether `text` has the form ``kind:name``."""
    return len(text) <= LONGEST and _CAPABILITY.fullmatch(text) is not None


def wrong_specifier(specifier: str) -> str:
    """Say what is wrong with a version specifier, or return an empty string. An empty one admits every version."""
    if not specifier:
        return ""
    if len(specifier) > LONGEST:
        return f"the version specifier is longer than {LONGEST} characters: write it like '>=1.2,<2'"
    from packaging.specifiers import InvalidSpecifier

    try:
        _specifiers(specifier)
    except InvalidSpecifier:
        return f"{specifier!r} is no version specifier (PEP 440): write it like '>=1.2,<2'"
    return ""


def fits(version: str, specifier: str) -> bool:
    """Say whether a version is one of those that a specifier admits; an empty one admits whatever it is.

    Pre-releases count; what is no version (PEP 440) fits no specifier. Raises packaging's ``InvalidSpecifier``.
    """
    if not specifier:
        return True
    number = _version(version)
    return number is not None and _specifiers(specifier).contains(number, prereleases=True)


def is_version(text: str) -> bool:
    """Say whether `text` is a version as PEP 440 defines one."""
    return _version(text) is not None


def normalized(name: str) -> str:
    """Return the name by which two spellings of one are the same (PEP 503).

    >>> normalized("Old_S3..x")
    'old-s3-x'
    """
    return _RUNS.sub("-", name).lower()


@lru_cache(maxsize=1024)
def _specifiers(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(text)


@lru_cache(maxsize=1024)
def _version(text: str) -> Version | None:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except InvalidVersion:
        return None
