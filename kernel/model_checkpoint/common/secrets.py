"""Secrets by reference: read where they are used, masked wherever they are shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from model_checkpoint.errors import ConfigurationError, SecretNotFoundError

MASK = "***"


class Secret:
    """A secret: ``env:NAME`` and ``file:PATH`` say where it is, anything else is the secret itself.

    It is read at every `reveal`, so that a renewed one is taken over. Shown, it is its reference or ``***``; it is
    not pickled, and JSON does not know it. As the type of a field it is made from text by pydantic.

    >>> Secret("env:AWS_SECRET"), Secret("hunter2"), f"{Secret('hunter2')}"
    (Secret('env:AWS_SECRET'), Secret('***'), '***')
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        given: object = text
        if not isinstance(given, str | Secret):
            raise ConfigurationError(f"a secret is text or a reference such as 'env:NAME', not a {type(text).__name__}")
        self._text: str = given._text if isinstance(given, Secret) else given

    def reveal(self) -> str:
        """Return the secret. Raises `SecretNotFoundError`, which names the reference, where there is none."""
        kind, _, rest = self._text.partition(":")
        if kind == "env":
            value = os.environ.get(rest, "")
            found = "is not set" if rest not in os.environ else "is empty"
        elif kind == "file":
            value, found = _read(rest)
        else:
            return self._text
        if not value:
            raise SecretNotFoundError(f"the secret {self._text} cannot be read: {rest or 'its name'} {found}")
        return value

    def __str__(self) -> str:
        return self._text if is_reference(self._text) else MASK

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} is not pickled: a secret does not leave its process")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        from pydantic_core import core_schema

        text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strict=True))
        return core_schema.union_schema(
            [core_schema.is_instance_schema(cls), text],
            custom_error_type="secret",
            custom_error_message="Input should be text, or a reference such as 'env:NAME'",
            serialization=core_schema.to_string_ser_schema(),
        )


def is_reference(text: str) -> bool:
    """Say whether `text` is where a secret is, and not one itself."""
    return text.startswith(("env:", "file:"))


def _read(path: str) -> tuple[str, str]:
    """Return what the file holds, without the newline at its end, and what is wrong with it."""
    try:
        return Path(path).expanduser().read_text("utf-8").rstrip("\r\n"), "is empty"
    except UnicodeDecodeError:
        return "", "is not text in UTF-8"
    except (OSError, RuntimeError, ValueError) as error:
        return "", f"is not to be read: {getattr(error, 'strerror', None) or error}"
