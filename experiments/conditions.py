"""The targeting that a payload may carry: what all GrowthBook SDKs and their versions agree on, and nothing else.

Comparisons of missing numbers, of numbers with strings, of versions, and regular expressions differ between SDKs, so a
test that one of them evaluates is not the test that another one evaluates. Saved groups are not in a reduced payload.
`rules.py` calls it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from experiments.attributes import FEATURES, NUMBERS, TEXTS, is_text
from experiments.refusal import refuse, shown

MAX_DEPTH: Final = 10
"""Of conditions in conditions: the SDK walks them by recursion, and nobody reads deeper ones."""
MAX_VALUES: Final = 1_000
"""Of one `$in`: an audience that is longer is a feature of its users."""

_NAMES: Final = ", ".join((*TEXTS, *NUMBERS, f"{FEATURES}.<name>"))
_USE: Final = (
    "Use $eq, $ne, $in, $nin, $exists, $not on strings and booleans, $gt, $gte, $lt, $lte on events; $and, $or, $not."
)


def check_condition(condition: Any, where: str, depth: int = 0) -> None:
    """Raise PayloadInvalid where a condition says what SDKs do not agree on; `where` leads to it."""
    if depth > MAX_DEPTH:
        refuse(where, f"is nested deeper than {MAX_DEPTH}", "Write it flat.")
    if not isinstance(condition, dict):
        refuse(where, f"is {shown(condition)}", "Give an object of attributes.")
    for name, wanted in condition.items():
        inner = f"{where}.{name}"
        if name in ("$and", "$or"):
            _check_list(wanted, inner, lambda one, at: check_condition(one, at, depth + 1))
        elif name == "$not":
            check_condition(wanted, inner, depth + 1)
        elif name in NUMBERS:
            _check_wanted(wanted, inner, depth, number=True)
        elif is_text(name):
            _check_wanted(wanted, inner, depth, number=False)
        else:
            refuse(where, f"speaks of {shown(name)}, which no request says", f"Attributes are {_NAMES}. {_USE}")


def _check_wanted(wanted: Any, where: str, depth: int, *, number: bool) -> None:
    """What an attribute is compared with: a value, or an object of operators."""
    if not isinstance(wanted, dict):
        _check_value(wanted, where, number=number)
        return
    if not wanted or depth > MAX_DEPTH:
        refuse(where, "compares with nothing, or is nested too deeply", _USE)
    for operator, value in wanted.items():
        if operator == "$not":
            _check_wanted(value, f"{where}.$not", depth + 1, number=number)
        else:
            _check_operator(operator, value, where, number=number)


def _check_operator(operator: str, value: Any, where: str, *, number: bool) -> None:
    inner = f"{where}.{operator}"
    if operator == "$exists":
        if not isinstance(value, bool):
            refuse(inner, f"is {shown(value)}", "Give true or false.")
    elif operator in ("$in", "$nin"):
        _check_list(value, inner, lambda one, at: _check_value(one, at, number=number))
    elif operator in ("$eq", "$ne") or (number and operator in ("$gt", "$gte", "$lt", "$lte")):
        _check_value(value, inner, number=number)
    else:
        refuse(where, f"has the operator {shown(operator)}, which SDKs do not agree on", _USE)


def _check_value(value: Any, where: str, *, number: bool) -> None:
    if number:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and _exact(value)
    else:
        fits = isinstance(value, str | bool)
    if not fits:
        refuse(where, f"is {shown(value)}", "Give a number." if number else "Give a string, true or false.")


def _exact(value: float) -> bool:
    """Whether it is the same number in every language: finite, and an integer only as far as doubles count."""
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= 2**53


def _check_list(values: Any, where: str, check: Callable[[Any, str], None]) -> None:
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_VALUES:
        refuse(where, "is no list, an empty or a too long one", f"Give a list of 1 to {MAX_VALUES}.")
    for number, value in enumerate(values, 1):
        check(value, f"{where}[{number}]")
