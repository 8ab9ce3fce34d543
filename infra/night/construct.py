"""The nightly retrain of a deployment: functions, roles of the jobs, state machine, topic, schedule.

`definition.py` says what happens; this puts values to the names that it leaves open. `stacks.py` makes one, in the
stack that a deploy replaces: a night keeps nothing here, and one that is under way goes on by the definition that it
began with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from contracts.night import Step
from contracts.night_settings import NightSettings
from contracts.processing_job import ML
from contracts.training_image import needs_torchrun
from infra.night.definition import definition
from infra.night.functions import SERVICE, Around, NightFunctions, machine_name
from infra.night.images import Image, image_for
from infra.night.permissions import assumed_by_jobs, of_rights, run_job, run_night
from infra.night.plan import (
    CALLS,
    CODE,
    DATA_BUCKET,
    LIVE_TABLE,
    MULTI_GPU_HYPERPARAMETER,
    PROCESSING_IMAGE,
    PROFILES_TABLE,
    REGION,
    RELEASES_BUCKET,
    TOPIC,
    TRAINING_IMAGE,
    Machine,
    NightPlan,
    function_name,
    placeholder,
    role_name,
)
from infra.night.rights import JOBS, ON_DEMAND, Rights
from infra.night.schedule import NightSchedule
from infra.profiles import Deployment
from infra.serving import service_name
from infra.storage import log_group
from training_job.settings import Effort, TrainingSettings

WORK: Final = Path(f"{ML}/processing/tandem")
"""Where a processing job keeps files: on the volume that it was given, not in the container's own layer."""


def plan_of(deployment: Deployment) -> NightPlan:
    """The night of a deployment, with placeholders for what the stacks make."""
    size = deployment.night
    hyperparameters = TrainingSettings(effort=Effort(size.effort), tuned=size.tuned).to_hyperparameters()
    if needs_torchrun(size.training_instance, size.training_instances):
        hyperparameters |= {MULTI_GPU_HYPERPARAMETER: "true"}
    return NightPlan(
        prefix=deployment.prefix,
        training=Machine(size.training_instance, size.volume_gb, size.training_seconds, size.training_instances),
        processing=Machine(size.processing_instance, size.volume_gb, size.processing_seconds),
        settings=NightSettings(
            data_bucket=placeholder(DATA_BUCKET),
            releases_bucket=placeholder(RELEASES_BUCKET),
            profiles_table=placeholder(PROFILES_TABLE),
            live_table=placeholder(LIVE_TABLE),
            dataset=size.dataset,
            engine_above=size.engine_above,
            few_events_percent=size.few_events_percent,
            history_days=size.history_days,
            home=WORK,
            service=service_name(deployment, SERVICE),
            prefix=deployment.prefix,
        ),
        hyperparameters=hyperparameters,
        indexed=deployment.search is not None,
        spot=size.spot,
        capacity_tries=size.capacity_tries,
        capacity_wait_seconds=size.capacity_wait_seconds,
        poll_seconds=size.poll_seconds,
        parallel_loads=size.parallel_loads,
    )


class Night(Construct):
    """One state machine and what it starts."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment, around: Around) -> None:
        super().__init__(scope, construct_id)
        self._deployment, self._storage = deployment, around.storage
        self.plan = plan_of(deployment)
        self.service, self.machine_name = self.plan.settings.service, machine_name(deployment)
        made = NightFunctions(self, "functions", deployment, self.plan, around)
        self.functions, self.log_groups = made.functions, made.log_groups
        size, stack = deployment.night, Stack.of(self)
        self.code = assets.Asset(self, "Code", path=str(size.jobs))
        self.training_image = image_for(stack, size.training_image, size.training_instance)
        self.processing_image = image_for(stack, size.processing_image, size.processing_instance)
        self.roles = {step: self._job_role(step, rights) for step, rights in JOBS.items()}
        self.on_demand = {job: self._job_role(job, rights) for job, rights in ON_DEMAND.items()}
        """Of jobs that the machine does not start: `tandem aws batch`, `tandem aws forget`."""
        self.topic = sns.Topic(self, "Topic", enforce_ssl=True)
        if deployment.alarm_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(deployment.alarm_email))
        self.log = log_group(self, "Log", deployment, f"/aws/vendedlogs/states/{self.machine_name}")
        self.machine = self._machine()
        self.schedule = NightSchedule(self, "schedule", deployment, self.machine)

    @property
    def outputs(self) -> dict[str, str]:
        """What `tandem aws` looks up by name."""
        size = self._deployment.night
        return {
            "NightStateMachine": self.machine.state_machine_arn,
            "NightSchedule": self.schedule.name,
            "NightScheduleGroup": self.schedule.group_name,
            "NightTopic": self.topic.topic_arn,
            "NightLogGroup": self.log.log_group_name,
            **{f"Night{name.capitalize()}LogGroup": group.log_group_name for name, group in self.log_groups.items()},
            "TrainingRole": self.roles[Step.TRAIN].role_arn,
            "TrainingImage": self.training_image.address,
            "TrainingInstance": size.training_instance,
            "TrainingInstances": str(size.training_instances),
            "TrainingSpot": str(size.spot).lower(),
            "CodeArchive": self.code.s3_object_url,
            "ProcessingImage": self.processing_image.address,
            "ProcessingInstance": size.processing_instance,
            **{f"{job.capitalize()}JobRole": role.role_arn for job, role in self.on_demand.items()},
        }

    def _image(self, job: str) -> Image:
        return self.training_image if job == Step.TRAIN else self.processing_image

    def _job_role(self, job: str, rights: Rights) -> iam.Role:
        """What a job is run as; SageMaker takes it on when the state machine, or a person, passes it."""
        name, kind = job.capitalize(), "training" if job == Step.TRAIN else "processing"
        role = iam.Role(self, f"{name}Role", assumed_by=assumed_by_jobs())
        iam.Policy(
            self,
            f"{name}Policy",
            statements=[
                *of_rights(rights, self._storage, None, self.machine_name),
                *run_job(kind, self._image(job).repository_arn, self.code),
            ],
            roles=[role],
        )
        return role

    def _machine(self) -> sfn.StateMachine:
        role = iam.Role(self, "MachineRole", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        policy = iam.Policy(
            self,
            "MachinePolicy",
            statements=run_night(
                self._deployment.prefix,
                [each.function_arn for each in self.functions.values()],
                [each.role_arn for each in self.roles.values()],
                self.topic.topic_arn,
                self._storage.data,
            ),
            roles=[role],
        )
        machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=self.machine_name,
            definition_body=sfn.DefinitionBody.from_string(json.dumps(definition(self.plan), indent=1)),
            definition_substitutions=self._values(),
            role=role.without_policy_updates(),
            tracing_enabled=True,
            logs=sfn.LogOptions(destination=self.log, level=sfn.LogLevel.ALL, include_execution_data=True),
        )
        machine.node.add_dependency(policy)  # it tries at once whether it may write its log
        return machine

    def _values(self) -> dict[str, str]:
        """Placeholder of the definition → what it stands for."""
        storage = self._storage
        return {
            **{name: f"arn:{Aws.PARTITION}:states:::{call}" for name, call in CALLS.items()},
            REGION: Aws.REGION,
            TOPIC: self.topic.topic_arn,
            DATA_BUCKET: storage.data.bucket_name,
            RELEASES_BUCKET: storage.releases.bucket_name,
            PROFILES_TABLE: storage.profiles.table_name,
            LIVE_TABLE: storage.live.table_name,
            CODE: self.code.s3_object_url,
            TRAINING_IMAGE: self.training_image.address,
            PROCESSING_IMAGE: self.processing_image.address,
            **{role_name(step): role.role_arn for step, role in self.roles.items()},
            **{function_name(name): each.function_arn for name, each in self.functions.items()},
        }
