"""The shared softmax against the definition, and the sampling correction against simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training_job.loss import Targets, log_inclusion, shared_softmax

KNOWN = (torch.tensor([0, 1, 2]), torch.tensor([2, 0, 5]))
"""Pairs (user, candidate) that the user has; one of them is a target all the same."""


def _case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Targets]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    log_q = -torch.rand(7, generator=generator, dtype=torch.float64)
    targets = Targets(torch.tensor([0, 0, 2]), torch.tensor([1, 5, 5]), torch.tensor([1.0, 0.5, 2.0]).double(), *KNOWN)
    return queries, candidates, log_q, targets


def _by_definition(queries, candidates, log_q, targets, temperature):
    own = torch.zeros(3, 7, dtype=torch.bool)
    own[targets.owners, targets.places] = True
    logits = queries @ candidates.T / temperature - torch.where(own, 0.0, log_q)
    known = torch.zeros(3, 7, dtype=torch.bool)
    known[KNOWN] = True
    logits = torch.where(known & ~own, -torch.inf, logits)
    log_softmax = torch.log_softmax(logits, dim=1)
    return -(targets.weights * log_softmax[targets.owners, targets.places]).sum()


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_gradient_follow_the_definition(seed):
    queries, candidates, log_q, targets = _case(seed)
    expected = _by_definition(queries, candidates, log_q, targets, 0.3)
    expected_gradients = torch.autograd.grad(expected, (queries, candidates))
    loss = shared_softmax(queries, candidates, log_q, targets, 0.3)
    gradients = torch.autograd.grad(loss, (queries, candidates))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_large_scores_do_not_overflow():
    queries, candidates = torch.full((1, 2), 60.0, requires_grad=True), torch.full((3, 2), 60.0)
    targets = Targets(torch.tensor([0]), torch.tensor([0]), torch.ones(1), *torch.zeros(2, 0, dtype=torch.int64))
    loss = shared_softmax(queries, candidates, torch.zeros(3), targets, 0.01)
    assert loss.item() == pytest.approx(np.log(3), rel=1e-5)


def _rounded(values: torch.Tensor) -> torch.Tensor:
    """Values as TF32 has them: 10 bits after the leading one, to the nearest."""
    return ((values.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def test_factors_of_a_gpus_rough_products_are_good_enough():
    """Rounding what goes into the products changes loss and gradients by less than two thousandths."""
    generator = torch.Generator().manual_seed(2)
    queries, candidates = (torch.randn(size, 64, generator=generator) for size in (64, 2_000))
    factors = [torch.nn.functional.normalize(each) for each in (queries, candidates)]
    owners = torch.arange(64)
    none = torch.zeros(2, 0, dtype=torch.int64)
    targets = Targets(owners, owners * 31, torch.full((64,), 1 / 64), *none)
    found = []
    for exact in (True, False):
        leaves = [(each if exact else _rounded(each)).requires_grad_() for each in factors]
        loss = shared_softmax(*leaves, torch.zeros(2_000), targets, 0.05)
        found.append((loss, *torch.autograd.grad(loss, leaves)))
        factors = [each.detach() for each in factors]
    for exact, rough in zip(*found, strict=True):
        assert 0 < (rough - exact).norm() < 2e-3 * exact.norm()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    queries, candidates, log_q, targets = _case(0)
    with pytest.raises(ValueError, match="temperature"):
        shared_softmax(queries, candidates, log_q, targets, temperature)


def test_inclusion_is_how_often_an_item_is_really_in_a_batch():
    """300 users of whom a batch takes 30, item k in the sets of k * 10 of them, and 20 uniform draws from 8 items."""
    random = np.random.default_rng(1)
    events = np.arange(8) * 10
    has = np.stack([np.isin(np.arange(300), random.choice(300, count, replace=False)) for count in events])
    present = np.zeros(8)
    for _ in range(4000):
        batch = random.choice(300, 30, replace=False)
        uniform = np.isin(np.arange(8), random.integers(0, 8, 2))
        present += has[:, batch].any(axis=1) | uniform
    np.testing.assert_allclose(np.exp(log_inclusion(events, 30 / 300, 2 / 8)), present / 4000, atol=0.04)
