"""The HTTP API in front of the functions: routes, who may call, how often, and what is logged of a call.

The routes are those of `lambda_user_tower/gateway_routes.py`. `stacks.py` makes one.
"""

from __future__ import annotations

import json
from typing import Final

import jsii
from aws_cdk import Aws, Duration
from aws_cdk import aws_apigatewayv2 as gateway
from aws_cdk import aws_logs as logs
from aws_cdk.aws_apigateway import AccessLogFormat
from aws_cdk.aws_apigatewayv2_authorizers import HttpIamAuthorizer, HttpJwtAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra.profiles import Deployment
from infra.serving import Serving
from infra.storage import log_group
from lambda_user_tower.gateway_routes import routes

STAGE: Final = "$default"
"""Paths begin at the host."""
ACCESS_LOG: Final = {
    "request_id": "$context.requestId",
    "at_ms": "$context.requestTimeEpoch",
    "route": "$context.routeKey",
    "status": "$context.status",
    "ms": "$context.responseLatency",
    "function_ms": "$context.integrationLatency",
    "function_status": "$context.integrationStatus",
    "error": "$context.error.responseType",
    "bytes": "$context.responseLength",
}
"""Never the path, the caller's address or a token's claims: each of them can name a user."""
PREFLIGHT_HOURS: Final = 2
"""The longest that browsers believe an answer to a preflight."""


class Api(Construct):
    """One API with one stage."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment, serving: Serving) -> None:
        super().__init__(scope, construct_id)
        self.http = gateway.HttpApi(
            self,
            "Http",
            api_name=deployment.prefix,
            create_default_stage=False,  # it would have no access log and no throttle
            default_authorizer=_authorizer(deployment),
            cors_preflight=_cors(deployment),
        )
        self._add_routes(serving)
        self.access_log = log_group(self, "AccessLog", deployment)
        self.stage = gateway.HttpStage(
            self,
            "Stage",
            http_api=self.http,
            stage_name=STAGE,
            auto_deploy=True,
            detailed_metrics_enabled=True,
            throttle=gateway.ThrottleSettings(rate_limit=deployment.requests_per_second, burst_limit=deployment.burst),
            access_log_settings=_AccessLog(self.access_log),
        )
        self.invoke_arn = f"arn:{Aws.PARTITION}:execute-api:{Aws.REGION}:{Aws.ACCOUNT_ID}:{self.http.api_id}/*"

    def _add_routes(self, serving: Serving) -> None:
        aliases = {"recommend": serving.recommend_alias, "events": serving.events_alias, "items": serving.items_alias}
        functions = {name: HttpLambdaIntegration(name.capitalize(), alias) for name, alias in aliases.items()}
        signed = HttpIamAuthorizer()
        for route in routes():
            self.http.add_routes(
                path=route.path,
                methods=[gateway.HttpMethod[route.method]],
                integration=functions[route.function],
                authorizer=signed if route.function == "items" else None,  # else the API's own
            )


@jsii.implements(gateway.IAccessLogSettings)
class _AccessLog:
    """Where a line of each call goes, and what is in it."""

    def __init__(self, group: logs.LogGroup) -> None:
        self._group = group

    @property
    def destination(self) -> gateway.IAccessLogDestination:
        return gateway.LogGroupLogDestination(self._group)

    @property
    def format(self) -> AccessLogFormat:
        return AccessLogFormat.custom(json.dumps(ACCESS_LOG))


def _authorizer(deployment: Deployment) -> gateway.IHttpRouteAuthorizer:
    """Callers are back ends that sign; with an issuer, browsers that show a token."""
    if not deployment.jwt_issuer:
        return HttpIamAuthorizer()
    return HttpJwtAuthorizer("Jwt", deployment.jwt_issuer, jwt_audience=[*deployment.jwt_audience])


def _cors(deployment: Deployment) -> gateway.CorsPreflightOptions | None:
    if not deployment.cors_origins:
        return None
    return gateway.CorsPreflightOptions(
        allow_origins=[*deployment.cors_origins],
        allow_methods=[gateway.CorsHttpMethod[method] for method in ("GET", "POST", "PUT", "DELETE")],
        allow_headers=["authorization", "content-type"],
        max_age=Duration.hours(PREFLIGHT_HOURS),
    )
