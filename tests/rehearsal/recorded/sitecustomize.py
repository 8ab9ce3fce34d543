"""Python imports this by itself in every job of the tests, PYTHONPATH naming its folder: calls of botocore are noted.

botocore is not imported before the job does: which one it finds is the job's own affair.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

_WATCHED = "botocore.client"


class _Watch:
    """Lets the import of one module go its way, and looks at what came of it."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != _WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_note(module: Any) -> None:
            execute(module)
            sys.path.append(str(Path(__file__).resolve().parents[1]))
            from recording import note_calls_of_botocore

            note_calls_of_botocore(module)

        spec.loader.exec_module = execute_and_note
        return spec


sys.meta_path.insert(0, _Watch())
