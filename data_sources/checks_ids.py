"""Checks of ids: present, of a length that stores hold, written one way only, known to their tables.

`doctor` runs them.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from contracts.schema import MAX_ID_BYTES
from data_sources.checks import MANY, Check, Examined, Needs, Outcome, collisions, failed, listed, passed, share, warned
from data_sources.findings import FindingKind
from data_sources.reading import ID_OF

_ODD_BLANKS: Final = r"^\s|\s$|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
"""Blanks at an end, and control, format and line-breaking characters anywhere: none of them is seen on a screen."""

_NUMBER: Final = r"^0*(\d+?)(?:\.0+)?$"
"""A whole number as different programs write it: 7, 007, 7.0."""


def _present(examined: Examined) -> Outcome:
    missing = [f for f in examined.findings(FindingKind.MISSING_VALUE) if f.place.column in ID_OF.values()]
    if missing:
        return failed("; ".join(f.message for f in missing), [f.place for f in missing])
    return passed("every row has its ids")


def _unique(examined: Examined) -> Outcome:
    repeated = examined.findings(FindingKind.REPEATED_ID)
    if repeated:
        return failed("; ".join(f.message for f in repeated), [f.place for f in repeated])
    return passed("no user and no item is in its table twice")


def _length(examined: Examined) -> Outcome:
    return _by_pattern(
        examined,
        pl.col("id").str.len_bytes() > MAX_ID_BYTES,
        f"longer than {MAX_ID_BYTES} bytes",
        f"no id is longer than {MAX_ID_BYTES} bytes of UTF-8",
        fatal=True,
    )


def _blanks(examined: Examined) -> Outcome:
    return _by_pattern(
        examined,
        pl.col("id").str.contains(_ODD_BLANKS),
        "with blanks at an end or invisible characters",
        "no id has blanks at an end or invisible characters",
    )


def _by_pattern(examined: Examined, odd: pl.Expr, what: str, fine: str, *, fatal: bool = False) -> Outcome:
    """Distinct ids for which `odd` (over the column `id`) holds."""
    found, places = [], []
    for side in ID_OF:
        ids = examined.all_ids[side].alias("id").to_frame().filter(odd)["id"]
        if len(ids):
            found.append(f"{len(ids):,} {side} have ids {what}")
            places += examined.places(side, ids)
    if not found:
        return passed(fine)
    return failed("; ".join(found), places) if fatal else warned("; ".join(found), places)


def _unicode(examined: Examined) -> Outcome:
    return _colliding(
        examined,
        pl.col("id").str.normalize("NFC"),
        "differ only in their Unicode normal form",
        "no two ids differ only in their Unicode normal form",
    )


def _number_forms(examined: Examined) -> Outcome:
    return _colliding(
        examined,
        pl.col("id").str.extract(_NUMBER),
        "are the same number written in different ways",
        "no two ids are one number written in two ways",
    )


def _colliding(examined: Examined, form: pl.Expr, what: str, fine: str) -> Outcome:
    found, places = [], []
    for side in ID_OF:
        ids = collisions(examined.all_ids[side], form)
        if len(ids):
            found.append(f"{len(ids):,} ids of {side} {what} ({listed(ids.sort().to_list())})")
            places += examined.places(side, ids)
    return warned("; ".join(found), places) if found else passed(fine)


def _known(examined: Examined, side: str) -> Outcome:
    known = examined.table(side).frame[ID_OF[side]]
    unknown = examined.per(side).filter(~pl.col("id").is_in(known.drop_nulls().implode()))
    total = len(examined.per(side))
    if unknown.is_empty():
        return passed(f"all {total:,} {side} with events are in the {side} table")
    found = f"{share(len(unknown), total)} {side} with events are not in the {side} table"
    places = examined.events_of(side, unknown["id"])
    return failed(found, places) if len(unknown) > MANY * total else warned(found, places)


def _users_known(examined: Examined) -> Outcome:
    return _known(examined, "users")


def _items_known(examined: Examined) -> Outcome:
    return _known(examined, "items")


CHECKS: Final = (
    Check(
        "ids-present",
        "An event without its user or item says nothing, and an empty id cannot be asked for.",
        "Fill the ids or remove these rows.",
        _present,
        (Needs.READ,),
    ),
    Check(
        "ids-unique",
        "Two rows for one id contradict each other: which features are right?",
        "Keep one row for each id, the newest.",
        _unique,
        (Needs.READ,),
    ),
    Check(
        "ids-length",
        "Profiles and index documents hold ids of this length at most; longer ones could be trained but not served.",
        "Shorten the ids at their source, or hash them.",
        _length,
        (Needs.READ,),
    ),
    Check(
        "ids-blanks",
        "Ids are compared byte by byte: ' a' and 'a' are two users, and a client that trims finds neither's history.",
        "Trim the ids at their source, everywhere or nowhere.",
        _blanks,
        (Needs.READ,),
    ),
    Check(
        "ids-unicode",
        "Letters with accents have two spellings that look alike; each becomes a user or item of its own.",
        "Normalise ids to NFC at their source.",
        _unicode,
        (Needs.READ,),
    ),
    Check(
        "ids-number-forms",
        "One export kept leading zeros (or wrote 7.0) and another did not: one history becomes two.",
        "Write ids as text, the same way in every table.",
        _number_forms,
        (Needs.READ,),
    ),
    Check(
        "users-known",
        "Users that are not in their table have no features and no segment; if most are, the ids do not match.",
        "Add them to the users table; if most are missing, compare how both tables write ids.",
        _users_known,
        (Needs.EVENTS, Needs.USERS),
    ),
    Check(
        "items-known",
        "Items that are not in their table have no content: nothing is known of them while they are cold.",
        "Add them to the items table; if most are missing, compare how both tables write ids.",
        _items_known,
        (Needs.EVENTS, Needs.ITEMS),
    ),
)
