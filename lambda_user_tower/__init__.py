"""The edge: an HTTP event in, a slate or a problem out.

`handler.handler` takes API Gateway HTTP API events (payload 2.0), reads the profile, gives retrieval and re-ranking a
deadline, and answers. Thin: it finds and orders nothing itself, knows no data files and no training library, and
opens everything at the first request, nothing at import. AWS calls it; `local_mode/dev_server.py` and the tests call
the same function with the same events.
"""
