"""Live items over the toy world, for the tests of what is laid over a release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from contracts.fitted import FittedModel
from contracts.live import LiveItem, features_digest
from retrieval.fresh import FreshEncoder, with_fresh
from retrieval.opened import OpenModel, open_model
from tests.toy_world import NOW, toy_model

RELEASE = "r1"


def told(item_id: str, features: Mapping[str, Any] | None = None, *, created_at: int = NOW, **state: Any) -> LiveItem:
    """An item whose features were told, not encoded yet."""
    digest = "" if features is None else features_digest(features)
    known = None if features is None else dict(features)
    return LiveItem(item_id=item_id, features=known, digest=digest, created_at=created_at, **state)


def encoded(fitted: FittedModel, items: Iterable[LiveItem], release: str = RELEASE) -> dict[str, LiveItem]:
    """The same with their encodings for a release, as the store has them."""
    live = {item.item_id: item for item in items}
    for item_id, encoding in FreshEncoder(fitted, release).missing(live).items():
        live[item_id] = replaced(live[item_id], encodings={release: encoding})
    return live


def replaced(item: LiveItem, **changes: Any) -> LiveItem:
    """The same item with other values, as a change of the store brings it."""
    values = {name: getattr(item, name) for name in item.__struct_fields__}
    return LiveItem(**(values | changes))


def art(number: int, **changes: Any) -> dict[str, Any]:
    """Features of a work of art unlike any other."""
    return {"genre": "art", "tags": ["big"], "title": f"Toy art {number}", "price": float(number % 20)} | changes


def laid_over(model: OpenModel, items: Iterable[LiveItem], limit: int = 5_000) -> OpenModel:
    """A model with items over it, encoded first."""
    return with_fresh(model, encoded(model.fitted, items), RELEASE, limit)


def gallery(n: int = 12, **options: Any) -> OpenModel:
    """The toy world and n fresh works of art, a second apart: rows 200, 201, …"""
    return laid_over(
        open_model(toy_model(**options)), [told(f"new{k:02d}", art(k), created_at=NOW - 100 + k) for k in range(n)]
    )
