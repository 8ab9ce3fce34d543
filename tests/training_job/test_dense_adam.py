"""The functional form takes the very steps of torch's optimiser, and spares its start."""

from __future__ import annotations

import subprocess
import sys

import torch

from training_job.dense_adam import DenseAdam


def test_it_steps_as_torchs_adam() -> None:
    torch.manual_seed(0)
    ours, theirs = [[torch.ones(3, 2), torch.zeros(())] for _ in range(2)]
    mine, oracle = DenseAdam(ours), torch.optim.Adam([tensor.requires_grad_() for tensor in theirs])
    for step in range(20):
        oracle.param_groups[0]["lr"] = rate = 0.01 / (step + 1)
        targets = torch.randn(3, 2)
        for tensors, optimiser in ((ours, mine), (theirs, oracle)):
            optimiser.zero_grad()
            ((tensors[0] - targets).square().sum() + (tensors[1] - 3).square()).backward()
        mine.step(rate)
        oracle.step()
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_what_has_no_gradient_stays() -> None:
    moved, left = torch.ones(2), torch.ones(2)
    adam = DenseAdam([moved, left])
    moved.sum().backward()
    adam.step(0.1)
    assert left.tolist() == [1.0, 1.0]
    assert moved[0] < 1.0
    assert left not in adam.state


def test_training_does_not_load_the_compiler() -> None:
    code = "import sys, training_job.fit as f, torch; from training_job.dense_adam import DenseAdam as D; "
    code += "p = torch.ones(2); d = D([p]); p.sum().backward(); d.step(.1); assert 'torch._dynamo' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
