"""The breaker under threads: one trial at a time, and what began earlier decides nothing later."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import pytest

from contracts.errors import IndexUnavailable
from stores.circuit_breaker import CircuitBreaker


class Broken(Exception):
    """What a call raises."""


def fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(Broken), breaker.call():
        raise Broken


def is_open(breaker: CircuitBreaker) -> bool:
    try:
        with breaker.call():
            return False
    except IndexUnavailable:
        return True


def test_of_many_threads_one_tries_however_long_it_takes() -> None:
    now, threads = [0.0], 32
    breaker = CircuitBreaker(1, 5.0, lambda: now[0])
    fail(breaker)
    now[0] = 5.0
    ready, trying, end = threading.Barrier(threads), threading.Event(), threading.Event()

    def ask() -> bool:
        ready.wait(10)
        try:
            with breaker.call():
                trying.set()
                end.wait(10)
                return True
        except IndexUnavailable:
            return False

    with ThreadPoolExecutor(threads) as pool:
        asked = [pool.submit(ask) for _ in range(threads)]
        assert trying.wait(10)
        now[0] = 50.0  # the trial is slower than the time between two of them
        assert is_open(breaker)
        assert not any(future.result() for future in islice(as_completed(asked), threads - 1))
        end.set()
    assert sum(future.result() for future in asked) == 1
    assert not is_open(breaker)


def test_a_call_from_before_the_opening_does_not_close_it() -> None:
    breaker = CircuitBreaker(1, 5.0, lambda: 0.0)
    with breaker.call():
        fail(breaker)
    assert is_open(breaker)


def test_a_call_from_before_the_closing_does_not_open_it() -> None:
    now = [0.0]
    breaker = CircuitBreaker(1, 5.0, lambda: now[0])
    slow = breaker.call()
    slow.__enter__()
    fail(breaker)
    now[0] = 5.0
    assert not is_open(breaker)  # the trial is answered
    slow.__exit__(Broken, Broken(), None)
    assert not is_open(breaker)


def test_a_failed_trial_keeps_it_open_for_as_long_again() -> None:
    now = [0.0]
    breaker = CircuitBreaker(1, 5.0, lambda: now[0])
    fail(breaker)
    now[0] = 5.0
    fail(breaker)
    now[0] = 9.9
    assert is_open(breaker)
    now[0] = 10.0
    assert not is_open(breaker)


def test_single_failures_between_answers_do_not_open_it() -> None:
    breaker = CircuitBreaker(2, 5.0, lambda: 0.0)
    for _ in range(5):
        fail(breaker)
        assert not is_open(breaker)
