"""One process's edge: the opened publication, the profiles and the log, and the one boundary around every request.

Routes a call to its answer and turns whatever goes wrong into a problem. What an endpoint does is in `recommend.py`
and `health.py`. `handler.py` makes one from the environment, the dev server and the tests make their own.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from contracts.deadline import Deadline
from lambda_user_tower.health import health
from lambda_user_tower.logs import Log, cause
from lambda_user_tower.parse import parse_request
from lambda_user_tower.payload import read_call, request_id
from lambda_user_tower.problems import ok_response, problem_response
from lambda_user_tower.recommend import Turn, answer
from lambda_user_tower.routing import Endpoint, find_endpoint
from lambda_user_tower.serving import Serving
from lambda_user_tower.settings import LambdaSettings
from stores.profiles import SqliteProfiles
from stores.releases import LocalReleases


class Edge:
    """Events to responses, from one folder of releases and profiles."""

    def __init__(self, settings: LambdaSettings) -> None:
        """Opens nothing yet."""
        self.settings, self.log = settings, Log(settings.log_level, settings.log_key)
        self.serving = Serving(LocalReleases(settings.home), settings, self.log)

    @cached_property
    def profiles(self) -> SqliteProfiles:
        """Opened by the first request that needs one. Raises ProfilesUnavailable, and is tried again then."""
        return SqliteProfiles(self.settings.home / "profiles.sqlite")

    def close(self) -> None:
        """Close the profile store, where a process does not end with its edge."""
        if (profiles := self.__dict__.pop("profiles", None)) is not None:
            profiles.close()

    def __call__(self, event: object, context: object = None) -> dict[str, Any]:
        """The response to an event, whatever it is."""
        started = time.monotonic()
        facts: dict[str, Any] = {"request_id": request_id(event, context)}
        try:
            response = self._respond(event, facts)
        except Exception as error:  # noqa: BLE001  # the one boundary: whatever went wrong becomes a problem
            response = problem_response(error, facts["request_id"])
            facts |= cause(error)
        facts["ms"] = round((time.monotonic() - started) * 1000, 2)
        self.log.answered(response["statusCode"], facts)
        return response

    def _respond(self, event: object, facts: dict[str, Any]) -> dict[str, Any]:
        """Answer a call, noting on the way what the log should say of it.

        The budget runs from the moment that something is open: a cold start has been waited for by then, and a poorer
        answer would not bring its time back.
        """
        call = read_call(event)
        endpoint, identifier = find_endpoint(call.method, call.path)
        facts["endpoint"] = endpoint
        if endpoint is Endpoint.HEALTH:
            return ok_response(health(self.serving.pin()))
        request = parse_request(endpoint, identifier, call)
        facts["user"] = self.log.pseudonym(getattr(request, "user_id", None))
        served, deadline = self.serving.pin(), Deadline(self.settings.budget_ms)
        turn = Turn(served, lambda: self.profiles, deadline, int(time.time()), self.settings.promoted_share)
        slate = answer(request, turn)
        facts |= {
            "recommendation_id": slate.recommendation_id,
            "route": slate.why.route,
            "degraded": slate.why.degraded,
        }
        return ok_response(slate)
