"""Templates of CloudFormation, resolved: what a deploy would put in place of Ref, GetAtt, Join, Sub and the others.

Strict: what it does not know is an error that names the expression, never a guess. What a resource is called is told by
a `Named`, which `deployed.py` has for the stacks of this repository.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contracts.errors import TemplateUnresolved

Template = Mapping[str, Any]
Named = Callable[[str, Mapping[str, Any], str], str]
"""(logical id, the resource, the attribute; empty for Ref) → its name. Raises TemplateUnresolved."""

_PLACEHOLDER: Final = re.compile(r"\$\{(!?)([^}]*)\}")
_MISSING: Final = object()


@dataclass
class Resolver:
    """One stack's expressions."""

    template: Template
    named: Named
    pseudo: Mapping[str, str]
    """`AWS::Region` and the like."""
    exports: Mapping[str, str] = field(default_factory=dict)
    """Of the stacks before it."""

    def value(self, expression: Any) -> Any:
        """An expression of any shape with everything in it resolved. Raises TemplateUnresolved."""
        if isinstance(expression, list):
            resolved = [self.value(each) for each in expression]
            return [each for each in resolved if each is not _MISSING]
        if not isinstance(expression, dict):
            return expression
        if len(expression) == 1:
            ((name, argument),) = expression.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        members = {name: self.value(each) for name, each in expression.items()}
        return {name: each for name, each in members.items() if each is not _MISSING}

    def text(self, expression: Any) -> str:
        """An expression that is text. Raises TemplateUnresolved."""
        if not isinstance(found := self.value(expression), str):
            raise TemplateUnresolved(f"{expression} is {found!r}, and text is wanted.")
        return found

    def exported(self) -> dict[str, str]:
        """What this stack exports, by name."""
        outputs = self.template.get("Outputs", {}).values()
        return {self.text(each["Export"]["Name"]): self.text(each["Value"]) for each in outputs if "Export" in each}

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logical id → properties, not resolved, of the resources of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.template["Resources"].items()
            if resource["Type"] == kind
        }

    def attribute(self, logical_id: str, attribute: str) -> str:
        """An attribute of a resource; empty: what Ref gives. Raises TemplateUnresolved."""
        if (resource := self.template["Resources"].get(logical_id)) is None:
            raise TemplateUnresolved(f"there is no resource {logical_id} (attribute {attribute or 'Ref'}).")
        return self.named(logical_id, resource, attribute)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _MISSING
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.template.get("Parameters", {}):
            return self._parameter(name)
        return self.attribute(name, "")

    def _parameter(self, name: str) -> str:
        if (default := self.template["Parameters"][name].get("Default")) is None:
            raise TemplateUnresolved(f"parameter {name} has no default.")
        return str(default)

    def _function(self, name: str, argument: Any) -> Any:
        functions: dict[str, Callable[[Any], Any]] = {
            "Fn::GetAtt": self._attribute,
            "Fn::Join": self._join,
            "Fn::Sub": self._sub,
            "Fn::ImportValue": self._import,
            "Fn::FindInMap": self._find,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
        }
        if name not in functions:
            raise TemplateUnresolved(f"{name} is not known here: {argument}.")
        return functions[name](argument)

    def _attribute(self, argument: Any) -> str:
        logical_id, _, attribute = (
            argument.partition(".") if isinstance(argument, str) else (argument[0], ".", argument[1])
        )
        return self.attribute(logical_id, attribute)

    def _join(self, argument: Any) -> str:
        separator, parts = argument
        return str(separator).join(map(self.text, self.value(parts)))

    def _sub(self, argument: Any) -> str:
        text, given = argument if isinstance(argument, list) else (argument, {})
        values = {name: self.text(each) for name, each in given.items()}

        def found(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return "${" + name + "}"
            if name in values:
                return values[name]
            return self._attribute(name) if "." in name else str(self._ref(name))

        return _PLACEHOLDER.sub(found, text)

    def _import(self, argument: Any) -> str:
        if (name := self.text(argument)) not in self.exports:
            raise TemplateUnresolved(f"no stack exports {name}.")
        return self.exports[name]

    def _find(self, argument: Any) -> Any:
        found = self.template.get("Mappings", {})
        for key in map(self.text, argument[:3]):
            if key not in found:
                raise TemplateUnresolved(f"Fn::FindInMap {argument}: there is no {key}.")
            found = found[key]
        return found

    def _select(self, argument: Any) -> Any:
        return self.value(argument[1])[int(argument[0])]

    def _split(self, argument: Any) -> list[str]:
        return self.text(argument[1]).split(argument[0])


def substituted(text: str, values: Mapping[str, str]) -> str:
    """`DefinitionSubstitutions` put into a definition. Raises TemplateUnresolved for a name without a value."""

    def found(match: re.Match[str]) -> str:
        name = match.group(2)
        if name not in values:
            raise TemplateUnresolved(f"the definition leaves ${{{name}}} open, and no substitution is given.")
        return values[name]

    return _PLACEHOLDER.sub(found, text)
