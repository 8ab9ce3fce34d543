"""What torch is told for a training is taken back after it."""

from __future__ import annotations

import pytest
import torch

from training_job.device import TorchRuntime
from training_job.settings import TrainingSettings


@pytest.fixture
def told(monkeypatch):
    """The precisions that torch was told, in a process that sees a GPU."""
    seen: list[str] = []
    original = torch.set_float32_matmul_precision

    def spy(precision: str) -> None:
        seen.append(precision)
        original(precision)

    monkeypatch.setattr(torch, "set_float32_matmul_precision", spy)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch.get_float32_matmul_precision() == "highest"
    yield seen
    original("highest")


def test_a_gpu_rounds_products_while_towers_train_and_not_longer(told):
    runtime = TorchRuntime(TrainingSettings(device="cuda"))
    with runtime.rough_products():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(KeyError), runtime.rough_products():
        raise KeyError
    assert told == ["high", "highest"] * 2


@pytest.mark.parametrize(("device", "deterministic"), [("cpu", False), ("cuda", True)])
def test_neither_a_cpu_nor_a_deterministic_training_rounds_products(told, device, deterministic):
    with TorchRuntime(TrainingSettings(device=device, deterministic=deterministic)).rough_products():
        assert torch.get_float32_matmul_precision() == "highest"
    assert told == []
