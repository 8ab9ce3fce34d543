"""The handler stays light: what a fresh process has loaded after importing it, and after answering a request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.lambda_user_tower.conftest import post

FORBIDDEN = {
    *("torch", "pandas", "polars", "pyarrow", "scipy", "sklearn", "implicit", "safetensors", "aws_cdk", "matplotlib"),
    *("rich", "typer", "click", "requests", "boto3", "botocore", "pydantic", "asyncio", "filelock", "tqdm"),
    *("http.server", "multiprocessing", "unittest", "email", "logging"),
}

PROGRAM = """
import json, sys
from lambda_user_tower import handler
after_import = sorted(sys.modules)
response = handler.handler(json.loads(sys.argv[1]))
print(json.dumps([after_import, sorted(sys.modules), response["statusCode"], json.loads(response["body"])]))
"""


def test_neither_the_import_nor_a_request_loads_anything_heavy(home: Path) -> None:
    event = json.dumps(post({"user_id": "warm", "explain": True}))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, event],
        env=os.environ | {"TANDEM_HOME": str(home), "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    after_import, after_request, status, body = json.loads(done.stdout)
    assert status == 200
    assert body["why"]["model"] == "two_tower"
    assert FORBIDDEN & set(after_import) == set()
    assert FORBIDDEN & set(after_request) == set()
    assert {"numpy", "msgspec", "sqlite3"} <= set(after_request)
    ours = {name for name in after_request if name.partition(".")[0] in ("data_sources", "training_job", "evaluation")}
    assert ours == set()


def test_the_import_reads_nothing_and_opens_nothing(tmp_path: Path) -> None:
    """A home that cannot exist and settings that make no sense are nobody's business until a request comes."""
    program = "import lambda_user_tower.handler"
    environment = os.environ | {
        "TANDEM_HOME": "/dev/null/nowhere",
        "TANDEM_BUDGET_MS": "soon",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
