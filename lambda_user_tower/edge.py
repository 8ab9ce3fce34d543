"""One process's edge: what it has opened, its stores and its log, and the one boundary around every request.

Routes a call to its answer and turns whatever goes wrong into a problem. What an endpoint does is in `recommend.py`,
`intake.py`, `health.py`, and for items and users in `item_calls.py` and `user_calls.py`. `handler.py` makes one from
the environment, the dev server and the tests make their own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from contracts.deadline import Deadline
from contracts.errors import TandemError, UserForbidden
from contracts.request import RecommendationRequest
from lambda_user_tower.catalogue import Catalogues
from lambda_user_tower.counting import LiveCounter
from lambda_user_tower.encoding import Encoders
from lambda_user_tower.events_parse import parse_events
from lambda_user_tower.experimenting import Experiments
from lambda_user_tower.fresh_id import fresh_id
from lambda_user_tower.health import health
from lambda_user_tower.intake import FAILED, EventsAnswer, EventStatus, Intake, take_in
from lambda_user_tower.item_calls import ItemCalls
from lambda_user_tower.laps import Laps
from lambda_user_tower.live import LiveItems
from lambda_user_tower.logs import Log, cause
from lambda_user_tower.parse import parse_request
from lambda_user_tower.payload import Answerer, Call, Facts, authorised_user, read_call, request_id
from lambda_user_tower.problems import ok_response, problem_response
from lambda_user_tower.recommend import Turn, answer, profile_id
from lambda_user_tower.routing import Endpoint, find_endpoint
from lambda_user_tower.serving import Serving
from lambda_user_tower.serving_log import ServingLog
from lambda_user_tower.settings import LambdaSettings
from lambda_user_tower.storage import Storage
from lambda_user_tower.trending import Trends
from lambda_user_tower.user_calls import UserCalls
from lambda_user_tower.variants import Answered, slate_row

RESTORE_PATIENCE_SECONDS: Final = 0.8
"""After a snapshot is restored, its first request waits so long for a publication that came since."""

_ANOTHER_USER: Final = "user_id: the caller is let in as another user."
_STATUS: Final = {
    EventStatus.TOO_MANY: 429,
    EventStatus.NOT_WRITTEN: 503,
    EventStatus.PROFILE_NOT_WRITTEN: 503,
}
"""HTTP status of a single event that was not taken; of a batch each event has its own answer."""


class Edge:
    """Events to responses."""

    def __init__(self, settings: LambdaSettings, log: Log | None = None) -> None:
        """Opens nothing yet. `log`: where lines go, by default stderr."""
        self.settings, self.log = settings, log or Log(settings.log_level, settings.log_key)
        self.storage = Storage(settings)
        releases, pointer_seconds = self.storage.releases, settings.pointer_check_seconds
        self.live = LiveItems(lambda: self.storage.fresh_items, settings.live_check_seconds, self.log)
        self.serving = Serving(releases, self.live, settings, self.log)
        self.catalogues = Catalogues(releases, pointer_seconds, self.log)
        self.encoders = Encoders(releases, pointer_seconds, self.log)
        self.trends = Trends(lambda: self.storage.live_counts, self.log)
        self.experiments = Experiments(self.storage, settings, self.log)
        self.logs = ServingLog(
            lambda: self.storage.exposures, lambda: self.storage.slates, settings.slates_share, self.log
        )
        self._counter = LiveCounter(lambda: self.storage.live_counts, fresh_id(), self.log)
        self._special: Mapping[Endpoint, Answerer] = {
            Endpoint.HEALTH: self._health,
            Endpoint.EVENTS: self._take_in,
            **ItemCalls(self.storage, self.encoders, self.live, settings).answerers,
            **UserCalls(self.storage, self.catalogues, self.log).answerers,
        }

    def close(self) -> None:
        """Close the stores, where a process does not end with its edge."""
        self.live.looks.close()
        self.experiments.looks.close()
        self.trends.close()
        self.logs.close()
        self._counter.close()
        self.storage.close()

    def restored(self, following: Serving | Catalogues | Encoders) -> None:
        """Make connections anew and see what serves now: for a process that comes back from a snapshot."""
        self.storage.reconnect()
        self.serving.reconnect()
        self._counter.renew()
        if following is self.serving and self.experiments.on:
            self.experiments.look_now(RESTORE_PATIENCE_SECONDS)
        try:
            following.look_now(RESTORE_PATIENCE_SECONDS)
        except TandemError as error:  # its requests will say the same
            self.log.write("ERROR", "not-opened-after-restore", error=str(error))

    def __call__(self, event: object, context: object = None) -> dict[str, Any]:
        """The response to an event, whatever it is."""
        started = time.monotonic()
        facts: Facts = {"request_id": request_id(event, context)}
        try:
            response = self._respond(event, facts)
        except Exception as error:  # noqa: BLE001  # the one boundary: whatever went wrong becomes a problem
            response = problem_response(error, facts["request_id"])
            facts |= cause(error)
        facts["ms"] = round((time.monotonic() - started) * 1000, 2)
        self.log.answered(response["statusCode"], facts)
        return response

    def _respond(self, event: object, facts: Facts) -> dict[str, Any]:
        """Answer a call, noting on the way what the log should say of it."""
        call = read_call(event)
        endpoint, identifier = find_endpoint(call.method, call.path)
        facts["endpoint"] = endpoint
        if (special := self._special.get(endpoint)) is not None:
            return special(identifier, call, facts)
        return self._recommend(endpoint, identifier, call, facts)

    def _recommend(self, endpoint: Endpoint, identifier: str, call: Call, facts: Facts) -> dict[str, Any]:
        """A slate."""
        request = parse_request(endpoint, identifier, call)
        user_id = profile_id(request) if isinstance(request, RecommendationRequest) else None
        facts["user"] = self.log.pseudonym(user_id)
        only_user = authorised_user(call.event)
        if only_user is not None and getattr(request, "user_id", None) not in (None, only_user):
            raise UserForbidden(_ANOTHER_USER, fix="Ask for the token's subject.")
        turn = self._turn(call, Laps())
        answered = answer(request, turn)
        slate = answered.slate
        self._log_slate(answered, turn)
        facts |= {
            "recommendation_id": slate.recommendation_id,
            "route": slate.why.route,
            "degraded": slate.why.degraded,
            "items": len(slate.items),
            "explored": slate.why.explored,
            "age_seconds": turn.served.age_seconds(turn.now_seconds),
            "live_age_seconds": self.live.age_seconds,
            **turn.laps.ms,
        }
        if slate.why.variant is not None:
            facts["variant"] = slate.why.variant
        return ok_response(slate)

    def _log_slate(self, answered: Answered, turn: Turn) -> None:
        """Have it written what is served, where anybody wants to know."""
        wanted = self.settings.slates_stream if self.settings.in_aws else turn.experiments is not None
        if wanted and turn.logs is not None and turn.logs.takes(answered.slate.recommendation_id):
            turn.logs.served(slate_row(answered, turn.now_seconds))

    def _turn(self, call: Call, laps: Laps) -> Turn:
        """What a slate is answered from.

        The budget runs from the moment that something is open: a cold start has been waited for by then, and a poorer
        answer would not bring its time back.
        """
        self.serving.pin()
        experiments = self.experiments if self.experiments.on else None
        if experiments is not None:
            experiments.follow()
        deadline = Deadline(self.settings.budget_ms)
        served = self.serving.pin_fresh(deadline)
        laps.lap("open")
        return Turn(
            served=served,
            profiles=lambda: self.storage.profiles,
            trends=self.trends,
            deadline=deadline,
            now_seconds=int(time.time()),
            laps=laps,
            promoted_share=self.settings.promoted_share,
            experiments=experiments,
            logs=None if experiments is None and not self.settings.slates_stream else self.logs,
            headers=call.event.get("headers"),
        )

    def _health(self, _: str, __: Call, ___: Facts) -> dict[str, Any]:
        served = self.serving.pin_fresh(Deadline(self.settings.budget_ms))
        if self.experiments.on:
            self.experiments.follow()
        return ok_response(health(served, self.live, self.experiments))

    def _take_in(self, _: str, call: Call, facts: Facts) -> dict[str, Any]:
        """Events into the log and the profiles."""
        told, laps = parse_events(call.event), Laps()
        catalogue = self.catalogues.pin().catalogue
        laps.lap("open")
        intake = Intake(
            catalogue=catalogue,
            log=self.storage.event_log,
            profiles=self.storage.profiles,
            now_seconds=int(time.time()),
            per_user_minute=self.settings.events_per_user_minute,
            max_age_days=self.settings.event_max_age_days,
            laps=laps,
            only_user=authorised_user(call.event),
            fresh_items=lambda: self.storage.fresh_items,
            counter=self._counter,
        )
        taken = take_in(told.events, intake)
        facts |= {"events": taken.counts, **laps.ms}
        return ok_response(taken, _status_of(taken, single=told.single))


def _status_of(taken: EventsAnswer, *, single: bool) -> int:
    """HTTP status of an answer about events. Raises UserForbidden for a single event of another user."""
    statuses = [answer.status for answer in taken.results]
    if single:
        if statuses[0] is EventStatus.FORBIDDEN:
            raise UserForbidden(_ANOTHER_USER, fix="Send the token's subject as user_id.")
        return _STATUS.get(statuses[0], 200)
    return 503 if FAILED.issuperset(statuses) else 200
