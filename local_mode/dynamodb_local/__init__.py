"""Amazon's DynamoDB Local for one machine: a real engine for tests and rehearsals, fetched and never shipped.

It comes under a licence of Amazon's own, which allows to use it and not to pass it on: no bundle and no release
contains it, only the list of its checksums. `server.py` starts and stops it.
"""
