"""A data loader that knows how far it has got, so that a training goes on in the middle of an epoch, bit for bit.

>>> import torch
>>> from model_checkpoint.frameworks.torch_data import ResumableLoader
>>> loader = ResumableLoader(torch.arange(10), batch_size=4, shuffle=True, seed=0)
>>> first = next(iter(loader))
>>> state = loader.state_dict()
>>> rest = list(loader)
>>> resumed = ResumableLoader(torch.arange(10), batch_size=4, shuffle=True, seed=0)
>>> resumed.load_state_dict(state)
>>> all(torch.equal(a, b) for a, b in zip(rest, resumed, strict=True))
True
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import ref

import torch
from torch.utils.data import DataLoader, IterableDataset

from model_checkpoint.errors import ConfigurationError, StateMismatchError
from model_checkpoint.frameworks.torch_batches import Batch, Fetcher, derived_seed

_OWN = ("sampler", "batch_sampler", "generator")


class ResumableLoader:
    """Iterates like a ``DataLoader`` and can be saved and restored between any two batches.

    Each ``for`` loop hands out the batches that remain of the current epoch: all of them at first, the rest after a
    ``break`` or a restore. The epoch is over when the loop ends by itself; the next loop is the next epoch. One loop at
    a time: a loop that goes on after a later one has begun raises ``ConfigurationError``.

    The order of an epoch depends on `seed` and the epoch's number alone. No global random stream is drawn from. With
    worker processes, the streams of torch, numpy and Python in them are seeded before every batch, so that random
    augmentation in a worker is the same after a restore; without, augmentation draws from the process's own streams,
    which a checkpoint holds.

    Args:
        dataset: with ``len()`` and indexing; an ``IterableDataset`` has no position to go back to.
        batch_size: samples per batch.
        shuffle: hand out each epoch in an order of its own.
        seed: of the orders, and of the streams in workers.
        drop_last: leave out a last batch that is not full.
        rank, num_replicas: hand out the share of one of several processes; default, those of ``torch.distributed``
            where it is initialised, else the whole. Shares are disjoint and equally long: with `drop_last` the last
            ``len(dataset) % num_replicas`` samples of an epoch's order are left out, otherwise its first ones fill up.
        options: anything else that a ``DataLoader`` takes: ``num_workers``, ``collate_fn``, ``pin_memory``.

    Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        rank: int | None = None,
        num_replicas: int | None = None,
        **options: Any,
    ) -> None:
        if isinstance(dataset, IterableDataset) or not (
            hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        ):
            raise ConfigurationError(f"{type(dataset).__name__} cannot be resumed: it needs len() and indexing")
        if type(batch_size) is not int or batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size!r}: give an int of at least 1")
        if own := sorted(set(_OWN) & set(options)):
            raise ConfigurationError(f"{', '.join(own)}: a ResumableLoader makes its own; use shuffle=, seed=, rank=")
        self.dataset = dataset
        self.batch_size, self.shuffle, self.seed, self.drop_last = batch_size, shuffle, int(seed), drop_last
        self.rank, self.num_replicas = _place(rank, num_replicas)
        self._epoch = self._position = 0
        self._turn = 0
        batches: Any = _Remaining(self)
        samples: Any = Fetcher(dataset)
        generator = torch.Generator()  # torch draws from it when a loop begins, else from the global stream
        self._loader: DataLoader[Any] = DataLoader(samples, batch_sampler=batches, generator=generator, **options)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to, from 0."""
        return self._epoch

    @property
    def position(self) -> int:
        """How many batches of this epoch were handed out; what workers fetched ahead does not count."""
        return self._position

    @property
    def mid_epoch(self) -> bool:
        """Whether an epoch was begun and its loop has not ended; true also between its last batch and that end."""
        return self._position > 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        share = self._share
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Begin a loop over the batches that remain of this epoch."""
        self._turn += 1
        with torch.device("cpu"):  # torch's own loader draws its seed on the default device
            batches = iter(self._loader)
        return _Batches(self, self._turn, batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and what it depends on. It is the same for all ranks."""
        return {"epoch": self._epoch, "position": self._position, **self._depends_on()}

    def check_state_dict(self, state: object) -> dict[str, str]:
        """Return what speaks against `load_state_dict`, key -> what differs, and change nothing."""
        if not isinstance(state, Mapping):
            return {"": f"{type(state).__name__} stored, a loader's state is needed"}
        wrong = {
            key: f"{state.get(key)!r} stored, {live!r} live"
            for key, live in self._depends_on().items()
            if state.get(key) != live
        }
        for key, limit in (("epoch", None), ("position", len(self))):
            value = state.get(key)
            if type(value) is not int or value < 0 or (limit is not None and value > limit and not wrong):
                wrong[key] = f"{value!r} stored, a number{'' if limit is None else f' up to {limit}'} is needed"
        return wrong

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a stored position.

        Raises ``LoaderMismatchError``, before anything changed, where it is the position of a loader of other batches.
        """
        if wrong := self.check_state_dict(state):
            raise LoaderMismatchError(wrong)
        self._epoch, self._position, self._turn = state["epoch"], state["position"], self._turn + 1

    def _depends_on(self) -> dict[str, Any]:
        return {
            "dataset_length": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "drop_last": self.drop_last,
            "num_replicas": self.num_replicas,
        }

    @property
    def _share(self) -> int:
        total, ranks = len(self.dataset), self.num_replicas
        return total // ranks if self.drop_last else -(-total // ranks)

    def _remaining(self) -> Iterator[Batch]:
        """Return what yields the batches that are left, as the position is now, and does not hold the loader."""
        total, wanted = len(self.dataset), self._share * self.num_replicas
        seed, epoch, rank, size = self.seed, self._epoch, self.rank, self.batch_size
        order = torch.arange(total, device="cpu")
        if self.shuffle:
            stream = torch.Generator(device="cpu").manual_seed(derived_seed(seed, epoch))
            order = torch.randperm(total, generator=stream, device="cpu")
        if 0 < total < wanted:
            order = order.repeat(-(-wanted // total))
        order = order[:wanted][rank :: self.num_replicas]
        return (
            Batch(order[n * size : (n + 1) * size].tolist(), derived_seed(seed, epoch, rank, n))
            for n in range(self._position, len(self))
        )

    def _handed_out(self) -> None:
        self._position += 1

    def _ended(self) -> None:
        self._epoch, self._position = self._epoch + 1, 0


class LoaderMismatchError(StateMismatchError):
    """A stored position belongs to a loader that hands out other batches. ``problems`` lists what differs."""

    def __init__(self, differences: Mapping[str, str]) -> None:
        super().__init__("", tuple(differences.items()))
        lines = "".join(f"\n  - {key}: {why}" for key, why in differences.items())
        self.args = (f"the stored position is that of another loader; nothing was changed:{lines}",)


class _Remaining:
    """What a DataLoader takes for a batch sampler: always the batches that are left.

    It does not keep the loader alive: in a cycle, torch's workers would be ended by the garbage collector, which takes
    ten seconds, and not by the end of their loop.
    """

    def __init__(self, loader: ResumableLoader) -> None:
        self._loader = ref(loader)

    def __iter__(self) -> Iterator[Batch]:
        loader = self._loader()
        assert loader is not None, "a loop holds its loader"
        return loader._remaining()


class _Batches:
    """One loop over a loader."""

    def __init__(self, loader: ResumableLoader, turn: int, batches: Iterator[Any]) -> None:
        self._loader, self._turn, self._batches, self._over = loader, turn, batches, False

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        if self._loader._turn != self._turn:
            raise ConfigurationError(
                "this loop over a ResumableLoader cannot go on: another one was begun, or a state was loaded, since."
                " Run one loop at a time, or make a second loader"
            )
        try:
            batch = next(self._batches)
        except StopIteration:
            self._over = True
            self._loader._ended()
            raise
        self._loader._handed_out()
        return batch


def _place(rank: int | None, num_replicas: int | None) -> tuple[int, int]:
    if (rank is None) != (num_replicas is None):
        raise ConfigurationError("rank= and num_replicas= belong together: give both or neither")
    if rank is None or num_replicas is None:
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return 0, 1
        return distributed.get_rank(), distributed.get_world_size()
    if not 0 <= rank < num_replicas:
        raise ConfigurationError(f"rank={rank} is none of num_replicas={num_replicas}: ranks count from 0")
    return rank, num_replicas
