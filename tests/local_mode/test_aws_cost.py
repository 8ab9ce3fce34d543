"""What a deployment costs: hand-computed lines, more load never cheaper, and a load that does not fit is said."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.aws_cost import sizes_of
from cli.main import app
from contracts.errors import PricesOutdated, RequestInvalid
from infra.profiles import PROFILES
from local_mode.aws import cost_assumptions
from local_mode.aws.cost import Line, Load, Sizes, monthly
from local_mode.aws.cost_fit import misfits
from local_mode.aws.prices import MAX_AGE_DAYS, SHIPPED, Prices, read_prices

ORDINARY = Load(users=100_000, items=20_000, requests_per_day=100_000, events_per_day=100_000)


@pytest.fixture(scope="module")
def prices() -> Prices:
    return read_prices(today=tomllib.loads(SHIPPED.read_text())["date"])


def sizes(profile: str) -> Sizes:
    return sizes_of(PROFILES[profile](f"tandem-{profile}"))


def lines(profile: str, load: Load, prices: Prices) -> dict[tuple[str, str], Line]:
    return {(line.part, line.what): line for line in monthly(load, sizes(profile), prices)}


def total(profile: str, load: Load, prices: Prices) -> float:
    return sum(line.usd for line in lines(profile, load, prices).values())


def test_lines_are_those_of_a_calculation_by_hand(prices: Prices) -> None:
    """730 hours are 30.4167 days: 100,000 calls a day are 3.0417 million."""
    dev = lines("dev", ORDINARY, prices)
    assert dev["serving", "calls of the API"].usd == pytest.approx(2 * 3.041667 * 1.00, rel=1e-5)
    # 1,769 MB for 25 ms and 25 more for the exposure, 3.0417 million times
    assert dev["serving", "recommend, running"].amount == pytest.approx(3.041667e6 * 0.050 * 1.727539, rel=1e-5)
    assert dev["serving", "recommend, running"].usd == pytest.approx(2 * 1.7515, rel=1e-3)
    # both versions' memory, every second of the month
    assert dev["serving", "snapshots, kept"].usd == pytest.approx((1.727539 + 1) * 2_628_000 * 0.0000015046, rel=1e-5)
    # an event of 0.25 KB is billed as 5 KB, and so is a slate of 0.7 and an exposure of 0.21
    for log in ("events", "exposures", "slates"):
        assert dev[log, "through Firehose"].amount == pytest.approx(3.041667e6 * 5e3 / 1e9, rel=1e-5)
    # three logs, a file a minute each
    assert dev["buckets", "written"].amount == pytest.approx(3 * 1.44 * 30.41667, rel=1e-5)
    # one read unit a request and an event, and each user with events once a night; two write units an event
    assert dev["profiles", "reads"].usd == pytest.approx(3 * 3.041667 * 0.125, rel=1e-5)
    assert dev["profiles", "writes"].usd == pytest.approx(2 * 3.041667 * 0.625, rel=1e-5)
    assert dev["search", "data nodes"].usd == pytest.approx(730 * 0.036)
    assert dev["search", "volumes"].usd == pytest.approx(10 * 0.122)
    prod = lines("prod", ORDINARY, prices)
    assert prod["search", "data nodes"].usd == pytest.approx(2 * 730 * 0.178)
    assert prod["search", "masters"].usd == pytest.approx(3 * 730 * 0.135)
    assert "masters" not in {what for _, what in dev}


def test_a_trace_is_one_of_the_first_of_a_second_or_one_in_twenty(prices: Prices) -> None:
    quiet = lines("mini", replace(ORDINARY, requests_per_day=1_000, events_per_day=0), prices)
    assert quiet["watching", "traces"].amount == pytest.approx(0.0304167, rel=1e-4)
    busy = lines("mini", replace(ORDINARY, requests_per_day=1_086_400, events_per_day=0), prices)
    assert busy["watching", "traces"].amount == pytest.approx((86_400 + 50_000) * 30.41667 / 1e6, rel=1e-5)


def test_experiments_from_growthbook_cost_cents_and_a_secret(prices: Prices) -> None:
    fetched = monthly(ORDINARY, replace(sizes("dev"), fetches_experiments=True), prices)
    more = [line for line in fetched if line.part == "experiments"]
    # 8,760 fetches of 1.5 s with 512 MB, an alarm, a secret
    assert next(line.amount for line in more if line.what == "fetches, running") == pytest.approx(8_760 * 1.5 * 0.5)
    assert 0.50 < sum(line.usd for line in more) < 0.70


def test_spot_and_several_machines_change_the_training_alone(prices: Prices) -> None:
    one = replace(sizes("dev"), night=replace(sizes("dev").night, spot=True, training_instances=1))
    full = replace(one, night=replace(one.night, spot=False))
    spot = next(line for line in monthly(ORDINARY, one, prices) if "training" in line.what)
    paid = next(line for line in monthly(ORDINARY, full, prices) if "training" in line.what)
    assert spot.usd == pytest.approx(paid.usd * prices.of("sagemaker.spot").usd)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("field", ["users", "items", "requests_per_day", "events_per_day"])
def test_more_is_never_cheaper(profile: str, field: str, prices: Prices) -> None:
    figures = [
        total(profile, replace(ORDINARY, **{field: number}), prices)
        for number in (1, 10, 1_000, 49_999, 50_001, 10**6, 10**7)
    ]
    assert figures == sorted(figures)
    assert figures[0] < figures[-1]


@pytest.mark.parametrize("requests", [0, 1_000, 1_000_000])
@pytest.mark.parametrize("items", [1_000, 1_000_000])
def test_a_larger_profile_costs_more_at_the_same_load(requests: int, items: int, prices: Prices) -> None:
    load = Load(10_000, items, requests, requests)
    mini, dev, prod = (total(profile, load, prices) for profile in ("mini", "dev", "prod"))
    assert 0 < mini < dev < prod


def test_a_load_that_fits_is_not_warned_of(prices: Prices) -> None:
    assert [misfits(ORDINARY, sizes(profile), prices) for profile in PROFILES] == [[], [], []]


@pytest.mark.parametrize(
    ("profile", "changed", "said"),
    [
        ("mini", {"items": 50_001}, "no search domain"),
        ("dev", {"items": 450_000}, "t3.small.search caches about 1.0 GB"),
        ("dev", {"items": 3_000_000}, "10 GB volume"),
        ("prod", {"items": 600_000}, "512 MB"),
        ("dev", {"requests_per_day": 2_000_000}, "requests_per_second"),
        ("dev", {"events_per_day": 10_000_000}, "hours on ml.m5.xlarge"),
    ],
)
def test_what_does_not_fit_is_said(profile: str, changed: dict[str, Any], said: str, prices: Prices) -> None:
    found = misfits(replace(ORDINARY, **changed), sizes(profile), prices)
    assert any(said in sentence for sentence in found), found


def test_every_price_has_its_source_and_every_estimate_its_reason(prices: Prices) -> None:
    for name, price in prices.prices.items():
        assert price.source.startswith("https://"), name
        assert ".aws.amazon.com" in price.source or "//aws.amazon.com" in price.source, name
        assert price.seen, name
        assert bool(price.why) is price.estimate, name
        assert price.usd > 0, name


def test_every_assumption_has_its_reason() -> None:
    assert all(len(found.why) > 10 and found.value > 0 and found.unit for found in cost_assumptions.ALL.values())
    assert len(cost_assumptions.ALL) > 20


def test_old_prices_are_refused_with_what_to_do(prices: Prices) -> None:
    last = prices.date + timedelta(days=MAX_AGE_DAYS)
    assert read_prices(today=last).date == prices.date
    with pytest.raises(PricesOutdated, match=r"366 days old.*--prices"):
        read_prices(today=last + timedelta(days=1))


@pytest.mark.parametrize(
    "text", ["", "date = 1", "date = 2026-01-01\nregion = 'x'\n[prices.a]\nusd = 'much'\nunit = ''\nsource = ''"]
)
def test_a_file_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RequestInvalid, match=r"mine\.toml: not a file of prices"):
        read_prices(path)


def test_a_price_that_is_missing_is_named(prices: Prices) -> None:
    search = sizes("dev").search
    assert search is not None
    odd = replace(sizes("dev"), search=replace(search, instance="x9.large.search"))
    with pytest.raises(RequestInvalid, match=r"search\.x9\.large\.search"):
        monthly(ORDINARY, odd, prices)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_table_of_the_documentation_is_what_the_arithmetic_says(profile: str, prices: Prices) -> None:
    page = (SHIPPED.parents[2] / "docs" / "deploy.md").read_text()
    (row,) = re.findall(rf"^\| `{profile}`.*\| (\d+) \| (\d+) \|$", page, flags=re.MULTILINE)
    idle = Load(users=1_000, items=20_000, requests_per_day=0, events_per_day=0)
    assert [*map(int, row)] == [round(total(profile, load, prices)) for load in (idle, ORDINARY)]
    assert str(prices.date) in page


def run(tmp_path: Path, *options: str) -> Any:
    """The command with the shipped prices as if they were of today."""
    fresh, shipped = tmp_path / "fresh.toml", SHIPPED.read_text()
    stamped = shipped.replace(f"date = {tomllib.loads(shipped)['date']}", f"date = {datetime.now(UTC):%Y-%m-%d}")
    fresh.write_text(stamped)
    load = ["--users", "1000", "--items", "100", "--requests-per-day", "5000"]
    return CliRunner().invoke(app, ["aws", "cost", *load, "--prices", str(fresh), *options])


def test_the_command_says_the_same_to_people_and_to_programs(tmp_path: Path) -> None:
    told = json.loads(run(tmp_path, "--json", "--profile", "mini").stdout)
    assert told["usd_per_month"] == pytest.approx(sum(line["usd"] for line in told["lines"]), abs=0.01)
    assert told["warnings"] == []
    assert told["assumptions"]["recommend_ms"]["why"]
    shown = run(tmp_path, "--profile", "mini", "--explain")
    assert f"{told['usd_per_month']:,.2f}" in shown.stdout
    assert "aws.amazon.com/lambda/pricing" in shown.stdout


def test_another_region_than_the_file_s_is_refused(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path, "--region", "eu-central-1").exception, RequestInvalid)
    assert run(tmp_path, "--region", "us-east-1").exit_code == 0
