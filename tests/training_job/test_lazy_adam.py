"""Lazy Adam moves what a batch touched, by the size that Adam promises, and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training_job.lazy_adam import LazyTable


def test_untouched_rows_stay_to_the_bit():
    table = LazyTable(torch.randn(6, 3))
    before = {name: tensor.clone() for name, tensor in table.tensors().items()}
    table.step(torch.tensor([1, 4]), torch.randn(2, 3), 0.1)
    untouched = [0, 2, 3, 5]
    for name, tensor in table.tensors().items():
        assert torch.equal(tensor[untouched], before[name][untouched])
    assert not torch.equal(table.values[[1, 4]], before["values"][[1, 4]])


@given(st.floats(1e-4, 1e4), st.integers(0, 50))
def test_first_step_of_a_row_has_the_learning_rate_as_its_root_mean_square(scale, earlier):
    """Adam's first update is lr * g / |g|, whatever the scale of g and however often other rows moved before."""
    table = LazyTable(torch.zeros(2, 4))
    for _ in range(earlier):
        table.step(torch.tensor([0]), torch.randn(1, 4), 0.1)
    gradient = torch.tensor([[1.0, -2.0, 3.0, 0.5]]) * scale
    table.step(torch.tensor([1]), gradient, 0.25)
    moved = table.values[1]
    assert np.isclose(moved.square().mean().sqrt().item(), 0.25, rtol=1e-3)
    assert torch.equal(moved.sign(), -gradient[0].sign())


def test_finds_the_bottom_of_a_bowl():
    table, bottom = LazyTable(torch.zeros(3, 2)), torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, 0.0]])
    for step in range(400):
        rows = torch.tensor([0, 1]) if step % 2 else torch.tensor([1, 2])
        table.step(rows, table.values[rows] - bottom[rows], 0.02)
    torch.testing.assert_close(table.values, bottom, atol=0.03, rtol=0)


def test_a_table_without_moments_keeps_its_vectors_and_nothing_else():
    table = LazyTable(torch.ones(5, 3))
    table.step(torch.tensor([1, 4]), torch.ones(2, 3), 0.1)
    before = table.values.clone()
    table.forget_moments()
    assert torch.equal(table.values, before)
    assert sum(tensor.numel() for tensor in table.tensors().values()) == before.numel()
