"""A deployment as CloudFormation would see it, and the questions that tests ask of its templates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from infra.acknowledged import acknowledged
from infra.app import compose
from infra.context import read_deployment
from infra.stacks import ServiceStack, StateStack

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PROFILES: Final = ("mini", "dev", "prod")
GROWTHBOOK: Final = {"growthbook_client_key_secret": "shop/growthbook", "growthbook_host": "https://gb.shop.example"}
"""Context of a deployment that fetches its experiments."""

Template = dict[str, Any]
Properties = dict[str, Any]


@dataclass(frozen=True)
class Synthesised:
    """What synth wrote of one deployment."""

    profile: str
    folder: Path
    acknowledged: set[tuple[str, str]]
    """(construct, finding) that are acknowledged."""

    def template(self, stack: str) -> Template:
        """The template of `state` or `service`."""
        (path,) = self.folder.glob(f"*-{stack}.template.json")
        return json.loads(path.read_text())

    @property
    def template_files(self) -> list[Path]:
        return sorted(self.folder.glob("*.template.json"))

    def resources(self, kind: str) -> dict[str, Properties]:
        """Logical id → properties of the resources of a type, in both stacks."""
        return {name: found.get("Properties", {}) for name, found in self.whole(kind).items()}

    def whole(self, kind: str) -> dict[str, Any]:
        """Logical id → the whole resource of those of a type, in both stacks."""
        both = {**self.template("state")["Resources"], **self.template("service")["Resources"]}
        return {name: resource for name, resource in both.items() if resource["Type"] == kind}

    def one(self, kind: str, part: str = "") -> Properties:
        """The properties of the only resource of a type whose logical id has that part."""
        (found,) = (each for name, each in self.resources(kind).items() if part in name)
        return found

    def outputs(self) -> dict[str, str]:
        """Output → its value as text, those that CDK makes for itself left out."""
        both = {**self.template("state")["Outputs"], **self.template("service")["Outputs"]}
        return {name: text_of(each["Value"]) for name, each in both.items() if not name.startswith("Exports")}

    def function(self, name: str) -> Properties:
        """The properties of a function, by its handler."""
        (found,) = (each for each in self.resources("AWS::Lambda::Function").values() if each["Handler"] == name)
        return found

    def statements(self, policy: str) -> list[Properties]:
        """The statements of a policy whose logical id has that part."""
        return self.one("AWS::IAM::Policy", policy)["PolicyDocument"]["Statement"]

    def violations(self) -> list[tuple[str, str, str]]:
        """(construct, finding, severity) of what the validations of synth found and nobody acknowledged."""
        return violations(self.folder)


def cdk_context() -> dict[str, Any]:
    """The context of cdk.json: the feature flags that a deploy has."""
    return json.loads((REPOSITORY / "cdk.json").read_text())["context"]


def synthesise(context: dict[str, Any], folder: Path) -> Synthesised:
    """Synthesise a deployment as `infra.app` does."""
    app = App(outdir=str(folder), context=cdk_context() | context)
    state, service = compose(app)
    known = {(each.construct.node.path, each.finding) for each in acknowledged(state, service)}
    app.synth()
    return Synthesised(context["profile"], folder, known)


def findings_before_acknowledging(context: dict[str, Any], folder: Path) -> list[tuple[str, str, str]]:
    """What cdk-nag and CDK say where nothing is acknowledged."""
    app = App(outdir=str(folder), context=cdk_context() | context)
    deployment = read_deployment(app.node.get_all_context())
    ServiceStack(app, deployment, StateStack(app, deployment))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    try:
        app.synth()
    except RuntimeError as error:
        if "validation-report.json" not in str(error):
            raise
    return violations(folder)


def violations(folder: Path) -> list[tuple[str, str, str]]:
    """(construct, finding, severity) of the report that synth wrote."""
    report = json.loads((folder / "validation-report.json").read_text())
    return [
        (construct["constructPath"], violation["ruleName"], violation["severity"])
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    ]


def text_of(value: Any) -> str:
    """A value of a template as text, with a stand-in for each thing that only a deploy knows."""
    if isinstance(value, str):
        return value
    ((function, argument),) = value.items()
    if function == "Fn::Join":
        separator, parts = argument
        return str(separator).join(map(text_of, parts))
    if function == "Fn::GetAtt":
        return "<" + ".".join(argument) + ">"
    if function in ("Ref", "Fn::ImportValue"):
        return f"<{argument}>"
    if function == "Fn::FindInMap":
        return f"<{argument[0]}>"
    if function == "Fn::Sub":
        return re.sub(r"\$\{(.*?)\}", r"<\1>", argument)
    raise ValueError(f"{function} is not expected here")


def several(value: Any) -> list[Any]:
    """What IAM lets be one or a list of them, as a list."""
    return value if isinstance(value, list) else [value]


def allowed_actions(statements: list[Properties]) -> set[str]:
    """Every action that statements allow."""
    return {action for each in statements if each["Effect"] == "Allow" for action in several(each["Action"])}


def all_statements(template: Template) -> Iterator[tuple[str, Properties]]:
    """(logical id, statement) of every policy that gives a principal rights: what roles may do."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        inline = [each["PolicyDocument"] for each in properties.get("Policies", [])]
        document = properties.get("PolicyDocument") if resource["Type"] == "AWS::IAM::Policy" else None
        for policy in [*inline, *([document] if document else [])]:
            for statement in policy["Statement"]:
                yield name, statement


def masked(template: Template) -> str:
    """A template as text without what changes with the code of the functions alone."""
    text = json.dumps(template, indent=1, sort_keys=True)
    text = re.sub(r"[0-9a-f]{64}\.(zip|gz)", r"<asset>.\1", text)
    return re.sub(r"(CurrentVersion[0-9A-F]{8})[0-9a-f]{32}", r"\1<version>", text)
