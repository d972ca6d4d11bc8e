"""What a read of the configuration costs, and what a load and a reload of real files cost, in one process.

The floor of a read is one attribute read; that of a load and a reload is to read the bytes of the same files and to
parse them. The imports of dynaconf, pydantic and tomllib are paid before anything is measured.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from timeit import Timer

from harness import Comparison, Measurement, main, seconds
from model_checkpoint.config import ConfigSources, ConfigSwap, KernelConfig, load

LAYERS = ("machine", "user", "project", "secrets", "enforced")
CONTENT = """
[default]
required_plugins = ["a", "b"]
[default.storage]
verify = "{verify}"
[default.plugins.s3]
bucket = "checkpoints"
[default.plugins.{layer}]
numbers = [1, 2, 3]
text = "@none"
[production.storage]
backend = "memory"
"""


class Holder:
    """What holds the snapshot, as a kernel does."""

    def __init__(self, config: KernelConfig) -> None:
        self.config, self.verify = config, config.storage.verify


def read(holder: Holder, times: int, expression: str) -> Measurement:
    """Return a measurement of one evaluation in ns, with a twentieth of the loop around it: the best of five."""
    timer = Timer("; ".join([expression] * 20), globals={"holder": holder})
    return lambda: min(timer.repeat(5, times // 100)) / (times // 100 * 20) * 1e9


def milliseconds(work: Callable[[], object], times: int) -> Measurement:
    """Return a measurement of one call in ms."""
    return lambda: seconds(lambda: [work() for _ in range(times)]) / times * 1e3


def write(folder: Path, verify: str) -> ConfigSources:
    """Write a file for every layer, and return them as sources."""
    for layer in LAYERS:
        (folder / f"{layer}.toml").write_text(CONTENT.format(layer=layer, verify=verify), "utf-8")
    files = tuple((layer, folder / f"{layer}.toml") for layer in LAYERS)
    return ConfigSources(files, "production", {"MCE_QUIET": "1", "MCE_PLUGINS__S3__REGION": "eu"}, cwd=folder)


def describe(quick: bool) -> Sequence[Comparison]:
    """Return the comparisons; --quick makes fewer calls of each."""
    reads, loads = (200_000, 10) if quick else (1_000_000, 50)
    folder = Path(mkdtemp())
    sources = write(folder, "fast")
    holder = Holder(load(sources).config)
    swap = ConfigSwap(load(sources), lambda: load(sources), lambda *_, **__: None, tuple)
    turn = [0]

    def reload() -> float:
        taken = 0.0
        for _ in range(loads):
            turn[0] += 1
            write(folder, ("fast", "full")[turn[0] % 2])
            taken += seconds(lambda: swap.reload("bench"))
        if swap.current.generation != turn[0]:
            raise AssertionError("not every reload brought a new generation")
        return taken / loads * 1e3

    def floor() -> None:
        for _, path in sources.files:
            tomllib.loads(path.read_text("utf-8"))

    return [
        Comparison(
            measure="reading a setting",
            unit="ns",
            ours=read(holder, reads, "holder.config.storage.verify"),
            peer="an attribute read",
            peer_measurement=read(holder, reads, "holder.verify"),
            floor=read(holder, reads, "holder.verify"),
            bar=3.0,
        ),
        Comparison(
            measure="loading five files",
            unit="ms",
            ours=milliseconds(lambda: load(sources), loads),
            peer="50 ms",
            peer_measurement=lambda: 50.0,
            floor=milliseconds(floor, loads),
            bar=1.0,
        ),
        Comparison(
            measure="a reload of five files",
            unit="ms",
            ours=reload,
            peer="20 ms",
            peer_measurement=lambda: 20.0,
            floor=milliseconds(floor, loads),
            bar=1.0,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(__doc__, describe))
