"""Writes, competes for and forgets checkpoints until it is killed; says what was acknowledged and what will go."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.storage.safetensors import open_safetensors
from model_checkpoint.testing.storage_samples import payload, write_tolerantly


def say(word: str, name: str) -> None:
    os.write(1, f"{word} {name}\n".encode())  # in one piece, since two writers share the file


root, round_number, writer = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
backend = open_safetensors(root, FsOps())
for index in itertools.count():
    own, shared = f"own-{round_number}-{writer}-{index}", f"shared-{round_number}-{index}"
    backend.write(payload(own, seed=int(writer)))
    say("written", own)
    if write_tolerantly(backend, payload(shared, seed=int(writer))):
        say("written", shared)
    if index >= 2:
        gone = own.removesuffix(str(index)) + str(index - 2)
        say("forgetting", gone)
        backend.forget(gone)
    if index % 5 == 0:
        backend.collect()
