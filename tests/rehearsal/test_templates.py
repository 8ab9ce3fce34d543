"""What a deploy would put in place of CloudFormation's expressions, and what nobody has said is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from contracts.errors import TemplateUnresolved
from local_mode.rehearsal.names import attribute_of, name_of
from local_mode.rehearsal.templates import Resolver, substituted

TEMPLATE = {
    "Resources": {
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "Begin": {"Type": "AWS::Lambda::Function", "Properties": {"FunctionName": "begin"}},
        "Odd": {"Type": "AWS::Odd::Thing"},
    },
    "Mappings": {"Images": {"eu-central-1": {"account": "763104351884"}}},
    "Parameters": {"Version": {"Default": "7"}, "Open": {}},
    "Outputs": {"Out": {"Value": {"Ref": "Bucket"}, "Export": {"Name": "state:Bucket"}}},
}


def named(logical_id: str, resource: Mapping[str, Any], attribute: str) -> str:
    return attribute_of(resource["Type"], name_of(logical_id, resource.get("Properties", {})), attribute)


@pytest.fixture
def resolver() -> Resolver:
    return Resolver(TEMPLATE, named, {"AWS::Region": "eu-central-1"}, {"other:Table": "profiles"})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("as it is", "as it is"),
        (3, 3),
        ({"Ref": "Bucket"}, "Bucket"),
        ({"Ref": "Version"}, "7"),
        ({"Fn::GetAtt": ["Begin", "Arn"]}, "arn:aws:lambda:eu-central-1:123456789012:function:begin"),
        ({"Fn::GetAtt": "Begin.Arn"}, "arn:aws:lambda:eu-central-1:123456789012:function:begin"),
        ({"Fn::Join": ["/", ["s3:/", {"Ref": "Bucket"}, "x"]]}, "s3://Bucket/x"),
        ({"Fn::Sub": "${AWS::Region}/${Bucket}/${!kept}/${Begin.Arn}"}, None),
        ({"Fn::Sub": ["${a}-${Bucket}", {"a": {"Ref": "AWS::Region"}}]}, "eu-central-1-Bucket"),
        ({"Fn::ImportValue": "other:Table"}, "profiles"),
        ({"Fn::FindInMap": ["Images", {"Ref": "AWS::Region"}, "account"]}, "763104351884"),
        ({"Fn::Select": [1, {"Fn::Split": ["/", "a/b"]}]}, "b"),
        ({"a": {"Ref": "AWS::NoValue"}, "b": [1, {"Ref": "AWS::NoValue"}]}, {"b": [1]}),
    ],
)
def test_every_expression_that_is_known(resolver: Resolver, expression: Any, value: Any) -> None:
    if value is None:
        value = "eu-central-1/Bucket/${kept}/arn:aws:lambda:eu-central-1:123456789012:function:begin"
    assert resolver.value(expression) == value


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ({"Ref": "Nobody"}, "no resource Nobody"),
        ({"Ref": "Open"}, "parameter Open has no default"),
        ({"Ref": "Odd"}, "Ref of AWS::Odd::Thing"),
        ({"Fn::GetAtt": ["Bucket", "Colour"]}, "Colour of AWS::S3::Bucket"),
        ({"Fn::ImportValue": "state:Nothing"}, "no stack exports state:Nothing"),
        ({"Fn::FindInMap": ["Images", "mars", "account"]}, "there is no mars"),
        ({"Fn::Base64": "x"}, "Fn::Base64 is not known"),
        ({"Fn::Join": ["", [["a"]]]}, "text is wanted"),
    ],
)
def test_what_nobody_has_said_is_an_error_that_names_it(resolver: Resolver, expression: Any, said: str) -> None:
    with pytest.raises(TemplateUnresolved, match=said):
        resolver.value(expression)


def test_exports_are_those_that_another_stack_imports(resolver: Resolver) -> None:
    assert resolver.exported() == {"state:Bucket": "Bucket"}


def test_a_definition_leaves_no_placeholder_open() -> None:
    assert substituted('{"a": "${Role}/x"}', {"Role": "arn"}) == '{"a": "arn/x"}'
    with pytest.raises(TemplateUnresolved, match=r"\$\{Topic\} open"):
        substituted('"${Topic}"', {"Role": "arn"})
