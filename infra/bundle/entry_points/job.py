"""What a processing job starts: `job.py <step> …`, a step of a night or a job that somebody asked for, with the
libraries that the image lacks."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "vendor"))

_MODULES = {
    **dict.fromkeys(("snapshot", "backfill", "recommend", "forget"), "batch_job"),
    **dict.fromkeys(("check", "gate"), "training_job"),
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _MODULES:
        sys.exit(f"usage: job.py {'|'.join(_MODULES)} …")
    runpy.run_module(_MODULES[sys.argv[1]], run_name="__main__", alter_sys=True)
