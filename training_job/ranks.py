"""The processes that train together, started by `torchrun`: each has a device of its own and a part of the users.

Rank 0 reads, decides and writes; the others hold what it sent them and take every step with it. The numbers that a
step needs of all ranks are gathered, gradients are added up, and as every rank moves its tables by the same sums, the
tables stay the same on all; those of very many items are shared (`sharded_table.py`). One process alone is a rank of
one: each method then hands back what it was given, and `torch.distributed` is left alone. It knows tensors and
counters, no towers; `loop.py`, `step.py` and `shares.py` call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import msgspec
import numpy as np
import torch
import torch.distributed as dist  # costs nothing: torch loads it in any case
from numpy.typing import NDArray
from torch import Tensor

from contracts.errors import RankLost, SettingsInvalid
from training_job.checkpoints import State

Ints = NDArray[np.int64]

STEP_SECONDS: Final = 600
"""How long a rank waits for the others within a round: rank 0 may be writing gigabytes of checkpoint."""
PREPARING_SECONDS: Final = 12 * 3600
"""How long for what rank 0 says: it fits ALS and scores alone. A rank that dies is noticed at once on all others, so
this bounds only a machine that vanishes without closing its connections."""


class Ranks:
    """One of the processes of a training, `rank` of `size`; `local` counts those of its machine."""

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0) -> None:
        self.rank, self.size, self.local = rank, size, local
        self._patient: dist.ProcessGroup | None = None

    @property
    def alone(self) -> bool:
        return self.size == 1

    @staticmethod
    def of(environment: Mapping[str, str]) -> Ranks:
        """What torchrun says that this process is. Raises SettingsInvalid where it says only half."""
        size = environment.get("WORLD_SIZE", "1")
        if size == "1":
            return ALONE
        needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        if missing := [name for name in needed if name not in environment]:
            raise SettingsInvalid(
                f"WORLD_SIZE is {size}, and {', '.join(missing)} is not set.",
                fix="Start several processes with torchrun, or unset WORLD_SIZE.",
            )
        return Ranks(int(environment["RANK"]), int(size), int(environment["LOCAL_RANK"]))

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Be connected to the other ranks; those with a GPU add up by NCCL, all the rest goes by gloo.

        All leave when rank 0 does. Raises RankLost where they do not all come, or rank 0 leaves with a failure.
        """
        if self.alone:
            yield
            return
        gpu = device.type == "cuda"
        if gpu:
            torch.cuda.set_device(device)
        with self._naming():
            dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=timedelta(seconds=STEP_SECONDS))
        try:
            with self._naming():
                self._patient = dist.new_group(backend="gloo", timeout=timedelta(seconds=PREPARING_SECONDS))
            yield
            self.say(NOTHING)
        except BaseException:
            if world := dist.group.WORLD:
                world.abort()  # NCCL would wait to take its leave of those that are gone
            raise
        finally:  # threads of gloo that outlive the interpreter abort it, and hide the exit status
            dist.destroy_process_group()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Torch has no class of its own for what gloo and NCCL raise."""
        try:
            yield
        except RuntimeError as error:
            raise RankLost(
                f"rank {self.rank} of {self.size} cannot reach the others: {error}",
                fix="The first failure of the job says why one ended; this one only follows from it.",
            ) from error

    def users(self, n_users: int) -> Ints:
        """The users of this rank: every `size`-th, so that ranks have equally many, old ones and new ones."""
        return np.arange(self.rank, n_users, self.size)

    def own(self, random: np.random.Generator) -> np.random.Generator:
        """A generator for this rank alone. `random` is in the same state on all ranks, and stays so."""
        return random if self.alone else np.random.default_rng([int(random.integers(2**63)), self.rank])

    def gather(self, arrays: Sequence[NDArray[Any]], *numbers: float) -> tuple[list[NDArray[Any]], list[float]]:
        """Each of `arrays` [any] of integers of all ranks, one after the other, and the sums of `numbers`.

        Between ranks values are made distinct first and travel as 32 bits, as rows and slots are kept.
        """
        if self.alone:
            return list(arrays), list(numbers)
        distinct = [np.unique(array) for array in arrays]
        heads = self._all(np.array([*map(len, distinct), *numbers], np.float64))
        lengths, sums = heads[:, : len(arrays)].astype(np.int64), heads[:, len(arrays) :].sum(axis=0)
        sent = np.zeros(lengths.sum(axis=1).max(), np.int32)
        sent[: lengths[self.rank].sum()] = np.concatenate(distinct)
        told = [np.split(row, np.cumsum(each)) for row, each in zip(self._all(sent), lengths, strict=True)]
        gathered = [np.concatenate([parts[place] for parts in told]) for place in range(len(arrays))]
        return [array.astype(np.int64) for array in gathered], sums.tolist()

    def totals(self, *numbers: float) -> list[float]:
        """The sums of `numbers` over the ranks."""
        return list(numbers) if self.alone else self._all(np.array(numbers, np.float64)).sum(axis=0).tolist()

    def _all(self, values: NDArray[Any]) -> NDArray[Any]:
        """The arrays [size, n] of all ranks; n is the same on all."""
        mine = torch.from_numpy(values)
        told = torch.empty((self.size, len(mine)), dtype=mine.dtype)
        if len(mine):
            with self._naming():
                dist.all_gather(list(told.unbind()), mine)
        return told.numpy()

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors, of equal shapes on all ranks, by their sums over the ranks, in one message."""
        if self.alone:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self._naming():
            dist.all_reduce(flat)
        for tensor, sums in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(sums.view_as(tensor))

    def say(self, state: State) -> State:
        """What rank 0 gives here; what the others give is not looked at. Tensors arrive on the CPU."""
        return state if self.alone else self._move(state, lambda tensor: dist.broadcast(tensor, 0, self._patient))

    def send(self, state: State, rank: int) -> None:
        """From rank 0 to another, which calls `receive`."""
        self._move(state, lambda tensor: dist.send(tensor, rank, self._patient))

    def receive(self) -> State:
        """What rank 0 sends to this rank. Tensors arrive on the CPU."""
        return self._move(NOTHING, lambda tensor: dist.recv(tensor, 0, self._patient))

    def _move(self, state: State, carry: Callable[[Tensor], Any]) -> State:
        """Names and counters as JSON, after their length, then the bytes of each tensor: nothing that runs code."""
        first = self.rank == 0
        text = _head(state) if first else torch.empty(0, dtype=torch.uint8)
        with self._naming():
            carry(length := torch.tensor([len(text)]))
            carry(text := text if first else torch.empty(int(length), dtype=torch.uint8))
            head = msgspec.json.decode(text.numpy().tobytes(), type=_Head)
            tensors = state.tensors if first else {name: _empty(*kind) for name, kind in head.tensors.items()}
            for tensor in tensors.values():
                if tensor.numel():
                    carry(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
        return State(tensors, head.counters)


ALONE: Final = Ranks()
NOTHING: Final = State({}, {})


class _Head(msgspec.Struct):
    counters: dict[str, Any]
    tensors: dict[str, tuple[str, list[int]]]
    """Name → dtype and shape."""


def _head(state: State) -> Tensor:
    """As bytes."""
    kinds = {
        name: (str(tensor.dtype).removeprefix("torch."), list(tensor.shape)) for name, tensor in state.tensors.items()
    }
    return torch.frombuffer(bytearray(msgspec.json.encode(_Head(state.counters, kinds))), dtype=torch.uint8)


def _empty(dtype: str, shape: list[int]) -> Tensor:
    return torch.empty(shape, dtype=getattr(torch, dtype))
