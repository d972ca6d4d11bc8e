"""What a load and a resume tell about themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class LoadReport(Mapping[str, object]):
    """The loaded states by name (``report["model"]``), and how the load went."""

    checkpoint_id: str
    epoch: int | None
    step: int | None
    metrics: Mapping[str, float]
    verified: str
    """How deep it was checked: ``full`` is SHA-256 over every byte."""
    fell_back_from: tuple[str, ...]
    """Damaged checkpoints that were passed over, the newest first."""
    missing: tuple[str, ...]
    """Keys that the objects want and the checkpoint lacks, such as ``model.head.weight``."""
    unexpected: tuple[str, ...]
    """Keys that the checkpoint has and the objects do not know."""
    mismatched: Mapping[str, str]
    """Key -> what differs."""
    nbytes: int
    duration_s: float
    states: Mapping[str, object] = field(repr=False)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> object:
        if name not in self.states:
            raise KeyError(f"the checkpoint has no {name!r}; it has {', '.join(self.states) or 'nothing'}")
        return self.states[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True, slots=True)
class ResumeReport:
    """Where a training goes on. False in a condition when there was nothing to resume."""

    run_name: str
    checkpoint_id: str | None = None
    epoch: int | None = None
    step: int = 0
    """Of the loaded checkpoint; 0 when fresh."""
    next_epoch: int = 0
    """The first epoch that still has work: the checkpoint's own where it was taken in the middle of it."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    """Newer checkpoints that were passed over, with the reason."""
    load: LoadReport | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.checkpoint_id is not None

    def __str__(self) -> str:
        if not self:
            return f"{self.run_name}: a fresh start"
        passed = f"; passed over {len(self.skipped)} damaged" if self.skipped else ""
        epoch = "" if self.epoch is None else f"epoch {self.epoch}, "
        return f"{self.run_name}: resumed from {self.checkpoint_id} ({epoch}step {self.step}){passed}"
