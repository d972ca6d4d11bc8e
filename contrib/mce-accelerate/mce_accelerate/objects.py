"""`prepared`: everything that an ``Accelerator`` prepared or was told of, as objects for the engine.

::

    model, model_1, ...      the modules themselves, out of their wrappers
    optimizer, scheduler     those inside Accelerate's wrappers
    loader, loader_1, ...    which epoch a loader is at, and the generator that shuffles it
    scaler                   with mixed precision in fp16
    object, object_1, ...    what register_for_checkpointing() was given
    accelerator              its step and the random streams; restored last
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from model_checkpoint.errors import ConfigurationError


def prepared(accelerator: Any, *, models: Iterable[Any] | None = None) -> dict[str, Any]:
    """Return the objects by name, for ``run.resume(**prepared(accelerator))`` or ``kernel.save(...)``.

    Call it when everything is prepared and registered. `models` limits it to some of the accelerator's models. Raises
    ``ConfigurationError`` for more than one process, and for FSDP, DeepSpeed and Megatron-LM.
    """
    refuse_shards(accelerator)
    chosen = accelerator._models if models is None else list(models)
    wanted = {id(model) for model in chosen}
    found: dict[str, Any] = {}
    for index, model in enumerate(accelerator._models):
        if id(model) in wanted:
            found[_name("model", index)] = accelerator.unwrap_model(model, keep_torch_compile=False)
    found |= _named("optimizer", [each.optimizer for each in accelerator._optimizers])
    found |= _named("scheduler", [each.scheduler for each in accelerator._schedulers])
    found |= _named("loader", [Position(loader) for loader in accelerator._dataloaders])
    if getattr(accelerator, "scaler", None) is not None:
        found["scaler"] = accelerator.scaler
    found |= _named("object", accelerator._custom_objects)
    found["accelerator"] = Progress(accelerator)
    return found


def refuse_shards(accelerator: Any) -> None:
    """Raise ``ConfigurationError`` where the state is spread over processes."""
    kind = str(accelerator.distributed_type).rpartition(".")[2]
    if accelerator.num_processes > 1 or kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        raise ConfigurationError(
            f"this accelerator has {accelerator.num_processes} processes ({kind}), and mce-accelerate saves for one:"
            " use Accelerate's own save_state for this training"
        )


class Position:
    """Where a prepared loader stands: the number of its epoch, and what its order is drawn from.

    Not how far it is within the epoch: for that, count the batches and use ``accelerator.skip_first_batches``, which
    finds the same order again only with ``use_seedable_sampler=True``; or prepare a stateful loader.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def state_dict(self) -> dict[str, Any]:
        """Return it."""
        loader, sampler = self._loader, self._sampler()
        state: dict[str, Any] = {"iteration": getattr(loader, "iteration", 0)}
        if hasattr(sampler, "initial_seed"):
            state["sampler"] = {"epoch": sampler.epoch, "initial_seed": sampler.initial_seed}
        if isinstance(generator := getattr(sampler, "generator", None), torch.Generator):
            state["generator"] = generator.get_state()
        if getattr(loader, "use_stateful_dataloader", False):
            state["stateful"] = loader.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the loader there."""
        loader, sampler = self._loader, self._sampler()
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(state["iteration"])
        if hasattr(sampler, "initial_seed") and "sampler" in state:
            sampler.epoch, sampler.initial_seed = state["sampler"]["epoch"], state["sampler"]["initial_seed"]
        if "generator" in state and sampler is not None:
            if not isinstance(getattr(sampler, "generator", None), torch.Generator):
                sampler.generator = torch.Generator()
            sampler.generator.set_state(state["generator"])
        if "stateful" in state:
            loader.load_state_dict(state["stateful"])

    def check_state_dict(self, state: object) -> dict[str, str]:
        """Return what speaks against `load_state_dict`: key -> why."""
        if not isinstance(state, Mapping) or "iteration" not in state:
            return {"": "a loader's position is needed"}
        if "stateful" in state and not getattr(self._loader, "use_stateful_dataloader", False):
            return {"stateful": "stored for a stateful loader, and the live one is none"}
        return {}

    def _sampler(self) -> Any:
        found = self._loader.get_sampler() if hasattr(self._loader, "get_sampler") else None
        return found if found is not None else getattr(self._loader, "sampler", None)


class Progress:
    """The accelerator's own state: its step, and the random streams of Python, numpy and torch."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator

    def state_dict(self) -> dict[str, Any]:
        """Return it."""
        import numpy as np

        streams: dict[str, Any] = {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            streams["cuda"] = torch.cuda.get_rng_state_all()
        return {"step": self._accelerator.step, "streams": streams}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the step and the streams back."""
        import numpy as np

        self._accelerator.step, streams = state["step"], state["streams"]
        random.setstate(streams["python"])
        np.random.set_state(streams["numpy"])
        torch.set_rng_state(streams["torch"])
        if torch.cuda.is_available() and len(streams.get("cuda", ())) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(streams["cuda"])

    def check_state_dict(self, state: object) -> dict[str, str]:
        """Return what speaks against `load_state_dict`: key -> why."""
        whole = isinstance(state, Mapping) and "step" in state and "streams" in state
        return {} if whole else {"": "an accelerator's step and random streams are needed"}


def _named(name: str, objects: Iterable[Any]) -> dict[str, Any]:
    return {_name(name, index): obj for index, obj in enumerate(objects)}


def _name(name: str, index: int) -> str:
    return name if index == 0 else f"{name}_{index}"
