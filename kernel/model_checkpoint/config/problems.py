"""What is wrong with a configuration: everything at once."""

from __future__ import annotations

from collections.abc import Iterable

from model_checkpoint.errors import ConfigurationError
from model_checkpoint.errors.base import bullet_list


class ConfigProblems(ConfigurationError):
    """A configuration that cannot be used. ``problems`` holds a sentence about each thing that is wrong with it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        one = self.problems[0] if len(self.problems) == 1 else None
        super().__init__(one or f"the configuration has {len(self.problems)} problems:{bullet_list(self.problems)}")
