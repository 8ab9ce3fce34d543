"""What the import of the deployed function costs, as a whole beside boto3, and library by library.

Fresh processes with the bundle as their only libraries and its `.pyc` present, CPU of the whole process, interleaved.
`lambda_function.py` calls it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

PROCESSES = 15
BUNDLE = Path("build/serving-host")
HANDLER = "lambda_user_tower.handler.handler"

STORES_IN_AWS = "import boto3, opensearchpy, stores.dynamodb_profiles, stores.s3_releases"
"""What a function in AWS imports besides, when it opens its stores."""


def measure_imports() -> dict[str, Any]:
    """CPU [ms] of fresh processes, interleaved, median; and what each library costs of the import, itself alone."""
    handler = f"import {HANDLER.rpartition('.')[0]}"
    programs = {
        "bare": "pass",
        "numpy": "import numpy",
        "boto3": "import boto3",
        "recommend": handler,
        "recommend_in_aws": f"{handler}\n{STORES_IN_AWS}",
    }
    with tempfile.TemporaryDirectory() as empty:
        spent: dict[str, list[float]] = {name: [] for name in programs}
        for round_ in range(PROCESSES + 1):
            for name, program in programs.items():
                cpu = import_cpu_ms(program, Path(empty))
                if round_:  # the first round brings the files into memory
                    spent[name].append(cpu)
        shares = library_shares(programs["recommend_in_aws"], Path(empty))
    taken = {name: round(median(times), 1) for name, times in spent.items()}
    whole = taken["recommend_in_aws"] - taken["bare"]
    costs = {name: round(share * whole, 1) for name, share in shares.items() if share * whole >= 1}
    return {"cpu_ms": taken, "by_library_ms": costs}


def import_command(program: str, home: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    """A Python with the bundle as its only libraries, in the environment of a function that has nothing published."""
    lines = f"import sys; sys.path.insert(0, {str(BUNDLE.resolve())!r})\n{program}"
    environment = {
        "AWS_LAMBDA_FUNCTION_NAME": "recommend",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "LAMBDA_TASK_ROOT": str(BUNDLE.resolve()),
        "TANDEM_HOME": str(home),
        **blas_environment(),
    }
    return [sys.executable, "-S", "-B", *options, "-c", lines], environment


def import_cpu_ms(program: str, home: Path) -> float:
    """CPU of a whole process, user and system."""
    command, environment = import_command(program, home)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, program
    return (usage.ru_utime + usage.ru_stime) * 1000


def library_shares(program: str, home: Path) -> dict[str, float]:
    """Top-level package → its own modules' share of the import, of the median run of five, the dearest first.

    A share, since the interpreter's own clock counts waiting on a busy machine as well; it travels to the CPU.
    """
    command, environment = import_command(program, home, "-X", "importtime")
    runs: dict[str, list[float]] = defaultdict(list)
    for _ in range(5):
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
        own: dict[str, float] = defaultdict(float)
        for self_us, module in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", said):
            name = module.partition(".")[0]
            own["standard library" if name in sys.stdlib_module_names else name] += int(self_us)
        for name, cost in own.items():
            runs[name].append(cost / sum(own.values()))
    shares = {name: median(found) for name, found in runs.items()}
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def blas_environment() -> dict[str, str]:
    """What this process was told about BLAS: the function is told the same."""
    return {name: value for name, value in os.environ.items() if name.startswith(("OPENBLAS_", "OMP_"))}
