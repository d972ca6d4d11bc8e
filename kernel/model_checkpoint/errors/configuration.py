"""What was asked for cannot be had: names, URLs, and which kernel or run is meant."""

from __future__ import annotations

from collections.abc import Iterable

from model_checkpoint.errors.base import CheckpointEngineError, bullet_list


class ConfigurationError(CheckpointEngineError, ValueError):
    """A setting or argument that cannot be used."""


class ConfigProblems(ConfigurationError):
    """A configuration that cannot be used. ``problems`` holds a sentence about each thing that is wrong with it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        one = self.problems[0] if len(self.problems) == 1 else None
        super().__init__(one or f"the configuration has {len(self.problems)} problems:{bullet_list(self.problems)}")


class SecretNotFoundError(ConfigurationError, LookupError):
    """A secret that is not where its reference says."""


def _offer(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"Known: {', '.join(names) or 'none'}{hint}"


class UnknownBackendError(ConfigurationError, LookupError):
    """No plugin provides a storage backend of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(f"no storage backend named {name!r}. {_offer(name, self.known)}")


class UnknownSchemeError(ConfigurationError, LookupError):
    """No plugin provides a record store for the scheme of a database URL."""

    def __init__(self, scheme: str, known: Iterable[str]) -> None:
        self.scheme, self.known = scheme, tuple(sorted(known))
        super().__init__(
            f"no record store for database URLs that begin with {scheme!r}. {_offer(scheme, self.known)}"
            " An embedded database is written as sqlite:///experiments.db"
        )


class InvalidNameError(ConfigurationError):
    """A name, id, tag or run that cannot be used as one."""


class KernelError(CheckpointEngineError, RuntimeError):
    """The kernel cannot do that in its present state."""


class NoKernelError(KernelError):
    """Something needs an open kernel and none is open."""


class AmbiguousKernelError(KernelError):
    """Several kernels are open and the call does not say which one it means."""


class KernelClosedError(KernelError):
    """The kernel was closed before this call."""


class RunInUseError(KernelError):
    """Another live process is writing to this run."""
