"""Nights in processes of their own, as two schedulers would start them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_NIGHT = """
import sys
from pathlib import Path
from contracts.errors import TandemError
from local_mode.retrain import retrain
from training_job.settings import Effort, TrainingSettings
try:
    retrain(Path(sys.argv[1]), Path(sys.argv[2]), TrainingSettings(effort=Effort.QUICK, seed=int(sys.argv[3])))
except TandemError as error:
    print(error.code)
    sys.exit(2)
"""


def run_side_by_side(dataset: Path, home: Path, seeds: Sequence[int]) -> list[int]:
    """Exit statuses of nights that run at once in one home: 0 published, 2 refused by name."""
    nights = [subprocess.Popen([sys.executable, "-c", _NIGHT, str(dataset), str(home), str(seed)]) for seed in seeds]
    return [night.wait(timeout=240) for night in nights]
