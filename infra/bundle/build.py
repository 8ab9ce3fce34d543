"""Build a bundle: install, leave out, copy, compile, check, zip, and only then put it where it is deployed from.

Two builds of the same inputs give the same bytes: files in order, one date for all, hash seeds fixed. Whatever fails,
the bundle that was there before stays. It knows nothing of what the functions do; `python -m infra.bundle` and the
tests call it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import msgspec
from filelock import FileLock

from contracts.errors import BundleNotBuilt, BundleRejected
from infra.bundle.checks import folder_bytes, folder_problems, packed_problems
from infra.bundle.contents import SERVING, Contents
from infra.bundle.report import Report, libraries, owners, sizes_by_entry
from infra.bundle.target import Target
from infra.bundle.trim import trim

REPOSITORY: Final = Path(__file__).resolve().parents[2]

TASK_ROOT: Final = "/var/task"
"""Where AWS unpacks a function: what tracebacks of compiled code say."""

_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The first that a zip can hold."""

_MODE: Final = 0o644
"""Readable by the user that AWS runs functions as; nothing in a bundle is started by name."""

_GZIP_LEVEL: Final = 6
"""9 takes twice as long for a hundredth less."""

_SECONDS: Final = 315_532_800
"""Of the same date in a tar file."""


class Recipe(NamedTuple):
    """What is built for whom."""

    target: Target
    contents: Contents = SERVING

    @property
    def packed(self) -> str:
        """Ending of what is deployed."""
        return self.contents.packed


def build(recipe: Recipe, out: Path) -> Report:
    """Build `out` (a folder), `out`.zip (or .tar.gz) and `out`.json, unless they are of the same inputs already.

    Raises BundleNotBuilt where the libraries cannot be had, BundleRejected where a check fails.
    """
    made_from, out = digest(recipe), out.resolve()  # the installer runs in another folder
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(beside(out, ".lock")):
        if (report := _standing(out, recipe)) is not None and report.made_from == made_from:
            return report
        for left_behind in out.parent.glob(f".{out.name}-*"):  # by a build that was killed: we hold the lock
            shutil.rmtree(left_behind)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
            report = _assemble(recipe, Path(work), made_from)
            _put_in_place(Path(work), out, recipe)
        beside(out, ".json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return report


def digest(recipe: Recipe) -> str:
    """Of everything that a bundle is made from."""
    total, target, contents = blake2b(digest_size=16), recipe.target, recipe.contents
    for part in (target.name, *target.install, repr(contents.libraries), str(target.compiler), sys.version):
        total.update(part.encode() + b"\0")
    for path in _inputs(contents):
        total.update(str(path.relative_to(REPOSITORY)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def beside(out: Path, ending: str) -> Path:
    """What belongs to a bundle and is not in it: `.zip` or `.tar.gz`, `.json`, `.lock`."""
    return out.with_name(out.name + ending)


def _inputs(contents: Contents) -> Iterator[Path]:
    yield from (REPOSITORY / "pyproject.toml", REPOSITORY / "constraints.txt")
    yield from contents.sources(REPOSITORY)
    yield from sorted((REPOSITORY / "infra/bundle").rglob("*.py"))


def _standing(out: Path, recipe: Recipe) -> Report | None:
    """The report of the bundle that is there, whole."""
    try:
        report = msgspec.json.decode(beside(out, ".json").read_bytes(), type=Report)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return report if out.is_dir() and beside(out, recipe.packed).is_file() else None


def _assemble(recipe: Recipe, work: Path, made_from: str) -> Report:
    """A checked bundle as `work`/bundle, and packed beside it."""
    target, contents = recipe.target, recipe.contents
    folder, packed = work / "bundle", work / f"bundle{recipe.packed}"
    library_folder = folder / contents.library_folder
    _install(recipe, library_folder)
    came, owner = sizes_by_entry(library_folder), owners(library_folder)
    trim(library_folder, contents.services)
    constraints = (REPOSITORY / "constraints.txt").read_text()
    problems = [*folder_problems(library_folder, target, constraints, contents)]
    _copy_ours(contents, folder)
    if contents.compiled and target.compiler is not None:
        _compile(target.compiler, folder)
    _refuse_if_any(recipe, problems)
    _pack(folder, packed)
    _refuse_if_any(recipe, [*packed_problems(folder_bytes(folder), packed.stat().st_size, contents.limits)])
    kept = sizes_by_entry(library_folder)
    if contents.library_folder:
        kept |= {name: size for name, size in sizes_by_entry(folder).items() if name != contents.library_folder}
    return Report(
        target=target.name,
        made_from=made_from,
        compiled=contents.compiled and target.compiler is not None,
        libraries=libraries(owner, came, kept),
        unzipped_bytes=folder_bytes(folder),
        zip_bytes=packed.stat().st_size,
    )


def _install(recipe: Recipe, folder: Path) -> None:
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        raise BundleNotBuilt("uv is not there to install the libraries.", fix="Run `make build`, which brings it.")
    command = [uv, "pip", "install", "--quiet", "--target", str(folder), "--only-binary", ":all:"]
    command += ["--link-mode", "copy", "-c", "constraints.txt", *recipe.target.install]
    command += recipe.contents.libraries
    environment = {"UV_SYSTEM_CERTS": "1"} | dict(os.environ)  # as scripts/setup.sh does, for a company's proxy
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603  # uv of this environment
    if done.returncode:
        raise BundleNotBuilt(
            f"uv could not install the libraries for {recipe.target.name}: {done.stderr.strip()}",
            fix="Is the package index reachable (proxy, UV_INDEX_URL)?",
        )


def _copy_ours(contents: Contents, folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for package in contents.packages:
        shutil.copytree(REPOSITORY / package, folder / package, ignore=ignored, dirs_exist_ok=False)
    for left_out in contents.left_out:
        shutil.rmtree(folder / left_out)
    if contents.entry_points:
        scripts = Path(__file__).with_name(contents.entry_points)
        shutil.copytree(scripts, folder, ignore=ignored, dirs_exist_ok=True)


def _compile(python: Path, folder: Path) -> None:
    """Write `.pyc` that are trusted without a look at their source: nothing in a deployed function changes."""
    command = [str(python), "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", TASK_ROOT, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # the target's Python
    if done.returncode:
        raise BundleNotBuilt(f"the bundle does not compile with {python}: {done.stdout.strip()}")


def _refuse_if_any(recipe: Recipe, problems: list[str]) -> None:
    if problems:
        raise BundleRejected(
            f"the bundle {recipe.contents.name} for {recipe.target.name} must not be deployed: {' '.join(problems)}",
            problems=tuple(problems),
            fix="The bundle before it, if there was one, is untouched.",
        )


def _pack(folder: Path, packed: Path) -> None:
    files = [(path, str(path.relative_to(folder))) for path in sorted(folder.rglob("*")) if path.is_file()]
    if packed.suffix == ".zip":
        _zip(files, packed)
    else:
        _tar(files, packed)


def _zip(files: list[tuple[Path, str]], packed: Path) -> None:
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for path, name in files:
            entry = ZipInfo(name, _DATE)
            entry.external_attr = _MODE << 16
            entry.compress_type = ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def _tar(files: list[tuple[Path, str]], packed: Path) -> None:
    """Without a name and a time in the gzip header, and without owners: the same files, the same bytes."""
    with (
        packed.open("wb") as raw,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, name in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = path.stat().st_size, _SECONDS, _MODE
            with path.open("rb") as content:
                archive.addfile(entry, content)


def _put_in_place(work: Path, out: Path, recipe: Recipe) -> None:
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
    (work / f"bundle{recipe.packed}").replace(beside(out, recipe.packed))
