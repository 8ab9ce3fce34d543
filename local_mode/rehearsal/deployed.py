"""What a deploy would make of the synthesised stacks: names for everything, and the night as AWS would run it.

Reads the templates, so that what is run is what is in them: the state machine with its substitutions, each function's
handler, environment, memory and time-out, the roles, the topic. Stores that a stand-in stands for have the stand-in's
name. `night.py` runs it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from contracts.errors import TemplateUnresolved
from local_mode.rehearsal.functions import FunctionPlan
from local_mode.rehearsal.names import FUNCTION_ARN, PSEUDO, SEARCH_ENDPOINT, attribute_of, name_of
from local_mode.rehearsal.stand_ins import StandIns
from local_mode.rehearsal.synthesis import STACKS, Assembly
from local_mode.rehearsal.templates import Resolver, substituted

NIGHT_HANDLERS: Final = "index_loader.night.handler."
"""What the handlers of a night's functions begin with."""


class Deployed:
    """Both stacks, as if they were deployed."""

    def __init__(self, assembly: Assembly, standing: StandIns) -> None:
        self.assembly, self._search_url = assembly, standing.search_url
        self._templates = {stack: assembly.template(stack) for stack in STACKS}
        self._stand_ins = self._named_by_outputs(standing.outputs)
        self.stacks: dict[str, Resolver] = {}
        """`state` and `service`."""
        exports: dict[str, str] = {}
        for stack, template in self._templates.items():
            pseudo = {**PSEUDO, "AWS::StackName": stack}
            self.stacks[stack] = Resolver(template, self._named(stack), pseudo, dict(exports))
            exports |= self.stacks[stack].exported()

    @cached_property
    def night(self) -> Night:
        """The state machine and what it calls. Raises TemplateUnresolved."""
        service = self.stacks["service"]
        machines = service.of_type("AWS::StepFunctions::StateMachine")
        if len(machines) != 1:
            raise TemplateUnresolved(f"the service stack has {len(machines)} state machines, not one.")
        ((logical_id, machine),) = machines.items()
        substitutions = service.value(machine.get("DefinitionSubstitutions", {}))
        return Night(
            name=name_of(logical_id, machine),
            definition=self._led(substituted(service.text(machine["DefinitionString"]), substitutions)),
            role=service.text(machine["RoleArn"]),
            functions=self._functions(NIGHT_HANDLERS),
        )

    def output(self, name: str) -> str:
        """What a stack puts out under a name. Raises TemplateUnresolved."""
        for stack, template in self._templates.items():
            if name in template.get("Outputs", {}):
                return self._led(self.stacks[stack].text(template["Outputs"][name]["Value"]))
        raise TemplateUnresolved(f"no stack puts out {name}.")

    def files(self) -> tuple[str, dict[str, Path]]:
        """The bucket of assets, and key → file of those that a deploy uploads as they are."""
        bucket = self.assembly.asset_bucket()
        for name, value in PSEUDO.items():
            bucket = bucket.replace("${" + name + "}", value)
        return bucket, self.assembly.files()

    def _functions(self, handlers: str) -> dict[str, FunctionPlan]:
        found = {}
        for stack in self.stacks.values():
            for logical_id, each in stack.of_type("AWS::Lambda::Function").items():
                if str(each.get("Handler", "")).startswith(handlers):
                    arn = FUNCTION_ARN.format(name=name_of(logical_id, each))
                    variables = stack.value(each.get("Environment", {}).get("Variables", {}))
                    found[arn] = FunctionPlan(
                        arn=arn,
                        handler=each["Handler"],
                        role=stack.text(each["Role"]),
                        environment={name: self._led(value) for name, value in variables.items()},
                        timeout_seconds=int(each["Timeout"]),
                        memory_mb=int(each["MemorySize"]),
                    )
        return found

    def _led(self, text: str) -> str:
        """To the search engine that stands for the domain."""
        return text.replace(f"https://{SEARCH_ENDPOINT}", self._search_url)

    def _named_by_outputs(self, stand_ins: Mapping[str, str]) -> dict[tuple[str, str], str]:
        """(stack, logical id) → the name of the stand-in for it."""
        found = {}
        for stack, template in self._templates.items():
            for output, each in template.get("Outputs", {}).items():
                if output in stand_ins and isinstance(each["Value"], dict) and "Ref" in each["Value"]:
                    found[stack, each["Value"]["Ref"]] = stand_ins[output]
        return found

    def _named(self, stack: str) -> Any:
        def attribute(logical_id: str, resource: Mapping[str, Any], wanted: str) -> str:
            kind, properties = resource["Type"], resource.get("Properties", {})
            if kind in ("AWS::Lambda::Alias", "AWS::Lambda::Version"):
                of = self.stacks[stack].text(properties["FunctionName"])
                return f"{FUNCTION_ARN.format(name=of.rpartition(':')[2])}:{properties.get('Name', '1')}"
            name = self._stand_ins.get((stack, logical_id)) or name_of(logical_id, properties)
            return attribute_of(kind, name, wanted)

        return attribute


@dataclass(frozen=True)
class Night:
    """A state machine and what it calls."""

    name: str
    definition: str
    """JSON, every placeholder replaced."""
    role: str
    functions: Mapping[str, FunctionPlan]
    """ARN → plan."""

    @cached_property
    def states(self) -> dict[str, Any]:
        """Name → state."""
        states: dict[str, Any] = json.loads(self.definition)["States"]
        return states

    @property
    def topics(self) -> list[str]:
        """ARNs of what people are told by."""
        return [
            state["Parameters"]["TopicArn"]
            for state in self.states.values()
            if "sns:publish" in state.get("Resource", "")
        ]

    def role_of(self, step: str) -> str:
        """The ARN of the role that a function or a job of a step runs under. Raises TemplateUnresolved."""
        for plan in self.functions.values():
            if plan.step == step:
                return plan.role
        for state in self.states.values():
            parameters = state.get("Parameters", {})
            if f"-{step}-" in parameters.get("ProcessingJobName.$", parameters.get("TrainingJobName.$", "")):
                return str(parameters["RoleArn"])
        raise TemplateUnresolved(f"the night has no step {step}.")
