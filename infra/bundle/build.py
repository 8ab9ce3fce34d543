"""Build a bundle: install, leave out, copy, compile, check, zip, and only then put it where it is deployed from.

Two builds of the same inputs give the same bytes: files in order, one date for all, hash seeds fixed. Whatever fails,
the bundle that was there before stays. It knows nothing of what the functions do; `python -m infra.bundle` and the
tests call it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import msgspec
from filelock import FileLock

from contracts.errors import BundleNotBuilt, BundleRejected
from infra.bundle.checks import Limits, folder_bytes, folder_problems, zip_problems
from infra.bundle.report import Report, libraries, owners, sizes_by_entry
from infra.bundle.target import Target
from infra.bundle.trim import trim

REPOSITORY: Final = Path(__file__).resolve().parents[2]

PACKAGES: Final = ("contracts", "lambda_user_tower", "reranking", "retrieval", "stores")
"""Ours that the functions import; a test imports every module of them from the bundle alone."""

LIBRARIES: Final = ("-r", "pyproject.toml", "--extra", "lambda")
"""What is installed, as uv is told it."""

TASK_ROOT: Final = "/var/task"
"""Where AWS unpacks a function: what tracebacks of compiled code say."""

_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The first that a zip can hold."""

_MODE: Final = 0o644 << 16
"""Readable by the user that AWS runs functions as; nothing in a bundle is started by name."""


class Recipe(NamedTuple):
    """What goes into a bundle, and what it may weigh."""

    target: Target
    libraries: tuple[str, ...] = LIBRARIES
    limits: Limits = Limits()


def build(recipe: Recipe, out: Path) -> Report:
    """Build `out` (a folder), `out`.zip and `out`.json, unless they are made from the same inputs already.

    Raises BundleNotBuilt where the libraries cannot be had, BundleRejected where a check fails.
    """
    made_from, out = digest(recipe), out.resolve()  # the installer runs in another folder
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(beside(out, ".lock")):
        if (report := _standing(out)) is not None and report.made_from == made_from:
            return report
        for left_behind in out.parent.glob(f".{out.name}-*"):  # by a build that was killed: we hold the lock
            shutil.rmtree(left_behind)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
            report = _assemble(recipe, Path(work), made_from)
            _put_in_place(Path(work), out)
        beside(out, ".json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return report


def digest(recipe: Recipe) -> str:
    """Of everything that a bundle is made from."""
    total, target = blake2b(digest_size=16), recipe.target
    for part in (target.name, *target.install, *recipe.libraries, str(target.compiler), sys.version):
        total.update(part.encode() + b"\0")
    for path in _inputs():
        total.update(str(path.relative_to(REPOSITORY)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def beside(out: Path, ending: str) -> Path:
    """What belongs to a bundle and is not in it: `.zip`, `.json`, `.lock`."""
    return out.with_name(out.name + ending)


def _inputs() -> Iterator[Path]:
    yield from (REPOSITORY / "pyproject.toml", REPOSITORY / "constraints.txt")
    for package in (*PACKAGES, "infra/bundle"):
        yield from sorted((REPOSITORY / package).rglob("*.py"))


def _standing(out: Path) -> Report | None:
    """The report of the bundle that is there, whole."""
    try:
        report = msgspec.json.decode(beside(out, ".json").read_bytes(), type=Report)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return report if out.is_dir() and beside(out, ".zip").is_file() else None


def _assemble(recipe: Recipe, work: Path, made_from: str) -> Report:
    """A checked bundle as `work`/bundle and `work`/bundle.zip."""
    target, limits = recipe.target, recipe.limits
    folder, zipped = work / "bundle", work / "bundle.zip"
    _install(recipe, folder)
    came, owner = sizes_by_entry(folder), owners(folder)
    trim(folder)
    _copy_ours(folder)
    if target.compiler is not None:
        _compile(target.compiler, folder)
    constraints = (REPOSITORY / "constraints.txt").read_text()
    _refuse_if_any(target, [*folder_problems(folder, target, constraints, limits)])
    _zip(folder, zipped)
    _refuse_if_any(target, [*zip_problems(zipped.stat().st_size, limits)])
    return Report(
        target=target.name,
        made_from=made_from,
        compiled=target.compiler is not None,
        libraries=libraries(owner, came, sizes_by_entry(folder)),
        unzipped_bytes=folder_bytes(folder),
        zip_bytes=zipped.stat().st_size,
    )


def _install(recipe: Recipe, folder: Path) -> None:
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        raise BundleNotBuilt("uv is not there to install the libraries.", fix="Run `make build`, which brings it.")
    command = [uv, "pip", "install", "--quiet", "--target", str(folder), "--only-binary", ":all:"]
    command += ["--link-mode", "copy", "-c", "constraints.txt", *recipe.target.install, *recipe.libraries]
    environment = {"UV_SYSTEM_CERTS": "1"} | dict(os.environ)  # as scripts/setup.sh does, for a company's proxy
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603  # uv of this environment
    if done.returncode:
        raise BundleNotBuilt(
            f"uv could not install the libraries for {recipe.target.name}: {done.stderr.strip()}",
            fix="Is the package index reachable (proxy, UV_INDEX_URL)?",
        )


def _copy_ours(folder: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=False
        )


def _compile(python: Path, folder: Path) -> None:
    """Write `.pyc` that are trusted without a look at their source: nothing in a deployed function changes."""
    command = [str(python), "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", TASK_ROOT, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # the target's Python
    if done.returncode:
        raise BundleNotBuilt(f"the bundle does not compile with {python}: {done.stdout.strip()}")


def _refuse_if_any(target: Target, problems: list[str]) -> None:
    if problems:
        raise BundleRejected(
            f"the bundle for {target.name} must not be deployed: {' '.join(problems)}",
            problems=tuple(problems),
            fix="The bundle before it, if there was one, is untouched.",
        )


def _zip(folder: Path, zipped: Path) -> None:
    with ZipFile(zipped, "w", ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = ZipInfo(str(path.relative_to(folder)), _DATE)
                entry.external_attr = _MODE
                entry.compress_type = ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())


def _put_in_place(work: Path, out: Path) -> None:
    """Two renames: there is no moment at which a bundle is half there, and none is lost where the second fails."""
    beside(out, ".json").unlink(missing_ok=True)  # a stop from here on means: build again
    aside = work / "before"
    if out.exists():
        out.rename(aside)
    try:
        (work / "bundle").rename(out)
    except OSError:
        if aside.exists():
            aside.rename(out)
        raise
    (work / "bundle.zip").replace(beside(out, ".zip"))
