"""A loader that was saved anywhere hands out, once restored, exactly the batches that were left, and draws nothing."""

from __future__ import annotations

import gc
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from model_checkpoint.checkpoint.capture import check, restore_into
from model_checkpoint.errors import ConfigurationError, StateMismatchError
from model_checkpoint.frameworks.torch_data import LoaderMismatchError, ResumableLoader
from model_checkpoint.kernel.adapters import AdapterSet

Stored = Callable[[object], Any]


class Noisy(Dataset[torch.Tensor]):
    """Every sample draws from all three global streams."""

    def __init__(self, length: int = 23) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, random.random(), np.random.rand(), float(torch.rand(()))], dtype=torch.float64)


class Batched(Noisy):
    """Fetches whole batches at once."""

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        assert type(indices) is list
        return [torch.tensor([index]) for index in indices]


def make(length: int = 23, **options: Any) -> ResumableLoader:
    given = {"batch_size": 4, "shuffle": True, "seed": 5, **options}
    return ResumableLoader(torch.arange(length), **given)


def batches(loader: ResumableLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


def test_it_hands_out_what_a_dataloader_would() -> None:
    loader = make(10, shuffle=False)
    assert batches(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    assert len(make(10, drop_last=True)) == 2
    assert batches(make(10, shuffle=False, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert loader.dataset.tolist() == list(range(10))


def test_each_epoch_has_an_order_of_its_own_that_depends_on_the_seed_alone() -> None:
    first, again, other = make(), make(), make(seed=6)
    epochs = [batches(first) for _ in range(3)]
    assert epochs == [batches(again) for _ in range(3)]
    assert [sorted(sample for batch in epoch for sample in batch) for epoch in epochs] == [list(range(23))] * 3
    assert len({str(epoch) for epoch in (*epochs, batches(other))}) == 4


@given(
    st.integers(0, 12), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 30), st.integers(1, 3),
)  # fmt: skip
def test_a_loader_restored_after_any_batch_goes_on_with_the_next(
    length: int, batch_size: int, shuffle: bool, drop_last: bool, at: int, ranks: int
) -> None:
    options = {
        "batch_size": batch_size,
        "shuffle": shuffle,
        "drop_last": drop_last,
        "num_replicas": ranks,
        "rank": ranks - 1,
    }
    loader, seen = make(length, **options), 0
    for _ in range(1 + at // (len(loader) + 1)):
        for _batch in loader:
            seen += 1
            if seen == at:
                break
    twin = make(length, **options)
    twin.load_state_dict(loader.state_dict())
    assert (twin.epoch, twin.position, twin.mid_epoch) == (loader.epoch, loader.position, loader.mid_epoch)
    for _ in range(3):
        assert batches(twin) == batches(loader)
        assert (twin.epoch, twin.position, twin.mid_epoch) == (loader.epoch, 0, False)


def test_the_epoch_ends_with_its_loop_and_not_with_its_last_batch() -> None:
    loader = make(8)
    assert not loader.mid_epoch
    loop = iter(loader)
    for position in (1, 2):
        next(loop)
        assert (loader.epoch, loader.position, loader.mid_epoch) == (0, position, True)
    twin = make(8)
    twin.load_state_dict(loader.state_dict())
    assert batches(twin) == []
    assert next(loop, None) is None
    assert (loader.epoch, loader.position, loader.mid_epoch) == (1, 0, False)
    assert next(loop, None) is None
    assert loader.epoch == twin.epoch == 1


def test_a_loop_that_was_left_is_taken_up_by_the_next_one() -> None:
    whole, loader, seen = batches(make()), make(), []
    for batch in loader:
        seen.append(batch.tolist())
        if len(seen) == 2:
            break
    assert seen + batches(loader) == whole


def test_two_loops_at_once_and_a_loop_over_a_restored_loader_are_refused() -> None:
    loader = make()
    first = iter(loader)
    next(first)
    second = iter(loader)
    with pytest.raises(ConfigurationError, match="one loop at a time"):
        next(first)
    next(second)
    loader.load_state_dict(loader.state_dict())
    with pytest.raises(ConfigurationError, match="a state was loaded"):
        next(second)
    assert loader.position == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_neither_making_nor_looping_draws_from_a_global_stream(workers: int) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    loader = make(num_workers=workers)
    for _ in range(2):
        batches(loader)
    loader.load_state_dict(loader.state_dict())
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_without_workers_augmentation_draws_from_the_streams_of_the_process() -> None:
    def run() -> list[object]:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        return [batch.tolist() for batch in ResumableLoader(Noisy(), batch_size=4, seed=5)]

    one = run()
    assert one == run()
    assert [batch.tolist() for batch in ResumableLoader(Noisy(), batch_size=4, seed=5)] != one


@pytest.mark.parametrize("persistent", [False, True])
def test_augmentation_in_workers_is_the_same_after_a_restore(persistent: bool) -> None:
    def noisy(**options: Any) -> ResumableLoader:
        return ResumableLoader(Noisy(), batch_size=4, shuffle=True, seed=5, **options)

    options = {"num_workers": 2, "persistent_workers": persistent}
    loader = noisy(**options)
    whole = [[batch.tolist() for batch in loader] for _ in range(2)]
    drawn = [tuple(sample[1:]) for epoch in whole for batch in epoch for sample in batch]
    assert len(set(drawn)) == len(drawn), "two samples drew the same numbers"
    torch.manual_seed(77)
    stopped = noisy(**options)
    seen = [next(iter(stopped)).tolist()]
    loop = iter(stopped)
    seen.append(next(loop).tolist())
    assert (stopped.epoch, stopped.position) == (0, 2), "what workers fetched ahead was counted"
    resumed = noisy(num_workers=1)
    resumed.load_state_dict(stopped.state_dict())
    assert seen + [batch.tolist() for batch in resumed] == whole[0]
    assert [batch.tolist() for batch in resumed] == whole[1]


def test_datasets_that_fetch_batches_and_subsets_are_asked_as_torch_asks_them() -> None:
    assert [batch.flatten().tolist() for batch in ResumableLoader(Batched(5), batch_size=2)] == [[0, 1], [2, 3], [4]]
    subset = Subset(TensorDataset(torch.arange(9), torch.arange(9) * 2), [1, 3, 5])
    assert [[part.tolist() for part in batch] for batch in ResumableLoader(subset, batch_size=2)] == [
        [[1, 3], [2, 6]], [[5], [10]],
    ]  # fmt: skip


def test_leaving_a_loop_ends_its_workers_at_once() -> None:
    started = time.monotonic()
    for options in ({}, {"persistent_workers": True}):
        loader = make(num_workers=2, **options)
        for _ in range(2):
            next(iter(loader))
        del loader
        gc.collect()
    assert multiprocessing.active_children() == []
    assert time.monotonic() - started < 5


def test_options_go_to_the_dataloader() -> None:
    loader = make(6, shuffle=False, collate_fn=lambda samples: [int(sample) for sample in samples])
    assert list(loader) == [[0, 1, 2, 3], [4, 5]]


@given(st.integers(0, 20), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans())
def test_ranks_have_equally_many_batches_of_disjoint_shares(
    length: int, ranks: int, batch_size: int, shuffle: bool, drop_last: bool
) -> None:
    options = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last, "num_replicas": ranks}
    shares = [batches(make(length, rank=rank, **options)) for rank in range(ranks)]
    assert len({tuple(map(len, share)) for share in shares}) == 1
    assert len(shares[0]) == len(make(length, rank=0, **options))
    samples = [sample for share in shares for batch in share for sample in batch]
    if drop_last:
        assert len(set(samples)) == len(samples) <= length
    else:
        assert set(samples) == set(range(length))
        assert len(samples) == -(-length // ranks) * ranks


def test_ranks_are_those_of_torch_distributed_where_it_runs(tmp_path: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/init", rank=0, world_size=1)
    try:
        assert (make().rank, make().num_replicas) == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


def test_the_state_is_the_same_for_all_ranks() -> None:
    assert make(rank=0, num_replicas=2).state_dict() == make(rank=1, num_replicas=2).state_dict()


@pytest.mark.parametrize(("change", "key"), [
    ({"length": 22}, "dataset_length"), ({"batch_size": 5}, "batch_size"), ({"seed": 6}, "seed"),
    ({"shuffle": False}, "shuffle"), ({"drop_last": True}, "drop_last"),
    ({"rank": 0, "num_replicas": 2}, "num_replicas"),
])  # fmt: skip
def test_a_position_in_other_batches_is_refused_and_nothing_changes(
    change: dict[str, Any], key: str, adapters: AdapterSet, stored: Stored
) -> None:
    source, live = make(), make(**change)
    next(iter(source))
    for _ in zip(range(2), live, strict=False):
        pass
    before, state = live.state_dict(), stored(source)
    assert list(check(live, state, adapters).mismatched) == [key]
    with pytest.raises(LoaderMismatchError, match=f"nothing was changed:\n  - {key}: .* stored, .* live"):
        live.load_state_dict(state)
    restore_into(live, state, adapters, strict=False)
    assert live.state_dict() == before
    assert issubclass(LoaderMismatchError, StateMismatchError)


@pytest.mark.parametrize("change", [
    {"epoch": -1}, {"epoch": None}, {"epoch": "0"}, {"epoch": True}, {"position": -1}, {"position": 7},
    {"position": 1.0},
    {"seed": None}, {"batch_size": "4"},
])  # fmt: skip
def test_a_position_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    loader = make()
    with pytest.raises(LoaderMismatchError):
        loader.load_state_dict({**loader.state_dict(), **change})
    for state in (None, [], {}):
        with pytest.raises(LoaderMismatchError):
            loader.load_state_dict(state)  # type: ignore[arg-type]


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter([1])


@pytest.mark.parametrize("wrong", [
    lambda: ResumableLoader(Stream()), lambda: ResumableLoader(iter([1])), lambda: make(batch_size=0),
    lambda: make(batch_size=None), lambda: make(sampler=[1]), lambda: make(generator=torch.Generator()),
    lambda: make(rank=0), lambda: make(num_replicas=2), lambda: make(rank=2, num_replicas=2),
    lambda: make(rank=-1, num_replicas=2),
])  # fmt: skip
def test_arguments_that_cannot_work_are_refused_at_once(wrong: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        wrong()
