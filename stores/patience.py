"""A call that is left when its time is over, whatever it hangs in.

Timeouts of HTTP clients bound the connect and each single read: a name server that is silent, or an answer that comes
byte by byte, passes them all. Here the call runs in a thread that nobody waits for any longer than agreed. Starting one
costs less than a tenth of a millisecond; a call that was left ends by itself, and a circuit breaker bounds how many
there are. `search_index.py` asks its engine through this.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """What `call` returns or raises, or TimeoutError after `seconds`; infinite patience needs no thread."""
    if seconds == math.inf:
        return call()
    outcome: SimpleQueue[tuple[Result, None] | tuple[None, Exception]] = SimpleQueue()

    def work() -> None:
        try:
            outcome.put((call(), None))
        except Exception as error:  # noqa: BLE001  # it is raised where the caller waits
            outcome.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer in {seconds * 1000:.0f} ms") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error there is a result
