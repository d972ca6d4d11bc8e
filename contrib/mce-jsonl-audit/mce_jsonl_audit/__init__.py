"""An append-only, hash-chained audit trail of every event, and the verifier that finds what was done to it.

>>> from mce_jsonl_audit import verify
>>> verify("checkpoints/audit.jsonl").ok    # doctest: +SKIP
True
"""

from mce_jsonl_audit.trail import Trail
from mce_jsonl_audit.verifier import Anchor, Finding, VerifyReport, head, verify

__all__ = ["Anchor", "Finding", "Trail", "VerifyReport", "head", "verify"]
