"""On which machine SageMaker trains, and in which of AWS's PyTorch images. Pure names, for the stacks and `tandem aws`.

The tags are those of aws/deep-learning-containers of August 2026. The account of the registry differs by region:
`infra` asks CDK for it, `local_mode/aws/training_image.py` has a table.
"""

from __future__ import annotations

import re
from typing import Final

REPOSITORY: Final = "pytorch"
CPU_TAG: Final = "2.13-cpu-amzn2023-sagemaker"
GPU_TAG: Final = "2.12-cu130-amzn2023-sagemaker"
"""CUDA 13.0: an image with 13.3 needs a newer driver than an instance may have."""

CPU_INSTANCE: Final = "ml.m5.xlarge"
"""Four CPUs, 16 GB: every account may have one, and it trains on 100,000 items in well under a night."""
GPU_INSTANCE: Final = "ml.g4dn.xlarge"
"""One T4, the cheapest GPU that SageMaker trains on; accounts begin with none and ask for it once."""
INSTANCE_PATTERN: Final = r"ml\.[a-z0-9-]+\.[a-z0-9]+"
_GPU: Final = r"ml\.[gp]\d.*"
_ONE_GPU: Final = r"ml\.(g\d\w*\.(xlarge|2xlarge|4xlarge|8xlarge|16xlarge)|p3\.2xlarge|p5\.4xlarge)"
"""NVIDIA machines with a single GPU, by their sizes; every other size of these families has several."""


def has_gpu(instance: str) -> bool:
    """Whether a SageMaker instance type has GPUs of NVIDIA, the only ones that the GPU image knows."""
    return re.fullmatch(_GPU, instance) is not None


def needs_torchrun(instance: str, instances: int) -> bool:
    """Whether one process is not enough to use all of the machines."""
    return instances > 1 or (has_gpu(instance) and re.fullmatch(_ONE_GPU, instance) is None)


def image_tag(instance: str) -> str:
    """The tag of the image for an instance type."""
    return GPU_TAG if has_gpu(instance) else CPU_TAG
