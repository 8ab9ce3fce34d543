"""A table that ranks share is a lazy table: the same leaves, steps and moments, wherever the rows lie."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import Tensor

from training_job import sharded_table
from training_job.lazy_adam import LazyTable
from training_job.sharded_table import ShardedTable, is_sharded

CPU = torch.device("cpu")
N_ROWS, DIMENSIONS = 11, 4


class Together:
    """Ranks of one process, a thread each; each must give a tensor of the same shape at the same time."""

    def __init__(self, rank: int, given: list[Tensor | None], barrier: Barrier) -> None:
        self.rank, self.size, self._given, self._barrier = rank, len(given), given, barrier

    def add_up(self, tensors: list[Tensor], /) -> None:
        (tensor,) = tensors
        self._given[self.rank] = tensor.clone()
        self._barrier.wait(10)
        assert len({(each.shape, each.dtype) for each in self._given}) == 1
        tensor.copy_(sum(self._given))
        self._barrier.wait(10)


def on_all_ranks(size: int, values: Tensor, use: Callable[[ShardedTable], dict]) -> list[dict]:
    """What `use` says of the table of each rank."""
    given, barrier = [None] * size, Barrier(size)
    tables = [ShardedTable(values[rank::size], len(values), Together(rank, given, barrier)) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(use, tables))


def used(table: LazyTable | ShardedTable) -> dict[str, Tensor]:
    """The leaves of some steps, whose gradients depend on them."""
    random, leaves = torch.Generator().manual_seed(3), {}
    for number, count in enumerate((5, 1, N_ROWS, 0, 7, 3)):
        rows = torch.randperm(N_ROWS, generator=random)[:count]
        leaf = table.leaf(rows)
        (leaf * torch.randn(count, DIMENSIONS, generator=random)).square().sum().backward()
        table.step(rows, leaf.grad, 0.1)
        leaves[f"leaf {number}"] = leaf.detach()
    return leaves


@pytest.mark.parametrize("size", [2, 3, 5])
def test_it_is_a_lazy_table_of_which_each_rank_holds_its_part(size, monkeypatch):
    monkeypatch.setattr(sharded_table, "BLOCK", 4)
    values = torch.randn(N_ROWS, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    expected = LazyTable(values.clone())
    leaves = used(expected)

    def use(table: ShardedTable) -> dict[str, Tensor]:
        found = used(table)
        held = {name: len(part) for name, part in table.tensors().items()}
        assert set(held.values()) == {len(range(table.ranks.rank, N_ROWS, size))}
        return found | {name: table.all_of(part, CPU) for name, part in table.tensors().items()}

    first, *others = on_all_ranks(size, values, use)
    for name, tensor in (leaves | expected.tensors()).items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    for other in others:
        assert all(torch.equal(other[name], first[name]) for name in leaves)
        assert all(len(other[name]) == 0 for name in expected.tensors())


def test_rank_0_has_the_whole_while_it_is_gathered_and_at_the_end():
    values = torch.randn(N_ROWS, DIMENSIONS)

    def use(table: ShardedTable) -> dict[str, Tensor]:
        assert len(table) == N_ROWS
        with pytest.raises(RuntimeError, match=f"rank {table.ranks.rank} has a part"):
            _ = table.whole
        with table.gathered():
            if table.ranks.rank:
                with pytest.raises(RuntimeError, match="has a part"):
                    _ = table.whole
            else:
                assert torch.equal(table.whole, values)
        with pytest.raises(RuntimeError, match="gather it"):
            _ = table.whole
        return {"joined": table.joined().values}

    first, second = on_all_ranks(2, values, use)
    assert torch.equal(first["joined"], values)
    assert len(second["joined"]) == 0


def test_only_several_ranks_share_and_only_a_large_table():
    assert not is_sharded(sharded_table.WHOLE_ITEMS, 8)
    assert not is_sharded(10**9, 1)
    assert is_sharded(sharded_table.WHOLE_ITEMS + 1, 2)
