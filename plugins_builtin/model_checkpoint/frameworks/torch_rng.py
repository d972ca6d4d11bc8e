"""The global random streams of torch: the CPU's and those of every accelerator that this process has used."""

from __future__ import annotations

import warnings

import torch

from model_checkpoint.errors import StateDecodeError

_ACCELERATORS = ("cuda", "xpu")


def capture_rng() -> dict[str, object]:
    """Return the states, drawing nothing. An accelerator that was not used yet has no stream and is not woken."""
    streams: dict[str, object] = {"cpu": torch.get_rng_state()}
    for name in _ACCELERATORS:
        module = getattr(torch, name)
        if module.is_available() and module.is_initialized():
            streams[name] = module.get_rng_state_all()
    if torch.backends.mps.is_available():
        streams["mps"] = torch.mps.get_rng_state()
    return streams


def check_rng(streams: object) -> None:
    """Raise ``StateDecodeError`` for what is no state of torch's streams; it is tried on a generator of its own."""
    if not isinstance(streams, dict) or "cpu" not in streams:
        raise StateDecodeError("the stored random streams of torch are no states by device")
    try:
        torch.Generator(device="cpu").set_state(streams["cpu"])
    except (TypeError, RuntimeError, AttributeError) as error:
        raise StateDecodeError(f"a stored random stream of torch cannot be used: {error}") from error


def restore_rng(streams: object) -> None:
    """Put the streams back. Warns of devices that this process lacks; raises ``StateDecodeError`` for other states."""
    check_rng(streams)
    assert isinstance(streams, dict)
    try:
        torch.set_rng_state(streams["cpu"])
        for name in _ACCELERATORS:
            _restore_devices(name, streams.get(name) or [])
        if "mps" in streams and torch.backends.mps.is_available():
            torch.mps.set_rng_state(streams["mps"])
    except (TypeError, RuntimeError, AttributeError) as error:
        raise StateDecodeError(f"a stored random stream of torch cannot be used: {error}") from error


def _restore_devices(name: str, states: list[torch.Tensor]) -> None:
    module = getattr(torch, name)
    present = module.device_count() if module.is_available() else 0
    for device, state in enumerate(states[:present]):
        module.set_rng_state(state, device)
    if len(states) > present:
        warnings.warn(
            f"the checkpoint has random streams of {len(states)} {name} devices and this process has {present}: what is"
            " drawn on the others will differ from an uninterrupted run",
            stacklevel=2,
        )
