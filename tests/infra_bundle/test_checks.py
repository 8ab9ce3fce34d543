"""What must not be deployed is refused: each check against a small bundle with one thing wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.bundle.checks import folder_problems, packed_problems
from infra.bundle.contents import JOBS, SERVING, Contents, Limits
from infra.bundle.target import ELF_AARCH64, Target, elf_machine, host_target, lambda_target
from infra.bundle.trim import trim

CONSTRAINTS = "numpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\nx-y-z==1.0\n"


def shared_object(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + bytes(44)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle for arm64 with nothing wrong."""
    (tmp_path / "numpy.libs").mkdir()
    (tmp_path / "numpy.libs" / "libblas-1234.so.3").write_bytes(shared_object(ELF_AARCH64))
    library(tmp_path, "numpy-2.5.5", "cp314-cp314-manylinux_2_27_aarch64", "cp314-cp314-manylinux_2_28_aarch64")
    library(tmp_path, "x_y.Z-1.0", "py2-none-any", "py3-none-any")
    return tmp_path


def library(folder: Path, name: str, *tags: str) -> None:
    dist_info = folder / f"{name}.dist-info"
    dist_info.mkdir()
    (dist_info / "WHEEL").write_text("Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags))


def problems(folder: Path, target: Target | None = None, contents: Contents = SERVING) -> list[str]:
    return [*folder_problems(folder, target or lambda_target(), CONSTRAINTS, contents)]


def test_a_bundle_with_nothing_wrong_passes(folder: Path) -> None:
    assert problems(folder) == []


@pytest.mark.parametrize("content", [shared_object(62), b"\xcf\xfa\xed\xfe" + bytes(60), b"\x7fELF", b""])
def test_a_shared_object_of_another_machine_is_found(folder: Path, content: bytes) -> None:
    (folder / "fast.cpython-314-x86_64-linux-gnu.so").write_bytes(content)
    assert len(found := problems(folder)) == 1
    assert found[0].startswith("fast.cpython-314-x86_64-linux-gnu.so: ")


@pytest.mark.parametrize(
    "tag",
    [
        "cp314-cp314-manylinux_2_28_x86_64",
        "cp314-cp314-manylinux_2_39_aarch64",
        "cp314-cp314-musllinux_1_2_aarch64",
        "cp313-cp313-manylinux_2_28_aarch64",
        "cp315-abi3-manylinux_2_28_aarch64",
        "cp314-cp314t-manylinux_2_28_aarch64",
        "py2-none-any",
    ],
)
def test_a_wheel_for_something_else_is_found(folder: Path, tag: str) -> None:
    (folder / "x_y.Z-1.0.dist-info" / "WHEEL").write_text(f"Tag: {tag}\n")
    assert problems(folder) == [f"x_y.Z-1.0.dist-info: a wheel for {tag} does not fit lambda."]


def test_a_version_that_nobody_locked_is_found(folder: Path) -> None:
    library(folder, "numpy-2.5.6", "py3-none-any")
    library(folder, "stranger-1.0", "py3-none-any")
    assert [problem.split(":")[0] for problem in problems(folder)] == ["numpy 2.5.6", "stranger 1.0"]


@pytest.mark.parametrize("name", ["torch", "pandas", "aws_cdk", "grpc"])
def test_what_is_too_heavy_is_found(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    assert problems(folder) == [f"{name}: too heavy for a function."]


def test_what_the_image_has_is_not_brought_again(folder: Path) -> None:
    (folder / "numpy").mkdir()
    assert problems(folder, contents=JOBS) == ["numpy: the image has it."]


def test_what_is_too_large_is_found() -> None:
    limits = Limits(unzipped=2_000_000, packed=1_000_000)
    assert [*packed_problems(2_000_000, 1_000_000, limits)] == []
    assert [*packed_problems(3_000_000, 1_500_000, limits)] == [
        "3 MB unzipped: the limit is 2 MB.",
        "2 MB packed: the limit is 1 MB.",
    ]


def test_every_problem_is_told_at_once(folder: Path) -> None:
    assert len(problems(folder, host_target())) == 2  # its shared object, and its wheel of numpy


def test_the_machine_of_this_python_is_read() -> None:
    assert host_target().machine == elf_machine(Path("/bin/sh").resolve())


def test_only_what_a_rule_names_is_left_out(tmp_path: Path) -> None:
    kept = ("numpy/core.py", "botocore/data/s3/2006-03-01/service-2.json.gz", "botocore/data/endpoints.json")
    kept += ("numpy-1.dist-info/METADATA", "numpy-1.dist-info/licenses/LICENSE.txt", "google.py")
    left_out = ("numpy/tests/test_core.py", "numpy/core.pyi", "numpy/lib/x.h", "botocore/data/ec2/1/service-2.json.gz")
    left_out += ("numpy-1.dist-info/RECORD", "bin/f2py", "grpc/__init__.py", "google/protobuf/__init__.py")
    for name in (*kept, *left_out):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    trim(tmp_path, ("s3",))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
