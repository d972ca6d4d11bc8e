"""Measures the codec on weights that were really trained, and on random ones, beside zstd, gzip and two floors.

    python contrib/mce-zstd/benchmark.py [--seconds 60] [--repeats 5]

Trains a small transformer on the text of this repository for a while, then writes and reads its weights, the state of
its optimizer and random numbers. Speeds are raw megabytes per second, from memory to a synced file and back, the median
of the repeats, taken in turn. The floor of the ratio is the entropy of the grouped bytes, each taken alone; the floor
of the time is writing and reading the raw bytes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import zstandard
from mce_zstd import read_file, write_file
from mce_zstd.grouping import grouped
from mce_zstd.tensors import raw_bytes

ROOT = Path(__file__).resolve().parents[2]
CONTEXT, WIDTH = 64, 256


class Method(NamedTuple):
    """One way to store tensors."""

    name: str
    write: Callable[[dict[str, torch.Tensor], Path], None]
    read: Callable[[Path], object]


def text() -> torch.Tensor:
    """Return the sources and pages of this repository as bytes."""
    files = sorted([*ROOT.glob("kernel/**/*.py"), *ROOT.glob("plugins_builtin/**/*.py"), *ROOT.glob("docs/*.md")])
    return torch.frombuffer(bytearray(b"".join(path.read_bytes() for path in files)), dtype=torch.uint8).long()


class Language(torch.nn.Module):
    """A transformer over bytes, of about three million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(256, WIDTH)
        self.place = torch.nn.Embedding(CONTEXT, WIDTH)
        layer = torch.nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = torch.nn.Linear(WIDTH, 256)
        self.register_buffer("mask", torch.nn.Transformer.generate_square_subsequent_mask(CONTEXT), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each next byte."""
        return self.head(self.layers(self.embed(tokens) + self.place.weight, mask=self.mask, is_causal=True))


def trained(seconds: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], str]:
    """Return the weights, the state of Adam, and what the training was like."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # of so small a model, more threads wait for one another
    data, model = text(), Language()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    started, step, losses = time.perf_counter(), 0, []
    while time.perf_counter() - started < seconds:
        starts = torch.randint(len(data) - CONTEXT - 1, (8,)).tolist()
        batch = torch.stack([data[start : start + CONTEXT + 1] for start in starts])
        loss = torch.nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        step += 1
    moments = {
        f"{index}.{name}": value
        for index, state in enumerate(optimizer.state.values())
        for name, value in state.items()
        if name.startswith("exp_")
    }
    told = f"{step} steps, the loss went from {losses[0]:.2f} to {statistics.mean(losses[-20:]):.2f}"
    return {name: value.detach() for name, value in model.state_dict().items()}, moments, told


def raw(tensors: dict[str, torch.Tensor]) -> bytes:
    """Return all values, one tensor behind the other."""
    return b"".join(raw_bytes(tensor).tobytes() for tensor in tensors.values())


def synced(path: Path, data: bytes) -> None:
    """Write a file and make it durable."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def mcez(level: int) -> Method:
    """Return this codec at a level."""
    return Method(f"mce-zstd, level {level}", lambda given, path: write_file(given, path, level=level), read_file)


def plain_zstd(level: int) -> Method:
    """Return zstd without grouping, with as many threads."""

    def write(tensors: dict[str, torch.Tensor], path: Path) -> None:
        synced(path, zstandard.ZstdCompressor(level=level, threads=os.cpu_count() or 1).compress(raw(tensors)))

    return Method(f"zstd -{level}", write, lambda path: zstandard.ZstdDecompressor().decompress(path.read_bytes()))


METHODS = (
    mcez(0),
    mcez(3),
    mcez(9),
    plain_zstd(3),
    plain_zstd(9),
    Method(
        "gzip -6",
        lambda given, path: synced(path, gzip.compress(raw(given), 6)),
        lambda path: gzip.decompress(path.read_bytes()),
    ),
    Method("floor: raw bytes", lambda given, path: synced(path, raw(given)), lambda path: path.read_bytes()),
)


def entropy_ratio(tensors: dict[str, torch.Tensor]) -> float:
    """Return how much smaller the bytes could be if each stood alone: the limit of any code that counts bytes."""
    total = packed = 0.0
    for tensor in tensors.values():
        groups = grouped(raw_bytes(tensor), tensor.itemsize).reshape(tensor.itemsize, -1)
        total += tensor.nbytes
        for group in groups:
            share = np.bincount(group, minlength=256) / max(group.size, 1)
            share = share[share > 0]
            packed -= float((share * np.log2(share)).sum()) * group.size / 8
    return total / packed


def measure(name: str, tensors: dict[str, torch.Tensor], folder: Path, repeats: int) -> None:
    """Print the rows of one set of tensors."""
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    writes: dict[str, list[float]] = {method.name: [] for method in METHODS}
    reads: dict[str, list[float]] = {method.name: [] for method in METHODS}
    sizes: dict[str, int] = {}
    for _ in range(repeats):
        for method in METHODS:
            path = folder / "file"
            started = time.perf_counter()
            method.write(tensors, path)
            written = time.perf_counter()
            method.read(path)
            reads[method.name].append(time.perf_counter() - written)
            writes[method.name].append(written - started)
            sizes[method.name] = path.stat().st_size
            path.unlink()
    for method in METHODS:
        write, read = (nbytes / statistics.median(each[method.name]) / 1e6 for each in (writes, reads))
        print(f"| {name} | {method.name} | {nbytes / sizes[method.name]:.3f} | {write:.0f} | {read:.0f} |")
    print(f"| {name} | floor: entropy of the bytes | {entropy_ratio(tensors):.3f} | | |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to train")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    weights, moments, told = trained(options.seconds)
    torch.manual_seed(1)
    random = {"random": torch.randn(3_000_000) * 0.02}
    sets = {
        "trained weights, bf16": {name: tensor.bfloat16() for name, tensor in weights.items()},
        "trained weights, fp32": weights,
        "their Adam state, fp32": moments,
        "random normal, bf16": {name: tensor.bfloat16() for name, tensor in random.items()},
        "random normal, fp32": random,
    }
    print(
        f"{told}; {os.cpu_count()} cores, torch {torch.__version__}, zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"
    )
    print("\n| tensors | stored as | ratio | write, MB/s | read, MB/s |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, tensors in sets.items():
            measure(name, tensors, Path(folder), options.repeats)


if __name__ == "__main__":
    main()
