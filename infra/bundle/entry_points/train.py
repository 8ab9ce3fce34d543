"""What SageMaker's toolkit starts: `training_job` with the libraries that the image lacks."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "vendor"))

if __name__ == "__main__":
    from training_job.__main__ import main

    sys.exit(main())
