"""The stack that keeps data: storage, search and network of each profile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest

from contracts.night import BASE_KEY, LEASE_KEY, dataset_prefix, night_id, night_prefix, snapshot_prefix
from local_mode.dynamodb_local.server import create_live_table, create_profiles_table
from stores.live_table import CHANGED, EXPIRES, FEED, KIND
from tests.infra.synthesis import Synthesised, several, text_of

BUCKETS = ("AccessLogs", "Data", "Releases")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_every_bucket_is_private_encrypted_and_reached_by_tls_alone(deployment: Synthesised, bucket: str) -> None:
    properties = deployment.one("AWS::S3::Bucket", f"storage{bucket}")
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    policy = deployment.one("AWS::S3::BucketPolicy", f"storage{bucket}Policy")["PolicyDocument"]["Statement"]
    conditions = [each["Condition"] for each in policy if each["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in conditions


def test_the_release_bucket_keeps_versions_and_forgets_old_ones(deployment: Synthesised) -> None:
    bucket = deployment.one("AWS::S3::Bucket", "storageReleases")
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = {each["Id"]: each for each in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules["old-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert not any("ExpirationInDays" in each for each in rules.values()), "what is current never expires"


@pytest.mark.parametrize("bucket", ["Data", "Releases"])
def test_access_to_buckets_is_logged(deployment: Synthesised, bucket: str) -> None:
    logging = deployment.one("AWS::S3::Bucket", f"storage{bucket}")["LoggingConfiguration"]
    assert "storageAccessLogs" in text_of(logging["DestinationBucketName"])


def test_events_expire_after_the_days_of_the_profile(mini: Synthesised, prod: Synthesised) -> None:
    def days(deployment: Synthesised) -> dict[str, int]:
        rules = deployment.one("AWS::S3::Bucket", "storageData")["LifecycleConfiguration"]["Rules"]
        logs = [each for each in rules if "Prefix" in each and not each["Prefix"].startswith("nights/")]
        return {each["Prefix"]: each["ExpirationInDays"] for each in logs}

    others = {"errors/": 30, "trainings/": 30, "asked/": 7}
    assert days(mini) == {"events/": 30, "exposures/": 30, "slates/": 30, **others}
    assert days(prod) == {"events/": 400, "exposures/": 400, "slates/": 400, **others}


def test_models_of_nights_expire_and_neither_datasets_nor_the_lease(deployment: Synthesised) -> None:
    rules = deployment.one("AWS::S3::Bucket", "storageData")["LifecycleConfiguration"]["Rules"]
    large, documents = (each for each in rules if each.get("Prefix", "").startswith("nights/"))
    assert (large["ExpirationInDays"], int(large["ObjectSizeGreaterThan"])) == (30, 1 << 20)
    assert documents["ExpirationInDays"] == 730
    expiring = [each["Prefix"] for each in rules if "ExpirationInDays" in each]
    for key in (LEASE_KEY, BASE_KEY, snapshot_prefix(night_id(1, "20261126")), dataset_prefix("shop")):
        assert not [prefix for prefix in expiring if key.startswith(prefix)], key
    assert night_prefix(night_id(1, "20261126")).startswith(large["Prefix"])


TABLES = ("storageProfiles", "storageLive")


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_that_of_its_store(deployment: Synthesised, table: str) -> None:
    """As DynamoDB Local, which the stores are tested on, makes it."""
    found = deployment.one("AWS::DynamoDB::GlobalTable", table)
    made = created(create_profiles_table if table == "storageProfiles" else create_live_table)
    for part in ("KeySchema", "AttributeDefinitions", "LocalSecondaryIndexes"):
        assert sorted(found.get(part, []), key=str) == sorted(made.get(part, []), key=str), part
    assert found["BillingMode"] == "PAY_PER_REQUEST"
    assert found["TimeToLiveSpecification"] == {"AttributeName": EXPIRES, "Enabled": True}


def created(make: Callable[[Any, str], None]) -> dict[str, Any]:
    """What a client is asked to create."""
    client = MagicMock()
    make(client, "table")
    return client.create_table.call_args.kwargs


def test_the_feed_holds_whole_records_and_can_be_read_consistently(deployment: Synthesised) -> None:
    (feed,) = deployment.one("AWS::DynamoDB::GlobalTable", "storageLive")["LocalSecondaryIndexes"]
    assert (feed["IndexName"], feed["Projection"]) == (FEED, {"ProjectionType": "ALL"})
    assert [each["AttributeName"] for each in feed["KeySchema"]] == [KIND, CHANGED]
    assert "GlobalSecondaryIndexes" not in deployment.one("AWS::DynamoDB::GlobalTable", "storageLive")


@pytest.mark.parametrize("table", TABLES)
def test_only_prod_can_restore_and_protects_a_table(
    table: str, mini: Synthesised, dev: Synthesised, prod: Synthesised
) -> None:
    for deployment, keeps in ((mini, False), (dev, False), (prod, True)):
        (replica,) = deployment.one("AWS::DynamoDB::GlobalTable", table)["Replicas"]
        assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": keeps}
        assert replica["DeletionProtectionEnabled"] is keeps


def test_data_of_prod_outlives_its_stack_and_that_of_the_others_goes_with_it(
    mini: Synthesised, dev: Synthesised, prod: Synthesised
) -> None:
    kept = ("AWS::S3::Bucket", "AWS::DynamoDB::GlobalTable", "AWS::OpenSearchService::Domain")
    for deployment, policy in ((mini, "Delete"), (dev, "Delete"), (prod, "Retain")):
        resources = [
            each for kind in (*kept, "AWS::SecretsManager::Secret") for each in deployment.whole(kind).values()
        ]
        assert {each["DeletionPolicy"] for each in resources} == {policy}
        assert {each["UpdateReplacePolicy"] for each in resources} == {policy}
        empties = deployment.whole("Custom::S3AutoDeleteObjects")
        assert len(empties) == (0 if policy == "Retain" else len(BUCKETS))


def test_only_prod_is_protected_against_deletion_by_mistake(prod: Synthesised, dev: Synthesised) -> None:
    def protected(deployment: Synthesised) -> set[bool]:
        artifacts = json.loads((deployment.folder / "manifest.json").read_text())["artifacts"].values()
        stacks = [each for each in artifacts if each["type"] == "aws:cloudformation:stack"]
        return {each["properties"].get("terminationProtection", False) for each in stacks}

    assert (protected(prod), protected(dev)) == ({True}, {False})


@pytest.mark.parametrize("key", ["LogKey", "ExperimentsKey"])
def test_keys_are_made_by_the_service_and_in_no_template(deployment: Synthesised, key: str) -> None:
    secret = deployment.one("AWS::SecretsManager::Secret", f"storage{key}")
    assert secret["GenerateSecretString"] == {"ExcludePunctuation": True, "PasswordLength": 43}
    assert "SecretString" not in secret


def test_mini_has_no_domain_and_no_network(mini: Synthesised) -> None:
    assert not mini.resources("AWS::OpenSearchService::Domain")
    assert not mini.resources("AWS::EC2::VPC")
    assert "SearchEndpoint" not in mini.outputs()


@pytest.fixture(params=["dev", "prod"])
def domain(request: pytest.FixtureRequest, synthesised: Any) -> dict[str, Any]:
    return synthesised(profile=request.param).one("AWS::OpenSearchService::Domain")


def test_a_domain_is_3_5_and_encrypted_everywhere(domain: dict[str, Any]) -> None:
    assert domain["EngineVersion"] == "OpenSearch_3.5"
    assert domain["DomainEndpointOptions"] == {
        "EnforceHTTPS": True,
        "TLSSecurityPolicy": "Policy-Min-TLS-1-2-PFS-2023-10",
    }
    assert domain["NodeToNodeEncryptionOptions"] == {"Enabled": True}
    assert domain["EncryptionAtRestOptions"] == {"Enabled": True}


def test_a_domain_names_the_one_role_that_may_search(domain: dict[str, Any]) -> None:
    (statement,) = domain["AccessPolicies"]["Statement"]
    assert "RecommendRole" in text_of(statement["Principal"]["AWS"])
    assert statement["Action"] == ["es:ESHttpGet", "es:ESHttpPost"]
    assert text_of(statement["Resource"]).endswith(f":domain/{domain['DomainName']}/*")


def test_dev_is_one_small_node_without_a_network(dev: Synthesised) -> None:
    domain = dev.one("AWS::OpenSearchService::Domain")
    assert domain["ClusterConfig"]["InstanceType"] == "t3.small.search"
    assert (domain["ClusterConfig"]["InstanceCount"], domain["ClusterConfig"]["DedicatedMasterEnabled"]) == (1, False)
    assert "VPCOptions" not in domain
    assert not dev.resources("AWS::EC2::VPC")


def test_prod_has_zones_masters_and_slow_logs_inside_the_network(prod: Synthesised) -> None:
    domain = prod.one("AWS::OpenSearchService::Domain")
    cluster = domain["ClusterConfig"]
    assert (cluster["InstanceCount"], cluster["DedicatedMasterCount"]) == (2, 3)
    assert cluster["ZoneAwarenessConfig"] == {"AvailabilityZoneCount": 2}
    assert {"SEARCH_SLOW_LOGS", "INDEX_SLOW_LOGS", "ES_APPLICATION_LOGS"} <= domain["LogPublishingOptions"].keys()
    assert len(domain["VPCOptions"]["SubnetIds"]) == 2
    ((policy, resource),) = prod.whole("AWS::Logs::ResourcePolicy").items()
    assert "es.amazonaws.com" in text_of(resource["Properties"]["PolicyDocument"])
    ((_, whole),) = prod.whole("AWS::OpenSearchService::Domain").items()
    assert policy in whole["DependsOn"], "a domain that may not write its logs yet cannot be made"


def test_the_network_of_prod_has_no_way_out(prod: Synthesised) -> None:
    for kind in ("AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::Route", "AWS::EC2::EIP"):
        assert not prod.resources(kind)
    assert not any(each["MapPublicIpOnLaunch"] for each in prod.resources("AWS::EC2::Subnet").values())
    assert prod.resources("AWS::EC2::FlowLog")


def test_the_network_of_prod_reaches_what_its_function_reads(prod: Synthesised) -> None:
    endpoints = prod.resources("AWS::EC2::VPCEndpoint").values()
    reached = {(each["VpcEndpointType"], text_of(each["ServiceName"]).rsplit(".", 1)[-1]) for each in endpoints}
    assert reached == {
        ("Gateway", "s3"),
        ("Gateway", "dynamodb"),
        ("Interface", "secretsmanager"),
        ("Interface", "kinesis-firehose"),
    }


def test_only_the_function_reaches_domain_and_endpoint(prod: Synthesised) -> None:
    ingress = prod.resources("AWS::EC2::SecurityGroupIngress").values()
    assert {text_of(each["SourceSecurityGroupId"]).strip("<>").split(".")[0] for each in ingress} == {
        name for name in prod.resources("AWS::EC2::SecurityGroup") if "FunctionGroup" in name
    }
    assert {(each["FromPort"], each["ToPort"]) for each in ingress} == {(443, 443)}
    for name, group in prod.resources("AWS::EC2::SecurityGroup").items():
        assert "SecurityGroupIngress" not in group, name
        opened = [each["CidrIp"] for each in group["SecurityGroupEgress"] if each["IpProtocol"] == "tcp"]
        assert opened == (["0.0.0.0/0"] if "FunctionGroup" in name else []), name


def test_resources_are_tagged(deployment: Synthesised) -> None:
    tags = deployment.one("AWS::S3::Bucket", "storageReleases")["Tags"]
    told = {each["Key"]: each["Value"] for each in several(tags)}
    assert told["application"] == "tandem"
    assert (told["deployment"], told["profile"]) == (f"tandem-{deployment.profile}", deployment.profile)
