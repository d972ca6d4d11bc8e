"""URLs of databases, fit to be shown."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"^([^:/?#]*://[^:@/?#]*):.*@")  # up to the last @: an unescaped one may be part of the password
_PARAMETER = re.compile(r"(?i)([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&]*")


def masked(url: str) -> str:
    """Return `url` with ``***`` for its password, and for every parameter whose name says that it is a secret.

    >>> masked("postgresql://ada:s3cret@db.example/runs?sslpassword=t0p&timeout=5")
    'postgresql://ada:***@db.example/runs?sslpassword=***&timeout=5'
    """
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))
