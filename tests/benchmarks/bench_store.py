"""Saves, loads and the space they take, beside torch.save, safetensors and DCP and beside what the machine allows.

    bench_store.py [--quick] [--json FILE] [--dir FOLDER]      FOLDER is on the disk to measure; default: that of /tmp

All saves end durable. The peers digest nothing; ours has SHA-256 of every byte. Before its rows each part prints what
their floor is. A speed is bytes of the state by time, whatever of it had to be written.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import store_peers as peers
from harness import CannotMeasure, Comparison, Measurement, main, seconds
from store_ours import HAS_WAIT, Training, Vault, free_memory_nbytes
from store_states import State

MB, GB = 10**6, 10**9
Rows = Iterator[Comparison]
speed = functools.partial(Comparison, unit="GB/s", better="higher")


def rate(nbytes: int, measurement: Measurement) -> Measurement:
    """Return a measurement in GB/s of what takes so many seconds."""
    return lambda: nbytes / measurement() / GB


def in_ms(measurement: Measurement) -> Measurement:
    """Return a measurement in milliseconds of what takes so many seconds."""
    return lambda: measurement() * 1e3


def floor(what: str) -> None:
    """Print what the floor of the next rows is."""
    print(f"-- floor: {what}", flush=True)


def size(nbytes: int) -> str:
    """Return a size in words."""
    return f"{nbytes / GB:.0f} GB" if nbytes >= GB else f"{nbytes / MB:.0f} MB"


def durable_saves(folder: Path, nbytes: int) -> Rows:
    """A blocking save of new content."""
    floor(f"the slower of O_DIRECT writes + fsync and SHA-256, both on {peers.CORES} cores and from the state's memory")
    state, vault, name = State(nbytes), Vault(folder / "vault"), size(nbytes)
    ours = rate(state.nbytes, lambda: vault.save_and_drop(state))
    least = rate(state.nbytes, lambda: max(peers.writing(state.memory, folder), peers.hashing(state.memory)))

    def against(peer: str, save: Callable[[Path], object] | None, bar: float) -> Comparison:
        theirs = rate(state.nbytes, lambda: peers.saving(save, folder)) if save else None
        return speed(
            measure=f"durable save, {name}", ours=ours, peer=peer, peer_measurement=theirs, floor=least, bar=bar
        )

    yield against(f"torch.save + fsync, {peers.TORCH}", peers.torch_save(state.tensors), 2.2)
    yield against(f"{peers.SAFETENSORS or 'safetensors'} + fsync", peers.safetensors_save(state.tensors), 1.2)
    yield against(f"dcp.save + fsync, {peers.TORCH}", peers.dcp_save(state.tensors), 2.2)
    yield speed(measure=f"durable save, {name}", ours=ours, peer="the floor", peer_measurement=least, bar=0.85)


def stalls(folder: Path, nbytes: int) -> Rows:
    """How long a save holds up the training that goes on in the background."""
    measure = f"a non-blocking save blocks, {size(nbytes)}"
    floor("the same bytes copied into warm memory on all cores")
    if not HAS_WAIT:
        print(f"{measure}: not measured: Kernel.save has no `wait`")
        return
    state = State(nbytes)
    warm, stager = State(nbytes).memory, peers.dcp_stager()
    training = Training(folder / "training", state.module())

    def ours() -> float:
        state.change()
        return training.stall()

    def against(peer: str, theirs: Measurement, bar: float | None) -> Comparison:
        return Comparison(
            measure=measure, unit="s", ours=ours, peer=peer, peer_measurement=theirs, floor=copying, bar=bar
        )

    def copying() -> float:
        return peers.copying(state.memory, warm)

    yield against("a warm copy on all cores", copying, 1.25)
    yield against(f"dcp.async_save, {peers.TORCH}", lambda: peers.dcp_stall(state.tensors, folder), 0.25)
    kept = "dcp.async_save with a stager that is kept"
    yield against(kept, lambda: peers.dcp_stall(state.tensors, folder, stager), None)
    training.kernel.close()


def repeated_saves(folder: Path, nbytes: int) -> Rows:
    """A save of what is stored already, for the most part."""
    state, vault, other = State(nbytes), Vault(folder / "vault"), Vault(folder / "other")
    vault.save(state)
    floor("xxh3-128 of the state on all cores")
    yield speed(
        measure=f"second save of an unchanged state, {size(nbytes)}",
        ours=rate(state.nbytes, lambda: vault.save(state)),
        peer="8 GB/s",
        peer_measurement=lambda: 8.0,
        floor=rate(state.nbytes, lambda: peers.fast_hashing(state.memory)),
        bar=1.0,
    )
    floor("the peer")
    names, changed = state.last(0.05)
    frozen = state.memory[: state.nbytes - changed]

    yield Comparison(
        measure=f"save with 95 % frozen bytes, {size(nbytes)}",
        unit="s",
        ours=lambda: vault.save_changed(state, names),
        peer="xxh3 of the frozen bytes, then a save of the others alone",
        peer_measurement=lambda: peers.fast_hashing(frozen) + other.save_and_drop(state, names),
        bar=1.3,
    )


def lazy_loads(folder: Path, nbytes: int) -> Rows:
    """A read that touches no tensor."""
    floor("none: the bar is a time, and the smaller state")

    def reading(so_many: int) -> Measurement:
        vault = Vault(folder / str(so_many))
        vault.store.write(State(so_many).payload("only"))
        return in_ms(lambda: seconds(lambda: vault.store.read("only", depth="header")))

    large, small = reading(nbytes), reading(nbytes // 10)
    row = functools.partial(Comparison, measure=f"lazy load, {size(nbytes)} in 201 tensors", unit="ms", ours=large)
    yield row(peer="50 ms", peer_measurement=lambda: 50.0, bar=1.0)
    yield row(peer=f"lazy load, {size(nbytes // 10)} in 201 tensors", peer_measurement=small, bar=1.3)


def loads(folder: Path, nbytes: int) -> Rows:
    """A load into live parameters, from the page cache."""
    state, name = State(nbytes), size(nbytes)
    training = Training(folder / "training", state.module())
    which = training.save()
    pack = next(folder.glob("training/checkpoints/**/packs/*.safetensors"))

    def ours(verify: str) -> Measurement:
        return rate(state.nbytes, lambda: training.load(which, verify))

    least = rate(state.nbytes, lambda: peers.reading(pack, state.memory))
    floor("the pack's bytes, read from the page cache into the parameters' memory on all cores")

    def against(peer: str, save: Any, load: Callable[[Path, peers.Tensors], None], bar: float) -> Comparison:
        path = folder / peer.partition(" ")[0]
        if save:
            save(path)
        theirs = rate(state.nbytes, lambda: seconds(lambda: load(path, state.tensors))) if save else None
        return speed(
            measure=f"load into live parameters, {name}, verified with xxh3-128",
            ours=ours("fast"), peer=peer, peer_measurement=theirs, floor=least, bar=bar,
        )  # fmt: skip

    yield against(f"dcp.load, {peers.TORCH}", peers.dcp_save(state.tensors), peers.dcp_load, 4.0)
    yield against(f"torch.load + copy_, {peers.TORCH}", peers.torch_save(state.tensors), peers.torch_load, 1.0)
    if peers.SAFETENSORS:
        peer, save = f"load_file + copy_, {peers.SAFETENSORS}", peers.safetensors_save(state.tensors)
        yield against(peer, save, peers.safetensors_load, 1.0)
    else:
        yield against("load_file + copy_, safetensors", None, peers.torch_load, 1.0)
    floor("the peer")
    yield speed(
        measure=f"load into live parameters, {name}, verified with SHA-256",
        ours=ours("full"),
        peer="SHA-256 on all cores",
        peer_measurement=rate(state.nbytes, lambda: peers.hashing(state.memory)),
        bar=0.8,
    )
    training.kernel.close()


def frozen_backbones(folder: Path, count: int = 20) -> Rows:
    """The space of several checkpoints that share most of their bytes."""
    floor("the peer")

    @functools.cache  # it is the same every time
    def stored() -> float:
        state, vault = State(102 * MB), Vault(folder / "vault")
        head, _ = state.last(2 / 102)
        for _ in range(count):
            vault.save_changed(state, head)
        vault.store.close()  # what the index keeps beside its file while it is open goes away
        return vault.stored_nbytes() / MB

    def distinct() -> float:
        state = State(102 * MB)
        _, head = state.last(2 / 102)
        return (state.nbytes - head + count * head) / MB

    yield Comparison(
        measure=f"stored bytes of {count} checkpoints: 100 MB stay, 2 MB change",
        unit="MB",
        ours=stored,
        peer="every distinct byte once",
        peer_measurement=functools.cache(distinct),
        bar=1.01,
    )


def tiny_saves(folder: Path, times: int) -> Rows:
    """What a save costs that has nothing to write."""
    floor("the peer")
    state, vault = State(10_000, count=4), Vault(folder / "vault")
    content = bytes(state.nbytes)

    def ours() -> float:
        return sum(vault.save_changed(state) for _ in range(times)) / times

    def bare() -> float:
        return sum(peers.publishing(folder, content) for _ in range(2 * times)) / times

    yield Comparison(
        measure="durable save of 10 kB",
        unit="ms",
        ours=in_ms(ours),
        peer="create, write, fsync, rename, fsync of the folder, twice",
        peer_measurement=in_ms(bare),
        bar=1.5,
    )


def long_histories(folder: Path, count: int) -> Rows:
    """What a vault costs that has many checkpoints: the last tenth of a history beside the first of another one."""
    state, old, young, tenth = State(10_000, count=4), Vault(folder / "old"), Vault(folder / "young"), count // 10
    name, _ = state.last(1e-9)
    floor("none: the peer is the same vault when it was young")

    def save(vault: Vault, times: int) -> float:
        return sum(vault.save_changed(state, name) for _ in range(times)) / times

    for _ in range(9):
        save(old, tenth)
        old.store.collect()
    share = tenth // 8
    yield Comparison(
        measure=f"save into a vault of {count:,} checkpoints, one tensor new",
        unit="ms",
        ours=in_ms(lambda: save(old, share)),
        peer=f"the first {tenth:,}",
        peer_measurement=in_ms(lambda: save(young, share)),
        bar=1.3,
    )

    def collecting(vault: Vault) -> Measurement:
        present = sum(1 for _ in vault.store.list_ids())
        return in_ms(lambda: seconds(vault.store.collect) / present)

    yield Comparison(
        measure=f"collect in a vault of {count:,} checkpoints, for each of them",
        unit="ms",
        ours=collecting(old),
        peer=f"in one of {tenth:,}",
        peer_measurement=collecting(young),
        bar=1.3,
    )


def describe(folder: Path, quick: bool) -> Rows:
    """Yield the comparisons, part by part; what a part made is gone before the next one begins."""
    nbytes = 200 * MB if quick else 2 * GB
    if shutil.disk_usage(folder).free < 5 * nbytes:
        raise CannotMeasure(f"{folder} has less than {size(5 * nbytes)} free: name another folder with --dir")
    large = () if quick else (10 * GB,)
    parts: Sequence[tuple[Callable[..., Rows], int]] = [
        (durable_saves, nbytes),
        (stalls, nbytes),
        (repeated_saves, nbytes),
        (lazy_loads, nbytes),
        (loads, nbytes),
        (frozen_backbones, 20),
        (tiny_saves, 10 if quick else 50),
        (long_histories, 500 if quick else 10_000),
        *itertools.product((durable_saves, lazy_loads), large),
    ]
    for part, argument in parts:
        free = free_memory_nbytes()
        if argument >= GB and free < 2.5 * argument:
            what = f"{part.__name__.replace('_', ' ')}, {size(argument)}"
            print(f"{what}: not measured: {size(free)} of memory are free, and 2.5 times as much is needed", flush=True)
            continue
        with tempfile.TemporaryDirectory(dir=folder, prefix="bench-store-") as own:
            yield from part(Path(own), argument)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    options, others = parser.parse_known_args()
    sys.exit(main(__doc__, functools.partial(describe, options.dir), others))
