"""What a job says when it fails: one line on stderr, and in the file whose first kilobyte SageMaker shows of it.

A processing job shows `output/message` as ExitMessage, a training job `output/failure` in FailureReason. Knows nothing
of what failed. The jobs of a night call it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts.errors import TandemError

FOLDER_VARIABLE: Final = "TANDEM_ML"
"""Where SageMaker's folders lie, if not where a container has them."""
_CONTAINER: Final = "/opt/ml"


def tell_failure(error: TandemError, file: Path | None) -> None:
    """Say it; None, or a folder that cannot be written: on stderr only."""
    text = f"{error.code}: {error}\n"
    sys.stderr.write(text)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as reason:
        sys.stderr.write(f"{file}: cannot be written: {reason}\n")


def message_file(environment: Mapping[str, str]) -> Path | None:
    """Where a processing job leaves its message; None outside of one."""
    folder = Path(environment.get(FOLDER_VARIABLE) or _CONTAINER)
    return folder / "output" / "message" if folder.is_dir() else None
