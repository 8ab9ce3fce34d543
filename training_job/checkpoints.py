"""Checkpoints of a training: written whole or not at all, and read only if they are what was written.

A checkpoint is a folder `checkpoint-<number>` with `state.safetensors` and a `state.json` that holds the counters and
the hash of the other. It is made beside its final name, synced, and renamed, so a kill at any moment leaves the
previous one. The last two are kept: if the newest does not read back, the one before does. It knows names and arrays,
not what they mean; `loop.py` writes and resumes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor

from contracts.errors import ReleaseCorrupt, naming_full_disk
from stores.tensor_files import map_tensors, write_tensors

KEPT: Final = 2
_PREFIX: Final = "checkpoint-"
_TENSORS: Final = "state.safetensors"
_DOCUMENT: Final = "state.json"


@dataclass(frozen=True)
class State:
    """What a training needs to go on as if it had never stopped."""

    tensors: dict[str, Tensor]
    counters: dict[str, Any]
    """JSON values."""


class _Document(msgspec.Struct):
    fingerprint: str
    sha256: str
    counters: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training in a folder.

    `fingerprint` names the data and the settings: checkpoints of any other training in the folder are not resumed.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    def save(self, number: int, state: State) -> None:
        """Write a checkpoint and drop all but the last. Raises StorageFull; the previous ones stay."""
        target = self.folder / f"{_PREFIX}{number:06d}"
        partial = self.folder / f".partial-{target.name}-{os.getpid()}"
        with naming_full_disk(target):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._write(partial, state)
                shutil.rmtree(target, ignore_errors=True)
                partial.rename(target)
                _sync(self.folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def _write(self, folder: Path, state: State) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_tensors(
            folder / _TENSORS, {name: tensor.detach().cpu().numpy() for name, tensor in state.tensors.items()}
        )
        document = _Document(self.fingerprint, _sha256(folder / _TENSORS), state.counters)
        (folder / _DOCUMENT).write_bytes(msgspec.json.encode(document))
        for path in (folder / _TENSORS, folder / _DOCUMENT, folder):
            _sync(path)

    def newest(self) -> State | None:
        """The newest checkpoint of this training that reads back whole, or None."""
        for folder in self._newest_first():
            if (state := self._read(folder)) is not None:
                return state
        return None

    def clear(self) -> None:
        """Drop them all: the training is done."""
        for folder in self._newest_first():
            shutil.rmtree(folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_PREFIX}*"), reverse=True)

    def _read(self, folder: Path) -> State | None:
        try:
            document = msgspec.json.decode((folder / _DOCUMENT).read_bytes(), type=_Document)
            if document.fingerprint != self.fingerprint or document.sha256 != _sha256(folder / _TENSORS):
                return None
            tensors = {name: torch.from_numpy(array.copy()) for name, array in map_tensors(folder / _TENSORS).items()}
            return State(tensors, document.counters)
        except (OSError, msgspec.MsgspecError, ReleaseCorrupt):
            return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Push a file or a folder entry to the disk, so that a power cut cannot undo a rename's order."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
