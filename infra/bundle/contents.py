"""What is built to be deployed: two bundles of functions, and the archive that SageMaker's jobs run.

Which packages of ours, which libraries, which of AWS's services; and what must never be in it. `build.py` makes one for
a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

MEGABYTE: Final = 1_000_000

BUILD: Final = Path("build")
"""Below it everything that is built lies."""


class Limits(NamedTuple):
    """Sizes in bytes that a bundle must stay under."""

    unzipped: int = 250 * MEGABYTE
    """Lambda's quota of an unpacked function."""
    packed: int = 60 * MEGABYTE
    """Ours: a cold start begins with downloading it, and 50 MB and more cannot be uploaded without a bucket."""


FUNCTION_LIMITS: Final = Limits()


@dataclass(frozen=True)
class Contents:
    """One thing that is built."""

    name: str
    out: str
    """Where its folder lies below BUILD."""
    packages: tuple[str, ...]
    """Ours; a test imports every module of them from the bundle alone."""
    libraries: tuple[str, ...]
    """What is installed, as uv is told it."""
    services: tuple[str, ...]
    """Of AWS, which botocore describes in 27 MB. A test holds the list against our code and makes a client of each."""
    unwanted: frozenset[str]
    """Top-level names that must not be among the libraries."""
    why_unwanted: str
    limits: Limits = FUNCTION_LIMITS
    library_folder: str = ""
    """Where the libraries lie in it; empty: beside our packages."""
    entry_points: str = ""
    """Folder of scripts, beside this file, that lie at its root."""
    compiled: bool = True
    """Whether `.pyc` are written, where this machine has the target's Python."""
    packed: str = ".zip"
    """Ending of what is deployed."""
    left_out: tuple[str, ...] = ()
    """Folders of our packages that are not in it, since nothing else in it imports them."""

    def sources(self, repository: Path) -> list[Path]:
        """Every module of ours that is in it, in order."""
        out = [repository / folder for folder in self.left_out]
        found = [path for package in self.packages for path in sorted((repository / package).rglob("*.py"))]
        return [path for path in found if not any(path.is_relative_to(folder) for folder in out)]

    def folder(self, *, host: bool) -> Path:
        """Where it is built by default: for AWS, or for this machine."""
        first, _, rest = self.out.partition("/")
        return BUILD / (f"{first}-host" if host else first) / rest


HEAVY: Final = frozenset(
    {"torch", "pandas", "polars", "pyarrow", "scipy", "sklearn", "implicit", "matplotlib", "aws_cdk", "jsii", "moto"}
    | {"sagemaker", "rich", "typer", "pydantic", "pytest", "mypy", "IPython", "cfnlint", "grpc", "awslambdaric"}
    | {"duckdb", "tea_tasting"}
)
"""Belong to training, building or testing. AWS brings `awslambdaric` itself."""

_OF_PYPROJECT: Final = ("-r", "pyproject.toml", "--extra")

SERVING: Final = Contents(
    name="serving",
    out="serving",
    packages=("contracts", "experiments", "lambda_user_tower", "reranking", "retrieval", "stores"),
    left_out=("experiments/analysis",),  # needs polars and scipy, and no request needs it
    libraries=(*_OF_PYPROJECT, "lambda"),
    # X-Ray is not among them: in Lambda its SDK speaks to a daemon and makes no client
    services=("codedeploy", "dynamodb", "firehose", "lambda", "s3", "secretsmanager", "sts"),
    unwanted=HEAVY,
    why_unwanted="too heavy for a function",
)

NIGHT: Final = Contents(
    name="night",
    out="night",
    packages=("contracts", "index_loader", "retrieval", "stores"),
    libraries=(*_OF_PYPROJECT, "aws", "aws-lambda-powertools"),  # the extra `lambda` has GrowthBook's SDK: 27 MB
    services=("dynamodb", "firehose", "s3", "secretsmanager", "stepfunctions", "sts"),  # also what others' stores need
    unwanted=HEAVY,
    why_unwanted="too heavy for a function",
)

IN_IMAGE: Final = frozenset(
    {"torch", "numpy", "scipy", "sklearn", "joblib", "threadpoolctl", "pandas", "pyarrow", "sagemaker_training"}
    | {"sagemaker_pytorch_container", "protobuf", "google", "psutil", "yaml", "PIL"}
)
"""What AWS's PyTorch image has (aws/deep-learning-containers, lock of 2.12): another one beside it would be taken
first, and is compiled against something else."""

JOBS: Final = Contents(
    name="jobs",
    out="jobs/sourcedir",
    packages=(
        *("batch_job", "contracts", "data_sources", "evaluation", "reranking", "retrieval", "stores", "training_job"),
    ),
    left_out=("training_job/tuning",),  # needs Optuna, and no job tunes
    libraries=(
        "--no-deps",  # the rest is in the image
        *("boto3", "botocore", "implicit", "jmespath", "msgspec", "polars", "polars-runtime-32", "python-dateutil"),
        *("s3transfer", "safetensors", "six", "tqdm", "urllib3"),
    ),
    services=("dynamodb", "firehose", "s3", "secretsmanager", "sts"),
    unwanted=IN_IMAGE,
    why_unwanted="the image has it",
    limits=Limits(unzipped=400 * MEGABYTE, packed=150 * MEGABYTE),  # a job fetches it in seconds, once
    library_folder="vendor",
    entry_points="entry_points",
    compiled=False,  # which Python the image has is the image's to say
    packed=".tar.gz",
)
"""Script mode wants a tar file: SageMaker's toolkit opens nothing else."""

ALL: Final = {contents.name: contents for contents in (SERVING, NIGHT, JOBS)}
