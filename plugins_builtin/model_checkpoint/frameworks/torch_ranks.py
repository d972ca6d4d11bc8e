"""The ranks of a training under ``torch.distributed``."""

from __future__ import annotations

from model_checkpoint.errors import ConfigurationError


class TorchRanks:
    """All ranks of the default process group; what hooks decide travels over a group of its own, on the CPU.

    Every rank makes one, at the same point of the program::

        kernel = Kernel.open(..., ranks=TorchRanks())

    Raises ``ConfigurationError`` where ``torch.distributed`` is not initialised.
    """

    def __init__(self) -> None:
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            raise ConfigurationError(
                "TorchRanks needs a process group: call torch.distributed.init_process_group(...) first"
            )
        self._group = dist.new_group(backend="gloo")
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()

    def broadcast(self, data: bytes | None) -> bytes:
        """Return what rank 0 gave."""
        import torch
        import torch.distributed as dist

        length = torch.tensor([len(data or b"")], dtype=torch.int64, device="cpu")
        dist.broadcast(length, 0, group=self._group)
        if data is None:
            content = torch.empty(int(length), dtype=torch.uint8, device="cpu")
        else:
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        dist.broadcast(content, 0, group=self._group)
        return bytes(content.tolist())
