"""Measures what an event costs that is recorded: alone, synced, and with other processes at the same trail.

python contrib/mce-jsonl-audit/benchmark.py [--events 2000]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mce_jsonl_audit import verify
from mce_jsonl_audit.plugin import AuditConfig, AuditPlugin

from model_checkpoint.hooks import HookEvent, HookManager

FIELDS = {
    "run_name": "digits-7",
    "checkpoint_id": "digits-7-e0004-s000350-3f",
    "file_path": Path("/data/checkpoints/runs/digits-7/latest"),
    "epoch": 4,
    "step": 350,
    "loss": 0.31,
    "val_loss": 0.29,
    "metrics": {"accuracy": 0.91, "f1": 0.9, "val_loss": 0.29, "train_loss": 0.31},
    "best_for": ("val_loss",),
    "nbytes": 123_456_789,
    "nbytes_written": 23_456_789,
    "checksum": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "backend": "vault",
    "duration_s": 0.41,
}
OTHER = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from benchmark import hooks
manager = hooks(sys.argv[1])
print("ready", flush=True)
while True:
    manager.fire("after_checkpoint_save", run_name="other")
"""


def hooks(path: str, **config: bool) -> HookManager:
    """Return a hook manager with the plugin in it."""
    manager = HookManager()
    manager.register(AuditPlugin(AuditConfig(path=path, max_file_nbytes=0, **config)), "jsonl-audit")
    return manager


def cost_us(manager: HookManager, events: int) -> tuple[float, float]:
    """Return median and 99th percentile of firing one event, in microseconds."""
    taken = []
    for _ in range(events):
        started = time.perf_counter_ns()
        manager.fire(HookEvent.AFTER_CHECKPOINT_SAVE, **FIELDS)
        taken.append((time.perf_counter_ns() - started) / 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=2000)
    events = parser.parse_args().events
    print("| one `after_checkpoint_save` | median, µs | 99 %, µs |\n|---|---:|---:|")

    def row(name: str, manager: HookManager, count: int) -> None:
        cost_us(manager, min(count, 100))
        median, high = cost_us(manager, count)
        print(f"| {name} | {median:.0f} | {high:.0f} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        row("nobody listens", HookManager(), events)
        row("recorded", hooks(f"{folder}/a.jsonl"), events)
        row("recorded, `durable = true`", hooks(f"{folder}/b.jsonl", durable=True), min(events, 300))
        path = f"{folder}/c.jsonl"
        other = subprocess.Popen([sys.executable, "-c", OTHER, path], stdout=subprocess.PIPE)
        try:
            assert other.stdout is not None
            other.stdout.readline()
            row("recorded, another process writing without pause", hooks(path), events)
        finally:
            other.kill()
            other.communicate()
        started = time.perf_counter()
        report = verify(path)
        seconds = time.perf_counter() - started
    print(f"\nverified {report.lines} lines in {seconds:.2f} s: {'whole' if report.ok else report.findings[:3]}")


if __name__ == "__main__":
    main()
