"""Live counts in a DynamoDB table, which removes them by itself when they are old.

The Lambda edge writes and reads them; `live_counts.py` has the protocol and the local class, `live_table.py` the calls
and their failures.
"""

from __future__ import annotations

import msgspec

from contracts.errors import LiveDataUnavailable
from contracts.live import BUCKET_SECONDS, COUNTS_KEPT_SECONDS, Counts
from stores.dynamodb_table import Item
from stores.live_counts import LiveCounts
from stores.live_records import pack, unpack
from stores.live_table import COUNT, EXPIRES, ID, InLiveTable


class DynamoDBLiveCounts(InLiveTable, LiveCounts):
    """Counts in one table. Nothing is sent before the first call; threads share one client."""

    def write(self, counts: Counts) -> None:
        """See `LiveCounts.write`. One PutItem."""
        expires = (counts.bucket + 1) * BUCKET_SECONDS + COUNTS_KEPT_SECONDS
        attributes = {"weights": {"B": pack(counts.weights)}, EXPIRES: {"N": str(expires)}}
        self._table.put(COUNT, f"{_padded(counts.bucket)}#{counts.writer}", attributes)

    def since(self, bucket: int) -> list[Counts]:
        """See `LiveCounts.since`. One Query a megabyte."""
        pages = self._table.pages(COUNT, f"#{ID} >= :first", {":first": {"S": _padded(bucket)}})
        return [self._counts(item) for page in pages for item in page]

    def sweep(self, before: int) -> int:  # noqa: ARG002
        """See `LiveCounts.sweep`: the table does so by itself, within two days of when a record expires."""
        return 0

    def _counts(self, item: Item) -> Counts:
        bucket, _, writer = item[ID]["S"].partition("#")
        try:
            return Counts(int(bucket), writer, unpack(item["weights"]["B"], dict[str, float]))
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise LiveDataUnavailable(
                f"table {self._table.name}: a record is no count that this code reads: {error}.",
                fix="Deploy the code that wrote it, or wait until it expires.",
            ) from error


def _padded(bucket: int) -> str:
    """So that ids sort as buckets do, for the next twelve thousand years."""
    return f"{bucket:010d}"
