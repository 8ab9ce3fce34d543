"""The bundle that ships: everything of ours runs from it alone, two builds are one, and what fails changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import msgspec
import pytest

from contracts.errors import BundleNotBuilt, BundleRejected
from infra.bundle import __main__ as command
from infra.bundle.build import REPOSITORY, Recipe, beside, build, digest
from infra.bundle.contents import ALL, HEAVY, IN_IMAGE, JOBS, MEGABYTE, NIGHT, SERVING, Contents, Limits
from infra.bundle.report import Report
from infra.bundle.target import ELF_AARCH64, ELF_X86_64, elf_machine, host_target, job_target, lambda_target
from local_mode.lambda_runtime.provided import lay_runtime
from tests.aws import REGION

GOAL_UNZIPPED, GOAL_ZIPPED = 170 * MEGABYTE, 60 * MEGABYTE

SMALL = replace(SERVING, libraries=("six",))
"""A bundle that is built in a second."""

DRAWN = {"evaluation.ink", "evaluation.plots", "evaluation.report"}
"""For people, with matplotlib, which no job has."""

IMPORT_ALL = f"""
import importlib, pkgutil
DRAWN = {DRAWN}
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if module.name not in DRAWN:
            importlib.import_module(module.name)
files = ((name, getattr(module, "__file__", None)) for name, module in sys.modules.items())
print(json.dumps(dict(pair for pair in files if pair[1])))
"""

AWS_CLIENTS = """
import boto3, botocore.session
session = boto3.Session(region_name="eu-central-1")
clients = {name: session.client(name) for name in sys.argv[2:]}
s3, tables = (session.client(name, endpoint_url=sys.argv[1]) for name in ("s3", "dynamodb"))
s3.create_bucket(Bucket="bundle-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
s3.put_object(Bucket="bundle-bucket", Key="k", Body=b"v", ChecksumAlgorithm="SHA256", IfNoneMatch="*")
assert s3.get_object(Bucket="bundle-bucket", Key="k")["Body"].read() == b"v"
assert "bundle-table" not in tables.list_tables()["TableNames"]
assert [*session.resource("dynamodb", endpoint_url=sys.argv[1]).tables.all()] is not None
print(json.dumps({name: client.meta.endpoint_url for name, client in clients.items()}))
"""

SEARCH = """
from opensearchpy import helpers
from stores.search_engine import connect
client = connect(sys.argv[1])
vector = {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"}}
body = {"settings": {"index": {"knn": True}}, "mappings": {"properties": {"v": vector}}}
client.indices.create(index="bundle-probe", body=body)
try:
    documents = ({"_index": "bundle-probe", "_id": str(i), "v": [float(i), 1.0]} for i in range(500))
    written, _ = helpers.bulk(client, documents, refresh=True)
    query = {"size": 3, "query": {"knn": {"v": {"vector": [100.1, 1.0], "k": 3}}}}
    hits = client.search(index="bundle-probe", body=query)["hits"]["hits"]
finally:
    client.indices.delete(index="bundle-probe")
client.close()
heavy = sorted({"grpc", "google", "opensearch", "requests"} & {name.partition(".")[0] for name in sys.modules})
print(json.dumps([written, [hit["_id"] for hit in hits], heavy]))
"""


def from_bundle_alone(bundle: Path, tmp_path: Path, program: str, *arguments: str) -> object:
    """What a program prints, as JSON, with the bundle and what AWS puts beside it as its only libraries."""
    lay_runtime(runtime := tmp_path / "runtime")
    paths = f"import json, sys\nsys.path += [{str(bundle)!r}, {str(runtime)!r}]\n"
    credentials = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", paths + program, *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, **credentials},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sources(contents: Contents) -> list[Path]:
    return contents.sources(REPOSITORY)


@pytest.fixture(params=[SERVING, NIGHT], ids=lambda contents: contents.name)
def function_bundle(request: pytest.FixtureRequest) -> tuple[Contents, Path]:
    contents: Contents = request.param
    return contents, request.getfixturevalue(f"{contents.name}_bundle")


def test_every_module_of_ours_imports_from_the_bundle_alone(
    function_bundle: tuple[Contents, Path], tmp_path: Path
) -> None:
    contents, bundle = function_bundle
    loaded = from_bundle_alone(bundle, tmp_path, IMPORT_ALL, *contents.packages)
    assert isinstance(loaded, dict)
    ours = {name for name in loaded if name.partition(".")[0] in contents.packages}
    assert len(ours) == len(sources(contents))
    assert all(loaded[name].startswith(str(bundle)) for name in (*ours, "numpy", "msgspec"))


def test_experiments_are_assigned_in_a_request_and_judged_elsewhere(serving_bundle: Path, night_bundle: Path) -> None:
    assert (serving_bundle / "growthbook").is_dir()
    assert (serving_bundle / "experiments" / "running.py").is_file()
    assert not (serving_bundle / "experiments" / "analysis").exists()
    text = "\n".join(path.read_text() for path in sources(SERVING))
    assert "experiments.analysis" not in text, "it would fail in AWS alone"
    assert not (night_bundle / "growthbook").exists(), "27 MB for nothing"


IN_A_JOB = """
import importlib.abc
image, here = set(sys.argv[1].split(",")), sys.argv[2]
class Image(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if path is not None:
            return None
        find = importlib.machinery.PathFinder.find_spec
        if (ours := find(name, [here, here + "/vendor"])) is not None:
            return ours
        found = None if name in image else find(name)
        if found is not None and "site-packages" in str(found.origin):
            raise ModuleNotFoundError(f"the image has no {name}", name=name)
        return None
sys.meta_path.insert(0, Image())
del sys.argv[1:3]
"""
"""An interpreter with nothing but the archive and what the image has: whatever else is installed is not seen."""

OF_LIBRARIES = {"typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec"}
OF_LIBRARIES |= {"torchgen", "functorch", "triton", "setuptools", "packaging", "cloudpickle", "narwhals"}
"""What torch and scikit-learn bring along."""


def test_every_module_of_a_job_imports_from_the_archive_and_the_image(jobs_archive: Path, tmp_path: Path) -> None:
    with tarfile.open(jobs_archive) as archive:
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    image = ",".join({*IN_IMAGE, *OF_LIBRARIES, "_distutils_hack"})
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{IN_A_JOB}{IMPORT_ALL}", image, str(tmp_path), *JOBS.packages],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    ours = {name for name in loaded if name.partition(".")[0] in JOBS.packages}
    assert len(ours) == len([path for path in sources(JOBS) if f"{path.parent.name}.{path.stem}" not in DRAWN])
    assert all(loaded[name].startswith(str(tmp_path)) for name in ours)
    assert all(loaded[name].startswith(str(tmp_path / "vendor")) for name in ("polars", "msgspec", "implicit"))


def test_the_bundle_has_what_aws_calls_need(serving_bundle: Path, tmp_path: Path, moto_endpoint: str) -> None:
    made = from_bundle_alone(serving_bundle, tmp_path, AWS_CLIENTS, moto_endpoint, *SERVING.services)
    assert isinstance(made, dict)
    assert made.keys() == set(SERVING.services)
    assert all(REGION in url for url in made.values())


@pytest.mark.parametrize("contents", ALL.values(), ids=ALL)
def test_nothing_calls_a_service_that_its_bundle_lacks(contents: Contents) -> None:
    text = "\n".join(path.read_text() for path in sources(contents))
    called = set(re.findall(r"""(?:client|resource|create_client)\(\s*["']([a-z0-9-]+)["']""", text))
    assert called <= set(contents.services)


def test_search_and_bulk_need_nothing_that_was_left_out(
    serving_bundle: Path, tmp_path: Path, opensearch_url: str
) -> None:
    written, nearest, heavy = from_bundle_alone(serving_bundle, tmp_path, SEARCH, opensearch_url)  # type: ignore[misc]
    assert (written, nearest) == (500, ["100", "101", "99"])
    assert set(heavy) <= {"requests"}


@pytest.mark.parametrize("packed", [".zip", ".tar.gz"])
@pytest.mark.usefixtures("serving_bundle")
def test_two_builds_are_the_same_bytes(packed: str, tmp_path: Path) -> None:
    recipe = Recipe(host_target(), replace(SMALL, packed=packed))
    outs = [tmp_path / name for name in ("first", "second")]
    for out in outs:
        build(recipe, out)
        os.utime(out / "six.py")
    first, second = (sha256(beside(out, packed).read_bytes()).hexdigest() for out in outs)
    assert first == second


def test_the_zip_is_the_folder(serving_bundle: Path) -> None:
    files = sorted(path for path in serving_bundle.rglob("*") if path.is_file())
    with ZipFile(beside(serving_bundle, ".zip")) as archive:
        assert archive.namelist() == [str(path.relative_to(serving_bundle)) for path in files]
        assert all(archive.read(str(path.relative_to(serving_bundle))) == path.read_bytes() for path in files)
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}
    compiled = [path for path in files if path.suffix == ".pyc"]
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\x01\0\0\0"}  # hashed, and trusted unchecked
    assert len(compiled) == len([path for path in files if path.suffix == ".py"])


def test_nothing_changed_is_nothing_done(serving_bundle: Path) -> None:
    before = serving_bundle.stat().st_ctime_ns, beside(serving_bundle, ".zip").stat().st_mtime_ns
    report = build(Recipe(host_target()), serving_bundle)
    assert (serving_bundle.stat().st_ctime_ns, beside(serving_bundle, ".zip").stat().st_mtime_ns) == before
    assert report.made_from == digest(Recipe(host_target())) != digest(Recipe(lambda_target()))
    kept = sum(library.kept_bytes for library in report.libraries)
    assert kept == report.unzipped_bytes
    assert kept == sum(path.stat().st_size for path in serving_bundle.rglob("*") if path.is_file())


def standing(folder: Path) -> Path:
    """A bundle that was built before, from something else."""
    out = folder / "serving"
    out.mkdir()
    (out / "handler.py").write_text("old\n")
    beside(out, ".zip").write_bytes(b"old")
    report = Report("host", "other", compiled=True, libraries=[], unzipped_bytes=4, zip_bytes=3)
    beside(out, ".json").write_bytes(msgspec.json.encode(report))
    return out


def untouched(out: Path) -> bool:
    parts = sorted(path.name for path in out.parent.iterdir() if path.suffix != ".lock")
    texts = (out / "handler.py").read_text(), beside(out, ".zip").read_bytes()
    return texts == ("old\n", b"old") and parts == ["serving", "serving.json", "serving.zip"]


@pytest.mark.usefixtures("serving_bundle")  # where it was built, the libraries are to be had
@pytest.mark.parametrize(
    ("limits", "problem"), [(Limits(unzipped=1000), "MB unzipped"), (Limits(packed=1000), "MB packed")]
)
def test_a_refused_bundle_leaves_the_one_before(tmp_path: Path, limits: Limits, problem: str) -> None:
    out = standing(tmp_path)
    with pytest.raises(BundleRejected, match=problem) as refused:
        build(Recipe(host_target(), replace(SMALL, limits=limits)), out)
    assert len(refused.value.problems) == 1
    assert untouched(out)


def test_an_index_out_of_reach_is_named_and_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = standing(tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path.parent / "empty-cache"))
    with pytest.raises(BundleNotBuilt, match="could not install the libraries for lambda"):
        build(Recipe(lambda_target()), out)
    assert untouched(out)
    monkeypatch.setattr(sys, "argv", ["bundle", "--only", "serving", "--out", str(out)])
    assert command.main() == 1
    assert capsys.readouterr().err.startswith("bundle-not-built: ")


@pytest.mark.usefixtures("serving_bundle")
def test_source_that_does_not_compile_is_named(tmp_path: Path) -> None:
    broken = replace(host_target(), compiler=Path("/bin/false"))
    with pytest.raises(BundleNotBuilt, match="does not compile"):
        build(Recipe(broken, SMALL), out := standing(tmp_path))
    assert untouched(out)


@pytest.mark.usefixtures("serving_bundle")
def test_a_new_bundle_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    out = standing(tmp_path)
    (tmp_path / ".serving-killed" / "bundle").mkdir(parents=True)  # by a build that was killed
    report = build(Recipe(replace(host_target(), compiler=None), SMALL), out)
    assert not (out / "handler.py").exists()
    assert (out / "six.py").exists()
    assert [*out.rglob("*.pyc")] == []
    assert (report.compiled, [library.name for library in report.libraries]) == (False, ["six", "tandem-recommender"])
    assert "without .pyc" in report.table()
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock")
    assert names == ["serving", "serving.json", "serving.zip"]


def test_the_arm64_bundle_is_what_aws_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    monkeypatch.setattr(sys, "argv", ["bundle", "--only", "serving", "--out", str(out)])
    if command.main() != 0:
        reason = capsys.readouterr().err
        assert reason.startswith("bundle-not-built"), reason
        if os.environ.get("TANDEM_REQUIRE_BUNDLE") == "1":
            pytest.fail(f"TANDEM_REQUIRE_BUNDLE=1, but: {reason}")
        pytest.skip(f"no arm64 bundle: {reason}")
    shared = [*out.rglob("*.so*")]
    assert len(shared) > 20
    assert {elf_machine(path) for path in shared} == {ELF_AARCH64}
    report = msgspec.json.decode(beside(out, ".json").read_bytes(), type=Report)
    assert report.unzipped_bytes <= GOAL_UNZIPPED
    assert report.zip_bytes == beside(out, ".zip").stat().st_size <= GOAL_ZIPPED
    assert not report.compiled or [*out.rglob("*.cpython-314.pyc")]
    table = capsys.readouterr().out
    assert all(library.name in table for library in report.libraries)
    with ZipFile(beside(out, ".zip")) as archive:
        assert {"lambda_user_tower/handler.py", "numpy/__init__.py"} <= set(archive.namelist())


@pytest.mark.usefixtures("jobs_archive")
def test_the_archive_for_sagemaker_is_what_its_toolkit_opens(tmp_path: Path) -> None:
    report = build(Recipe(job_target(), JOBS), out := tmp_path / "sourcedir")
    with tarfile.open(beside(out, ".tar.gz"), "r:gz") as archive:
        names = set(archive.getnames())
    assert {"train.py", "job.py", "training_job/__main__.py", "vendor/polars/__init__.py"} <= names
    shared = [*out.rglob("*.so*")]
    assert len(shared) > 5
    assert {elf_machine(path) for path in shared} == {ELF_X86_64}
    assert [*out.rglob("*.pyc")] == []
    assert report.zip_bytes == beside(out, ".tar.gz").stat().st_size


def test_what_a_job_must_not_bring_is_not_what_a_function_must_not_have() -> None:
    assert {"polars", "implicit"} <= HEAVY - IN_IMAGE
    assert all((REPOSITORY / "infra" / "bundle" / "entry_points" / name).is_file() for name in ("train.py", "job.py"))
