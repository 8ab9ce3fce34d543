"""The stack that a deploy replaces: functions, their rights, the API, the streams, the alarms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from contracts.event_columns import EVENT_COLUMNS, EXPOSURE_COLUMNS, SLATE_COLUMNS
from lambda_user_tower.gateway_routes import OF_EVENTS, OF_ITEMS, routes
from lambda_user_tower.routing import Endpoint, find_endpoint
from lambda_user_tower.settings import LambdaSettings
from local_mode.aws.deployment import Deployment
from tests.infra.synthesis import Synthesised, allowed_actions, several, text_of

RECOMMEND, EVENTS = "lambda_user_tower.handler.handler", "lambda_user_tower.handler.events"
ITEMS = "lambda_user_tower.handler.items"
CHECK = "lambda_user_tower.deploy_check.handler"
ANSWERING = pytest.mark.parametrize("handler", [RECOMMEND, EVENTS, ITEMS])
SNAPSHOTS = pytest.mark.parametrize("handler", [RECOMMEND, EVENTS])


def _settings(deployment: Synthesised, handler: str) -> LambdaSettings:
    """What the function would read at cold start; nothing of it may raise."""
    variables = deployment.function(handler)["Environment"]["Variables"]
    return LambdaSettings.from_env({name: text_of(value) for name, value in variables.items()})


@pytest.mark.parametrize("handler", [RECOMMEND, EVENTS, ITEMS, CHECK])
def test_functions_run_the_one_bundle_on_its_own_python(deployment: Synthesised, handler: str) -> None:
    function = deployment.function(handler)
    assert (function["Runtime"], function["Architectures"]) == ("python3.14", ["arm64"])
    keys = {deployment.function(each)["Code"]["S3Key"] for each in (RECOMMEND, EVENTS, ITEMS, CHECK)}
    assert len(keys) == 1


def test_handlers_exist() -> None:
    from lambda_user_tower import deploy_check, handler

    assert callable(handler.handler)
    assert callable(handler.events)
    assert callable(handler.items)
    assert callable(deploy_check.handler)


@ANSWERING
def test_the_environment_is_what_the_settings_read(deployment: Synthesised, handler: str) -> None:
    settings, outputs = _settings(deployment, handler), deployment.outputs()
    assert settings.in_aws
    assert "storageReleases" in settings.releases_bucket
    assert "storageProfiles" in settings.profiles_table
    assert "storageLive" in settings.live_table
    assert settings.events_stream == outputs["EventsStream"]
    assert "storageLogKey" in settings.log_key_secret
    assert settings.log_key == ""
    assert str(settings.home).startswith("/tmp/")  # noqa: S108  # what a function can write


def test_only_recommend_is_told_of_the_domain(dev: Synthesised, mini: Synthesised) -> None:
    recommend = _settings(dev, RECOMMEND)
    assert recommend.opensearch_url.startswith("https://<tandem-dev-state:")
    assert recommend.opensearch_region == "<AWS::Region>"
    assert _settings(dev, EVENTS).opensearch_url == _settings(dev, ITEMS).opensearch_url == ""
    assert _settings(mini, RECOMMEND).opensearch_url == ""


def test_settings_of_the_context_reach_the_functions(synthesised: Callable[..., Synthesised]) -> None:
    tuned = synthesised(profile="mini", **TUNED)
    for handler in (RECOMMEND, EVENTS, ITEMS):
        assert _settings(tuned, handler).rerank.diversity == "mmr"


@SNAPSHOTS
def test_versions_are_snapshots_behind_the_alias(deployment: Synthesised, handler: str) -> None:
    assert deployment.function(handler)["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert deployment.function(handler)["TracingConfig"] == {"Mode": "Active"}
    part = "servingRecommend" if handler == RECOMMEND else "servingEvents"
    alias = deployment.one("AWS::Lambda::Alias", f"{part}Live")
    assert alias["Name"] == "live"
    assert f"{part}CurrentVersion" in text_of(alias["FunctionVersion"])
    assert "EphemeralStorage" not in deployment.function(handler)


def test_items_opens_what_recommend_opens_and_keeps_no_snapshot(deployment: Synthesised) -> None:
    """A back end waits for a cold start, and a kept snapshot would cost more than all its calls."""
    items = deployment.function(ITEMS)
    assert items["MemorySize"] == deployment.function(RECOMMEND)["MemorySize"], "it opens a whole release"
    assert "SnapStart" not in items
    assert items.get("TracingConfig", {}).get("Mode") != "Active", "its role may send no traces"
    alias = deployment.one("AWS::Lambda::Alias", "servingItemsLive")
    assert (alias["Name"], "servingItemsCurrentVersion" in text_of(alias["FunctionVersion"])) == ("live", True)


def test_the_alias_moves_only_after_the_check_of_the_new_version(deployment: Synthesised) -> None:
    aliases = deployment.whole("AWS::Lambda::Alias")
    (name, recommend), (_, items), (_, events) = sorted(aliases.items(), reverse=True)
    update = recommend["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    assert "servingDeployCheck" in text_of(update["BeforeAllowTrafficHook"])
    group = deployment.one("AWS::CodeDeploy::DeploymentGroup")
    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaAllAtOnce"
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert any("servingDeployCheck" in each for each in recommend["DependsOn"])
    assert name in events["DependsOn"], "all aliases move after one check"
    assert name in items["DependsOn"], "all aliases move after one check"


def test_the_check_knows_and_may_call_the_new_version_alone(deployment: Synthesised) -> None:
    version = deployment.function(CHECK)["Environment"]["Variables"]["TANDEM_NEW_VERSION"]
    assert "servingRecommendCurrentVersion" in text_of(version)
    allowed = {tuple(several(each["Action"])): each["Resource"] for each in deployment.statements("DeployCheckPolicy")}
    assert allowed["lambda:InvokeFunction",] == version
    assert "deploymentgroup" in text_of(allowed["codedeploy:PutLifecycleEventHookExecutionStatus",])
    assert len(allowed) == 3, "and its own log"


OWN_LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}
TRACES = {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
RELEASES = {"s3:GetObject", "s3:ListBucket"}
NETWORK = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}


def test_recommend_writes_what_it_served_and_nothing_else(deployment: Synthesised) -> None:
    wanted = OWN_LOG | TRACES | RELEASES | {"dynamodb:GetItem", "dynamodb:Query", "secretsmanager:GetSecretValue"}
    wanted |= {"firehose:PutRecordBatch"}
    wanted |= {"es:ESHttpGet", "es:ESHttpPost"} if deployment.profile != "mini" else set()
    wanted |= NETWORK if deployment.profile == "prod" else set()
    assert allowed_actions(deployment.statements("servingRecommendPolicy")) == wanted


def _on(deployment: Synthesised, policy: str, action: str) -> set[str]:
    """Resources on which a policy allows an action, less what CDK adds to their names."""
    allowed = (each for each in deployment.statements(policy) if action in several(each["Action"]))
    return {re.sub(r"[0-9A-F]{8}", "", text_of(arn)) for each in allowed for arn in several(each["Resource"])}


def test_each_function_writes_to_its_own_streams(deployment: Synthesised) -> None:
    write = "firehose:PutRecordBatch"
    served = {"<eventsExposuresStream.Arn>", "<eventsSlatesStream.Arn>"}
    assert _on(deployment, "servingRecommendPolicy", write) == served
    assert _on(deployment, "servingEventsPolicy", write) == {"<eventsEventsStream.Arn>"}


def test_experiments_are_for_recommend_alone(deployment: Synthesised) -> None:
    told, outputs = _settings(deployment, RECOMMEND), deployment.outputs()
    assert (told.exposures_stream, told.slates_stream) == (outputs["ExposuresStream"], outputs["SlatesStream"])
    assert "storageExperimentsKey" in told.experiments_key_secret
    assert "storageExperimentsKey" in str(_on(deployment, "servingRecommendPolicy", "secretsmanager:GetSecretValue"))
    for handler, policy in ((EVENTS, "servingEventsPolicy"), (ITEMS, "servingItemsPolicy")):
        others = _settings(deployment, handler)
        assert others.exposures_stream == others.slates_stream == others.experiments_key_secret == ""
        assert "ExperimentsKey" not in str(deployment.statements(policy))


def test_events_writes_profiles_and_the_log(deployment: Synthesised) -> None:
    assert allowed_actions(deployment.statements("servingEventsPolicy")) == (
        OWN_LOG
        | TRACES
        | RELEASES
        | {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}
        | {"firehose:PutRecordBatch", "secretsmanager:GetSecretValue"}
    )


def test_items_writes_items_and_nothing_of_users(deployment: Synthesised) -> None:
    statements = deployment.statements("servingItemsPolicy")
    wanted = {"dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:UpdateItem", "secretsmanager:GetSecretValue"}
    assert allowed_actions(statements) == OWN_LOG | RELEASES | wanted
    assert not [each for each in statements if "Profiles" in str(each["Resource"])]


def _reached(deployment: Synthesised, policy: str) -> set[tuple[str, str, str]]:
    """(action, `feed` or `table`, kind of records) of live data that a policy allows."""
    reached = set()
    for statement in deployment.statements(policy):
        resources = [text_of(each) for each in several(statement["Resource"])]
        if not any("storageLive" in each for each in resources):
            continue
        ((resource,), ((operator, keys),)) = resources, statement["Condition"].items()
        assert operator == "ForAllValues:StringEquals"
        part = {"": "table", "/index/feed": "feed"}[resource.partition(">")[2]]
        actions = [each.removeprefix("dynamodb:") for each in several(statement["Action"])]
        reached |= {(action, part, kind) for action in actions for kind in several(keys["dynamodb:LeadingKeys"])}
    return reached


def test_each_function_reaches_only_its_kinds_of_live_data(deployment: Synthesised) -> None:
    """Who left and whose a session was is read by nobody who answers callers."""
    follow = ("Query", "feed", "item")
    assert _reached(deployment, "servingRecommendPolicy") == {follow, ("Query", "table", "count")}
    items = {(action, "table", "item") for action in ("BatchGetItem", "UpdateItem")}
    assert _reached(deployment, "servingItemsPolicy") == {follow, *items}
    users = {("UpdateItem", "table", kind) for kind in ("tombstone", "merge")}
    assert _reached(deployment, "servingEventsPolicy") == {*items, *users, ("PutItem", "table", "count")}


@pytest.mark.parametrize("policy", ["servingRecommendPolicy", "servingEventsPolicy", "servingItemsPolicy"])
def test_functions_read_releases_publications_and_the_pointer(deployment: Synthesised, policy: str) -> None:
    (reads,) = (each for each in deployment.statements(policy) if each["Action"] == "s3:GetObject")
    keys = sorted(text_of(each).split("/", 1)[1] for each in reads["Resource"])
    experiments = ["experiments/current.json"] if "Recommend" in policy else []
    assert keys == ["current.json", *experiments, "publications/*", "releases/*"]


def test_no_role_of_a_function_has_more_than_its_policy(deployment: Synthesised) -> None:
    for name, role in deployment.resources("AWS::IAM::Role").items():
        principal = text_of(role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"])
        if principal in ("lambda.amazonaws.com", "firehose.amazonaws.com") and "CustomS3" not in name:
            assert role.keys() <= {"AssumeRolePolicyDocument", "Tags"}, name


def test_of_serving_only_recommend_of_prod_is_in_the_network(deployment: Synthesised) -> None:
    inside = {each["Handler"] for each in deployment.resources("AWS::Lambda::Function").values() if "VpcConfig" in each}
    assert {each for each in inside if ".night." not in each} == (
        {RECOMMEND} if deployment.profile == "prod" else set()
    )


def test_log_groups_forget(deployment: Synthesised) -> None:
    groups = deployment.resources("AWS::Logs::LogGroup")
    assert {each["RetentionInDays"] for each in groups.values()} == {90 if deployment.profile == "prod" else 14}
    for handler in (RECOMMEND, EVENTS, ITEMS, CHECK):
        assert deployment.function(handler)["LoggingConfig"]["LogGroup"]["Ref"] in groups


def _integrations(deployment: Synthesised) -> dict[str, str]:
    """Route → the alias that it calls."""
    integrations = deployment.resources("AWS::ApiGatewayV2::Integration")
    called = {}
    for route in deployment.resources("AWS::ApiGatewayV2::Route").values():
        (integration,) = (name for name in integrations if name in text_of(route["Target"]))
        called[route["RouteKey"]] = text_of(integrations[integration]["IntegrationUri"])
        assert integrations[integration]["PayloadFormatVersion"] == "2.0"
    return called


def test_every_endpoint_has_its_route_and_function(deployment: Synthesised) -> None:
    called = _integrations(deployment)
    for endpoint in Endpoint:
        part = "EventsLive" if endpoint in OF_EVENTS else "ItemsLive" if endpoint in OF_ITEMS else "RecommendLive"
        assert part in called.pop(endpoint), endpoint
    greedy = {
        "GET /v1/users/{proxy+}": "RecommendLive",
        "GET /v1/items/{proxy+}": "RecommendLive",
        "PUT /v1/users/{proxy+}": "EventsLive",
        "DELETE /v1/users/{proxy+}": "EventsLive",
        "POST /v1/users/{proxy+}": "EventsLive",
        "PUT /v1/items/{proxy+}": "ItemsLive",
        "PATCH /v1/items/{proxy+}": "ItemsLive",
    }
    assert called.keys() == greedy.keys(), "ids with slashes, and nothing else"
    assert all(part in called[route] for route, part in greedy.items())


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("GET", "/v1/users/a/b/c/recommendations", Endpoint.FOR_USER),
        ("DELETE", "/v1/users/a/b/c", Endpoint.DELETE_USER),
        ("POST", "/v1/users/a/b/c/merge", Endpoint.MERGE),
        ("PUT", "/v1/items/a/b/c", Endpoint.PUT_ITEM),
        ("PATCH", "/v1/items/a/b/c", Endpoint.PATCH_ITEM),
    ],
)
def test_an_id_with_slashes_finds_a_route_and_then_its_endpoint(method: str, path: str, endpoint: Endpoint) -> None:
    (greedy,) = (
        each
        for each in routes()
        if "+" in each.path and each.method == method and path.startswith(each.path.partition("{")[0])
    )
    assert find_endpoint(greedy.method, path) == (endpoint, "a/b/c")


def test_callers_sign_where_no_issuer_is_named(deployment: Synthesised) -> None:
    routes = deployment.resources("AWS::ApiGatewayV2::Route").values()
    assert {each["AuthorizationType"] for each in routes} == {"AWS_IAM"}
    assert not deployment.resources("AWS::ApiGatewayV2::Authorizer")
    assert "CorsConfiguration" not in deployment.one("AWS::ApiGatewayV2::Api")
    assert not any("DefaultAuthorizer" in each for each in routes)


TUNED: dict[str, Any] = {
    "jwt_issuer": "https://login.shop.example/",
    "jwt_audience": "web,app",
    "cors_origins": "https://shop.example",
    "alarm_email": "ops@shop.example",
    "settings": '{"TANDEM_RERANK_DIVERSITY": "mmr"}',
}


def test_with_an_issuer_callers_show_its_token(synthesised: Callable[..., Synthesised]) -> None:
    tuned = synthesised(profile="mini", **TUNED)
    of_items = {str(endpoint) for endpoint in OF_ITEMS} | {"PUT /v1/items/{proxy+}", "PATCH /v1/items/{proxy+}"}
    for route in tuned.resources("AWS::ApiGatewayV2::Route").values():  # items are told by back ends, which sign
        wanted = "AWS_IAM" if route["RouteKey"] in of_items else "JWT"
        assert route["AuthorizationType"] == wanted, route["RouteKey"]
    authorizer = tuned.one("AWS::ApiGatewayV2::Authorizer")
    assert authorizer["JwtConfiguration"] == {"Audience": ["web", "app"], "Issuer": "https://login.shop.example/"}
    cors = tuned.one("AWS::ApiGatewayV2::Api")["CorsConfiguration"]
    assert cors["AllowOrigins"] == ["https://shop.example"]
    assert set(cors["AllowMethods"]) == {"GET", "POST", "PUT", "DELETE"}, "what browsers call; items are not theirs"
    assert {each["Endpoint"] for each in tuned.resources("AWS::SNS::Subscription").values()} == {"ops@shop.example"}
    assert len(tuned.resources("AWS::SNS::Subscription")) == 2, "alarms, and nights that failed"


def test_the_stage_throttles_and_its_log_names_the_route_alone(deployment: Synthesised) -> None:
    stage = deployment.one("AWS::ApiGatewayV2::Stage")
    throttle = stage["DefaultRouteSettings"]
    assert throttle["ThrottlingRateLimit"] == (1_000 if deployment.profile == "prod" else 50)
    line = json.loads(stage["AccessLogSettings"]["Format"])
    assert line["route"] == "$context.routeKey"
    telling = ("path", "Path", "identity", "claims", "domainName", "error.message", "requestOverride")
    assert not [value for value in line.values() if any(part in value for part in telling)]


@pytest.mark.parametrize(
    ("log", "columns"), [("events", EVENT_COLUMNS), ("exposures", EXPOSURE_COLUMNS), ("slates", SLATE_COLUMNS)]
)
def test_streams_write_parquet_by_day_with_the_columns_of_the_contract(
    deployment: Synthesised, log: str, columns: tuple[tuple[str, str], ...]
) -> None:
    destination = deployment.one("AWS::KinesisFirehose::DeliveryStream", f"events{log.capitalize()}Stream")
    destination = destination["ExtendedS3DestinationConfiguration"]
    assert destination["Prefix"] == f"{log}/dt=!{{timestamp:yyyy-MM-dd}}/"
    assert destination["ErrorOutputPrefix"].startswith(f"errors/{log}/!{{firehose:error-output-type}}/")
    assert destination["BufferingHints"]["IntervalInSeconds"] == (300 if deployment.profile == "prod" else 60)
    conversion = destination["DataFormatConversionConfiguration"]
    assert "ParquetSerDe" in conversion["OutputFormatConfiguration"]["Serializer"]
    table = deployment.one("AWS::Glue::Table", f"events{log.capitalize()}Table")["TableInput"]
    assert tuple((each["Name"], each["Type"]) for each in table["StorageDescriptor"]["Columns"]) == columns
    assert table["PartitionKeys"] == [{"Name": "dt", "Type": "date"}]
    assert table["Parameters"]["projection.dt.range"].endswith(",NOW")
    assert text_of(table["StorageDescriptor"]["Location"]).endswith(f"/{log}/")
    assert text_of(table["Parameters"]["storage.location.template"]).endswith(f"/{log}/dt=${{dt}}/")


def test_every_alarm_reaches_the_topic_and_says_what_to_do(deployment: Synthesised) -> None:
    alarms = deployment.resources("AWS::CloudWatch::Alarm")
    for name, alarm in alarms.items():
        assert [text_of(each) for each in alarm["AlarmActions"]] == [deployment.outputs()["AlarmTopic"]], name
        assert len(alarm["AlarmDescription"]) > 100, name
        assert alarm["TreatMissingData"] == ("breaching" if "NoNight" in name else "notBreaching"), name
    assert any("SearchRed" in name for name in alarms) is (deployment.profile != "mini")


def test_alarms_may_publish_and_only_by_tls(deployment: Synthesised) -> None:
    allow, deny = sorted(
        deployment.one("AWS::SNS::TopicPolicy", "observability")["PolicyDocument"]["Statement"],
        key=lambda s: s["Effect"],
    )
    assert (allow["Action"], allow["Principal"]) == ("sns:Publish", {"Service": "cloudwatch.amazonaws.com"})
    assert allow["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_alarms_and_dashboard_read_the_metrics_that_functions_write(deployment: Synthesised) -> None:
    from lambda_user_tower.telemetry import NAMESPACE, _figures

    facts = {"ms": 1, "degraded": [], "items": 1, "age_seconds": 1, "events": {"accepted": 1, "not-written": 1}}
    written = _figures(facts).keys()
    degraded = deployment.one("AWS::CloudWatch::Alarm", "DegradedAnswers")["Metrics"]
    (stat,) = (each["MetricStat"]["Metric"] for each in degraded if "MetricStat" in each)
    assert (stat["Namespace"], stat["MetricName"]) == (NAMESPACE, "Degraded")
    assert stat["MetricName"] in written
    service = _settings(deployment, RECOMMEND).service
    assert stat["Dimensions"] == [{"Name": "service", "Value": service}]
    body = text_of(deployment.one("AWS::CloudWatch::Dashboard")["DashboardBody"])
    for name in ("Degraded", "Empty", "ReleaseAge", "Events-accepted"):
        assert name in written
        assert f'"{name}","service"' in body


def test_what_commands_look_up_is_in_the_outputs(deployment: Synthesised) -> None:
    outputs = deployment.outputs()
    wanted = {"ApiUrl", "ApiArn", "ReleasesBucket", "DataBucket", "ProfilesTable", "EventsStream", "ExposuresStream"}
    wanted |= {"PublicationPointer", "LogKeySecret", "RecommendFunction", "EventsFunction", "AlarmTopic", "Database"}
    wanted |= {"RecommendLogGroup", "EventsLogGroup", "DeployCheckLogGroup", "AccessLogGroup", "Dashboard"}
    wanted |= {"LiveTable", "ItemsFunction", "ItemsLogGroup", "SlatesStream", "ExperimentsKeySecret"}
    wanted |= {"RecommendJobRole", "ForgetJobRole", "ProcessingImage", "ProcessingInstance"}
    wanted |= {"SearchEndpoint"} if deployment.profile != "mini" else set()
    assert {name for name in outputs if not name.startswith(("Night", "Training", "CodeArchive"))} == wanted
    assert outputs["PublicationPointer"] == f"s3://{outputs['ReleasesBucket']}/current.json"


def test_the_commands_find_the_deployment_by_its_outputs(deployment: Synthesised) -> None:
    found = Deployment.of(f"tandem-{deployment.profile}", deployment.outputs(), "synth")
    assert found.search_endpoint.startswith("https://") is (deployment.profile != "mini")
    assert found.events_log_group == deployment.outputs()["EventsLogGroup"]
    assert not [each.name for each in fields(found) if each.name != "search_endpoint" and not getattr(found, each.name)]
