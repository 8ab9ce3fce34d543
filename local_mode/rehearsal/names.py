"""What a deploy would call what the stacks make: names and ARNs by the type of a resource, one rule each.

A bucket, table or stream that a stand-in stands for has the stand-in's name: the outputs of the stacks tell which it
is. Everything else is called by its logical id, so that two things never have one name. `deployed.py` uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from contracts.errors import TemplateUnresolved
from local_mode.rehearsal.stand_ins import ACCOUNT, REGION

_HERE: Final = f"{REGION}:{ACCOUNT}"
SEARCH_ENDPOINT: Final = "search.rehearsal"
"""Of the domain; settings that name it are led to the stand-in."""

PSEUDO: Final = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}

FUNCTION_ARN: Final = f"arn:aws:lambda:{_HERE}:function:{{name}}"

_RULES: Final[dict[str, dict[str, str]]] = {
    "AWS::DynamoDB::GlobalTable": {"": "{name}", "Arn": f"arn:aws:dynamodb:{_HERE}:table/{{name}}"},
    "AWS::EC2::SecurityGroup": {"": "sg-0123456789abcdef0", "GroupId": "sg-0123456789abcdef0"},
    "AWS::EC2::Subnet": {"": "subnet-0123456789abcdef0"},
    "AWS::IAM::Role": {"": "{name}", "Arn": f"arn:aws:iam::{ACCOUNT}:role/{{name}}"},
    "AWS::KinesisFirehose::DeliveryStream": {
        "": "{name}",
        "Arn": f"arn:aws:firehose:{_HERE}:deliverystream/{{name}}",
    },
    "AWS::Lambda::Function": {"": "{name}", "Arn": FUNCTION_ARN},
    "AWS::Logs::LogGroup": {"": "{name}", "Arn": f"arn:aws:logs:{_HERE}:log-group:{{name}}:*"},
    "AWS::OpenSearchService::Domain": {
        "": "{name}",
        "Arn": f"arn:aws:es:{_HERE}:domain/{{name}}",
        "DomainEndpoint": SEARCH_ENDPOINT,
    },
    "AWS::S3::Bucket": {"": "{name}", "Arn": "arn:aws:s3:::{name}"},
    "AWS::SNS::Topic": {"": f"arn:aws:sns:{_HERE}:{{name}}", "TopicName": "{name}"},
    "AWS::SQS::Queue": {
        "": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{{name}}",
        "Arn": f"arn:aws:sqs:{_HERE}:{{name}}",
    },
    "AWS::SecretsManager::Secret": {"": f"arn:aws:secretsmanager:{_HERE}:secret:{{name}}-AbCdEf"},
    "AWS::StepFunctions::StateMachine": {
        "": f"arn:aws:states:{_HERE}:stateMachine:{{name}}",
        "Arn": f"arn:aws:states:{_HERE}:stateMachine:{{name}}",
        "Name": "{name}",
    },
}
"""Type → attribute (empty: Ref) → what it is."""

_GIVEN: Final = ("FunctionName", "RoleName", "TopicName", "StateMachineName", "QueueName", "DomainName", "LogGroupName")
"""Properties in which a stack may say a name itself."""


def name_of(logical_id: str, properties: Mapping[str, Any]) -> str:
    """What a resource is called: as the stack says, else by its logical id."""
    given = (properties.get(each) for each in _GIVEN)
    return next((each for each in given if isinstance(each, str)), logical_id)


def attribute_of(kind: str, name: str, attribute: str) -> str:
    """An attribute of a resource by its name. Raises TemplateUnresolved."""
    if attribute not in _RULES.get(kind, {}):
        raise TemplateUnresolved(
            f"{name}: nobody has said what {attribute or 'Ref'} of {kind} is.", fix="Add it to rehearsal/names.py."
        )
    return _RULES[kind][attribute].format(name=name)
