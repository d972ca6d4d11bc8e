"""Trains on data whose position must come back: ``data.py NAME``."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from frame import Noted, go_through, network, seed
from torch import optim
from torch.utils.data import DataLoader

from model_checkpoint.frameworks.torch_data import ResumableLoader


class Noisy:
    """Samples that are augmented with all three streams, in whatever process they are made."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        noise = random.random() + float(np.random.random())
        return torch.full((4,), float(index)) + torch.randn(4) + noise, index


def trained(loader: Any, *, save_every: int = 1, but: str = "", **others: Any) -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def one_batch(batch: Any) -> Noted:
        inputs, _ = batch
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    objects = {"model": model, "optimizer": optimizer, "loader": loader, **others}
    go_through(loader, objects, one_batch, save_every=save_every, but=but)


def resumable(workers: str) -> None:
    """A ResumableLoader that shuffles, with a last batch that is not full."""
    trained(ResumableLoader(Noisy(), batch_size=4, shuffle=True, seed=1, num_workers=int(workers)), save_every=2)


class Sampler:
    """Draws from a generator that it owns and knows its position: a sampler with a state, as users write them."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(7)
        self._begun: torch.Tensor | None = None
        self.position = 0

    def __iter__(self) -> Iterator[int]:
        if self._begun is None:
            self._begun, self.position = self._generator.get_state(), 0
        self._generator.set_state(self._begun)
        for index in torch.randperm(22, generator=self._generator).tolist()[self.position :]:
            self.position += 1
            yield index
        self._begun, self.position = None, 0

    def __len__(self) -> int:
        return 22

    def state_dict(self) -> dict[str, Any]:
        return {"begun": self._begun, "position": self.position, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begun, self.position = state["begun"], state["position"]
        self._generator.set_state(state["generator"])


class Sampled:
    """torch's own loader with such a sampler, which is what has the state."""

    def __init__(self) -> None:
        self.sampler = Sampler()
        # torch draws a seed for each loop: from a generator of the loader, or a resumed loop would draw once more
        self._loader = DataLoader(Noisy(), batch_size=4, sampler=self.sampler, generator=torch.Generator())

    @property
    def mid_epoch(self) -> bool:
        return self.sampler.position > 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def state_dict(self) -> dict[str, Any]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.load_state_dict(state)


def stateful(workers: str) -> None:
    """torchdata's loader. Workers of it draw from streams that it does not keep, so their samples are plain."""
    from torchdata.stateful_dataloader import StatefulDataLoader
    from torchdata.stateful_dataloader.sampler import RandomSampler

    samples: Any = Noisy() if workers == "0" else [(torch.full((4,), float(n)), n) for n in range(22)]
    order = torch.Generator().manual_seed(2)
    # the loader draws a seed for each loop, once more where one is resumed: from a generator that decides nothing else
    seeds = torch.Generator()
    loader = StatefulDataLoader(
        samples, 4, sampler=RandomSampler(samples, generator=order), num_workers=int(workers), generator=seeds
    )
    trained(loader, but="loader", order=order)  # its state tells that seed, which is another one


def main() -> None:
    seed()
    name, *arguments = sys.argv[1:]
    {"resumable": resumable, "sampler": lambda: trained(Sampled()), "stateful": stateful}[name](*arguments)


if __name__ == "__main__":
    main()
