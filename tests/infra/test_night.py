"""The nightly run as it is deployed: the definition as a graph, its jobs, functions and rights, topic and schedule."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.night import Step
from contracts.night_settings import NightSettings
from contracts.processing_job import BOOTSTRAP, ML
from contracts.training_image import CPU_TAG, GPU_TAG, needs_torchrun
from index_loader.night import handler
from infra.context import read_deployment
from infra.night.construct import plan_of
from infra.night.definition import definition
from infra.night.plan import FUNCTION_SECONDS, INDEX_FUNCTIONS, NightPlan, functions_of, placeholders
from infra.night.rights import FUNCTIONS, JOBS, ON_DEMAND, WHY
from infra.night.states import EXPLAIN
from local_mode.aws.findings import Wanted
from tests.infra.synthesis import PROFILES, Synthesised, allowed_actions, cdk_context, several, text_of
from training_job.settings import HYPERPARAMETERS, Effort, TrainingSettings

States = dict[str, dict[str, Any]]

_OWN = "1" * 12 + ".dkr.ecr.mars-north-1.amazonaws.com/team/torch:1"
_OTHERWISE = {"training_image": _OWN, "processing_image": _OWN, "night_enabled": "false"}


@pytest.fixture(scope="module", params=PROFILES)
def plan(request: pytest.FixtureRequest, built: dict[str, str]) -> NightPlan:
    return plan_of(read_deployment({**cdk_context(), **built, "profile": request.param}))


@pytest.fixture
def states(plan: NightPlan) -> States:
    return definition(plan)["States"]


def _followers(state: dict[str, Any]) -> set[str]:
    """Where a state can go on."""
    rules = [*state.get("Choices", []), *state.get("Catch", [])]
    return {each for each in (state.get("Next"), state.get("Default"), *(rule["Next"] for rule in rules)) if each}


def test_every_state_is_reached_and_leads_somewhere(plan: NightPlan, states: States) -> None:
    reached, ahead = set(), {definition(plan)["StartAt"]}
    while ahead:
        name = ahead.pop()
        assert name in states, name
        reached.add(name)
        ahead |= _followers(states[name]) - reached
    assert reached == states.keys()
    ends = {name for name, state in states.items() if not _followers(state)}
    assert {name: states[name]["Type"] for name in ends} == {"Ended": "Succeed", "Failed": "Fail"}


def test_every_step_can_be_begun_from(states: States) -> None:
    rules = {rule["StringEquals"]: rule["Next"] for rule in states["From"]["Choices"]}
    assert {*rules, states["From"]["Default"].lower()} == {str(step) for step in Step}


def test_every_task_has_an_end_retries_and_a_way_to_the_failure_path(states: States) -> None:
    tasks = {name: state for name, state in states.items() if state["Type"] in ("Task", "Map")}
    for name, task in tasks.items():
        part = task["ItemProcessor"]["States"]["LoadPart"] if task["Type"] == "Map" else task
        assert part["TimeoutSeconds"] > 0
        assert part["Retry"], name
        everything = task["Catch"][-1]
        assert everything["ErrorEquals"] == ["States.ALL"], name
        assert everything["ResultPath"].startswith("$."), f"{name}: the state so far would be lost"
    assert len(tasks) > 12


def test_all_failures_take_the_one_path_and_say_whose_they_are(states: States) -> None:
    failures = {name: state for name, state in states.items() if state.get("ResultPath") == "$.failed"}
    assert {state["Next"] for state in failures.values()} == {EXPLAIN}
    for name, state in failures.items():
        assert name == f"{state['Result']}Failed"
        assert state["Result"] in states
    into = {name for name, state in states.items() if EXPLAIN in _followers(state)}
    assert into == failures.keys()
    assert states[EXPLAIN]["Catch"][0]["Next"] == "Unexplained"
    assert (states["Unexplained"]["Next"], states["Tell"]["Next"]) == ("Tell", "Failed")


def test_the_machine_ends_before_the_next_night_begins(plan: NightPlan) -> None:
    assert definition(plan)["TimeoutSeconds"] < 24 * 3_600


def test_without_a_domain_there_are_no_steps_of_an_index(plan: NightPlan, states: States) -> None:
    assert ("Prepare" in states) is plan.indexed
    assert bool({each.capitalize() for each in INDEX_FUNCTIONS} & states.keys()) is plan.indexed


def test_without_spare_machines_the_first_training_is_paid_in_full(built: dict[str, str]) -> None:
    plan = plan_of(read_deployment({**cdk_context(), **built, "spot": "false"}))
    states = definition(plan)["States"]
    assert "TrainSpot" not in states
    assert states["TrainOnDemand"]["Parameters"]["EnableManagedSpotTraining"] is False
    assert states["CheckDecided"]["Choices"][0]["Next"] == "TrainOnDemand"
    assert states["WaitForMachine"]["Next"] == "TrainOnDemand"


def test_every_open_name_has_a_value_and_no_value_is_left_over(deployment: Synthesised, built: dict[str, str]) -> None:
    machine = deployment.one("AWS::StepFunctions::StateMachine")
    open_names = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert open_names == machine["DefinitionSubstitutions"].keys()
    plan = plan_of(read_deployment({**cdk_context(), **built, "profile": deployment.profile}))
    assert open_names == placeholders(plan)
    assert json.loads(machine["DefinitionString"]) == json.loads(json.dumps(definition(plan)))


def test_the_training_gets_its_settings_as_the_toolkit_hands_them_over(plan: NightPlan, states: States) -> None:
    given = states["TrainSpot"]["Parameters"]["HyperParameters"]
    decoded = {name: _decoded(value) for name, value in given.items()}
    assert TrainingSettings.from_env({HYPERPARAMETERS: json.dumps(decoded)}) == TrainingSettings(effort=Effort.STANDARD)
    assert given["sagemaker_program"] == "train.py"
    assert "sagemaker_torch_distributed_enabled" not in given, "one machine with one GPU, or none"
    assert plan.training.instance == Wanted(profile=plan.settings.prefix.removeprefix("tandem-")).training_instance


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


@pytest.mark.parametrize(
    ("instance", "instances", "several"),
    [
        ("ml.m5.xlarge", 1, False),
        ("ml.m5.xlarge", 2, True),
        ("ml.g4dn.xlarge", 1, False),
        ("ml.g5.16xlarge", 1, False),
        ("ml.g6e.12xlarge", 1, True),
        ("ml.g4dn.12xlarge", 1, True),
        ("ml.p3.2xlarge", 1, False),
        ("ml.p4d.24xlarge", 1, True),
    ],
)
def test_several_gpus_or_machines_train_by_torchrun(
    instance: str, instances: int, several: bool, built: dict[str, str]
) -> None:
    assert needs_torchrun(instance, instances) is several
    context = {**cdk_context(), **built, "training_instance": instance, "training_instances": instances}
    parameters = definition(plan_of(read_deployment(context)))["States"]["TrainSpot"]["Parameters"]
    assert parameters["HyperParameters"].get("sagemaker_torch_distributed_enabled") == ("true" if several else None)
    assert parameters["HyperParameters"].get("sagemaker_instance_type") == (instance if several else None)
    assert parameters["ResourceConfig"]["InstanceCount"] == instances


def test_what_a_processing_job_starts_unpacks_the_archive_and_passes_arguments_and_status(tmp_path: Path) -> None:
    code = tmp_path / "processing" / "input" / "code"
    code.mkdir(parents=True)
    script = b"import os, sys\nprint(sys.argv[1:], open('beside').read())\nsys.exit(3)\n"
    with tarfile.open(code / "4711.gz", "w:gz") as archive:
        for name, data in (("job.py", script), ("beside", b"found")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    command = [sys.executable, "-c", BOOTSTRAP.replace(ML, str(tmp_path)), "check", "--night", "n"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "['check', '--night', 'n'] found\n"), done.stderr


def test_images_fit_the_machines(dev: Synthesised, prod: Synthesised, synthesised: Callable[..., Synthesised]) -> None:
    def images(deployment: Synthesised) -> tuple[str, str]:
        values = deployment.one("AWS::StepFunctions::StateMachine")["DefinitionSubstitutions"]
        return text_of(values["TrainingImage"]), text_of(values["ProcessingImage"])

    assert [image.rsplit(":", 1)[1] for image in images(dev)] == [CPU_TAG, CPU_TAG]
    assert [image.rsplit(":", 1)[1] for image in images(prod)] == [GPU_TAG, CPU_TAG]
    accounts = prod.template("service")["Mappings"]["DlcRepositoryAccountMap"]
    assert len(accounts) > 20
    named = synthesised(profile="mini", **_OTHERWISE)
    assert images(named) == (_OWN, _OWN)
    assert "DlcRepositoryAccountMap" not in named.template("service")["Mappings"]
    for policy in ("nightTrainPolicy", "nightGatePolicy"):
        (pulls,) = (each for each in named.statements(policy) if "ecr:BatchGetImage" in several(each["Action"]))
        assert text_of(pulls["Resource"]) == f"arn:<AWS::Partition>:ecr:mars-north-1:{'1' * 12}:repository/team/torch"


def _night_functions(deployment: Synthesised) -> dict[str, Any]:
    functions = deployment.resources("AWS::Lambda::Function").values()
    start = "index_loader.night.handler."
    return {each["Handler"].removeprefix(start): each for each in functions if each["Handler"].startswith(start)}


def test_every_light_step_is_a_function_that_exists(deployment: Synthesised) -> None:
    functions = _night_functions(deployment)
    assert FUNCTION_SECONDS.keys() == handler.STEPS.keys() == FUNCTIONS.keys()
    wanted = FUNCTION_SECONDS.keys() - (set(INDEX_FUNCTIONS) if deployment.profile == "mini" else set())
    assert functions.keys() == wanted
    for name, function in functions.items():
        assert callable(getattr(handler, name))
        assert (function["Runtime"], function["Architectures"]) == ("python3.14", ["arm64"])
        assert function["Timeout"] == FUNCTION_SECONDS[name]
        assert "SnapStart" not in function
    assert len({json.dumps(each["Role"]) for each in functions.values()}) == len(functions)
    assert len({json.dumps(each["LoggingConfig"]["LogGroup"]) for each in functions.values()}) == len(functions)


def test_functions_that_hold_a_release_have_room_for_it(prod: Synthesised) -> None:
    for name, function in _night_functions(prod).items():
        whole = name in ("seal", "prepare", "load", "verify", "publish")
        assert (function["MemorySize"] >= 3_008) is whole, name
        assert (function.get("EphemeralStorage", {}).get("Size", 512) >= 3 * 700) is whole, name


def test_functions_are_told_what_their_settings_read(deployment: Synthesised) -> None:
    for function in _night_functions(deployment).values():
        variables = {name: text_of(value) for name, value in function["Environment"]["Variables"].items()}
        settings = NightSettings.from_env(variables)
        assert "storageData" in settings.data_bucket
        assert "storageReleases" in settings.releases_bucket
        assert "storageLive" in settings.live_table
        assert bool(settings.opensearch_url) is (deployment.profile != "mini")
        assert settings.prefix == f"tandem-{deployment.profile}"
        assert settings.service == f"{settings.prefix}-night"
        assert str(settings.home).startswith("/tmp/")  # noqa: S108  # what a function can write


def test_jobs_are_told_what_their_settings_read(states: States, plan: NightPlan) -> None:
    for step in (Step.SNAPSHOT, Step.CHECK, Step.GATE, Step.BACKFILL):
        variables = states[step.capitalize()]["Parameters"]["Environment"]
        settings = NightSettings.from_env(variables)
        assert settings == plan.settings
        assert str(settings.home).startswith(f"{ML}/processing/")


def test_in_prod_those_that_talk_to_the_domain_are_beside_it_and_no_others(prod: Synthesised) -> None:
    inside = {name for name, function in _night_functions(prod).items() if "VpcConfig" in function}
    assert inside == {name for name, rights in FUNCTIONS.items() if rights.search}
    assert "begin" not in inside, "from inside there is no way to Step Functions"


def _resources(statements: list[dict[str, Any]], action: str) -> set[str]:
    return {
        text_of(resource)
        for each in statements
        if action in several(each["Action"])
        for resource in several(each["Resource"])
    }


@pytest.mark.parametrize("job", [*JOBS, *ON_DEMAND])
def test_a_job_may_do_what_its_line_says(job: str, dev: Synthesised) -> None:
    statements, rights = dev.statements(f"night{job.capitalize()}Policy"), (JOBS | ON_DEMAND)[job]
    kind = "TrainingJobs" if job == Step.TRAIN else "ProcessingJobs"
    wanted = {"s3:GetObject", "s3:ListBucket", "cloudwatch:PutMetricData", "ecr:GetAuthorizationToken"}
    wanted |= {"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    wanted |= {f"logs:{each}" for each in ("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents")}
    wanted |= {"s3:AbortMultipartUpload", "s3:PutObject"} if rights.data_write else set()
    wanted |= {"s3:DeleteObject"} if rights.data_delete else set()
    wanted |= {f"dynamodb:{each}" for each in (*rights.profiles, *rights.live, *(["Query"] if rights.feed else []))}
    assert allowed_actions(statements) == wanted
    for table, actions in (("storageProfiles", rights.profiles), ("storageLive", rights.live)):
        for action in actions:
            assert any(table in each for each in _resources(statements, f"dynamodb:{action}")), action
    written = {each.split("/", 1)[1] for each in _resources(statements, "s3:PutObject")}
    assert written == set(rights.data_write), "no job writes releases"
    (metrics,) = (each for each in statements if "cloudwatch:PutMetricData" in several(each["Action"]))
    assert metrics["Condition"] == {"StringEquals": {"cloudwatch:namespace": f"/aws/sagemaker/{kind}"}}
    code = {each for each in _resources(statements, "s3:GetObject") if each.endswith(".gz")}
    assert len(code) == 1, "the archive, and nothing else of CDK's bucket"


def test_only_nights_that_publish_or_sweep_write_live_data(deployment: Synthesised) -> None:
    """The feed is asked with the table; whoever only reads it cannot change what serving follows."""
    for name, rights in {**FUNCTIONS, **JOBS}.items():
        assert bool(set(rights.live) - {"Query"}) is (name in ("publish", "sweep")), name
        assert rights.feed is (name in ("publish", "sweep")), name
    for name, wanted in (("Publish", ["", "/index/feed"]), ("Sweep", ["/index/feed"])):
        asked = _resources(deployment.statements(f"nightfunctions{name}Policy"), "dynamodb:Query")
        assert sorted(each.partition(">")[2] for each in asked) == wanted


def test_only_backfill_writes_profiles_and_only_publish_the_pointer(deployment: Synthesised) -> None:
    policies = [*deployment.resources("AWS::IAM::Policy")]
    own = {name: deployment.statements(name) for name in policies if name.startswith("night")}
    writers = {name for name, each in own.items() if "dynamodb:PutItem" in allowed_actions(each)}
    names = {re.sub(r"[0-9A-F]{8}$", "", name) for name in writers}
    assert names == {"nightBackfillPolicy", "nightForgetPolicy"}, "the second when somebody asks, never in a night"
    pointer = {
        name
        for name, each in own.items()
        if any("current.json" in put and "Releases" in put for put in _resources(each, "s3:PutObject"))
    }
    assert {re.sub(r"[0-9A-F]{8}$", "", name) for name in pointer} == {"nightfunctionsPublishPolicy"}


def test_jobs_are_run_as_roles_that_only_sagemaker_takes_on(deployment: Synthesised) -> None:
    roles = {name: each for name, each in deployment.resources("AWS::IAM::Role").items() if name.startswith("night")}
    names = [*JOBS, *ON_DEMAND]
    jobs = [
        each for name, each in roles.items() if any(name.startswith(f"night{job.capitalize()}Role") for job in names)
    ]
    assert len(jobs) == len(names)
    for role in jobs:
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    for role in roles.values():
        assert role.keys() <= {"AssumeRolePolicyDocument", "Tags"}, "no role has more than its policy"


def test_the_machine_may_start_what_its_definition_names(deployment: Synthesised) -> None:
    statements = deployment.statements("nightMachinePolicy")
    values = deployment.one("AWS::StepFunctions::StateMachine")["DefinitionSubstitutions"]
    named = {name: text_of(value) for name, value in values.items()}
    assert _resources(statements, "lambda:InvokeFunction") == {
        value for name, value in named.items() if name.endswith("Function") and name != "InvokeFunction"
    }
    assert _resources(statements, "iam:PassRole") == {value for name, value in named.items() if name.endswith("Role")}
    (passes,) = (each for each in statements if each["Action"] == "iam:PassRole")
    assert passes["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    assert _resources(statements, "sns:Publish") == {named["Topic"]}
    for kind, plural in (("Training", "TrainingJobs"), ("Processing", "ProcessingJobs")):
        for action in (f"sagemaker:Create{kind}Job", f"sagemaker:Stop{kind}Job"):
            (jobs,) = _resources(statements, action)
            assert jobs.endswith(f":{kind.lower()}-job/tandem-{deployment.profile}-*")
        rules = _resources(statements, "events:PutRule")
        assert f"StepFunctionsGetEventsForSageMaker{plural}Rule" in {rule.rsplit("/", 1)[1] for rule in rules}


def test_the_machine_logs_everything_and_is_traced(deployment: Synthesised) -> None:
    machine = deployment.one("AWS::StepFunctions::StateMachine")
    assert machine["LoggingConfiguration"]["Level"] == "ALL"
    assert machine["TracingConfiguration"] == {"Enabled": True}
    (log,) = machine["LoggingConfiguration"]["Destinations"]
    group = deployment.resources("AWS::Logs::LogGroup")[log["CloudWatchLogsLogGroup"]["LogGroupArn"]["Fn::GetAtt"][0]]
    assert group["LogGroupName"] == f"/aws/vendedlogs/states/tandem-{deployment.profile}-night"
    ((_, whole),) = deployment.whole("AWS::StepFunctions::StateMachine").items()
    assert any("MachinePolicy" in each for each in whole["DependsOn"]), "it tries at once whether it may log"


def test_the_schedule_starts_the_machine_every_night(deployment: Synthesised) -> None:
    schedule = deployment.one("AWS::Scheduler::Schedule")
    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]) == ("cron(0 3 * * ? *)", "UTC")
    assert schedule["State"] == "ENABLED"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    assert schedule["Target"]["Input"] == "{}"
    assert text_of(schedule["Target"]["Arn"]) == deployment.outputs()["NightStateMachine"]
    (start,) = deployment.statements("nightschedulePolicy")
    assert (start["Action"], text_of(start["Resource"])) == (
        "states:StartExecution",
        text_of(schedule["Target"]["Arn"]),
    )


def test_a_schedule_that_is_off_is_there(synthesised: Callable[..., Synthesised]) -> None:
    off = synthesised(profile="mini", **_OTHERWISE)
    assert off.one("AWS::Scheduler::Schedule")["State"] == "DISABLED"


def test_what_commands_look_up_of_the_night_is_in_the_outputs(deployment: Synthesised) -> None:
    outputs = deployment.outputs()
    wanted = {"NightStateMachine", "NightSchedule", "NightScheduleGroup", "NightTopic", "NightLogGroup"}
    wanted |= {"TrainingRole", "TrainingImage", "TrainingInstance", "TrainingInstances", "TrainingSpot"}
    wanted |= {"CodeArchive"}
    wanted |= {f"Night{name.capitalize()}LogGroup" for name in _night_functions(deployment)}
    assert {name for name in outputs if name.startswith(("Night", "Training", "CodeArchive"))} == wanted
    assert re.fullmatch(r"s3://cdk-\w+-assets-<AWS::AccountId>-<AWS::Region>/[0-9a-f]{64}\.gz", outputs["CodeArchive"])
    schedule = deployment.one("AWS::Scheduler::Schedule")
    assert (schedule["Name"], schedule["GroupName"]) == (outputs["NightSchedule"], outputs["NightScheduleGroup"])


def test_every_wildcard_of_a_key_has_its_reason() -> None:
    def keys() -> Iterator[str]:
        for rights in (*FUNCTIONS.values(), *JOBS.values(), *ON_DEMAND.values()):
            for part in (*rights[:6],):
                yield from part

    assert {key for key in keys() if "*" in key} == WHY.keys()


def test_functions_of_a_plan_are_those_that_its_definition_calls(plan: NightPlan) -> None:
    text = json.dumps(definition(plan))
    called = set(re.findall(r"\$\{(\w+)Function\}", text)) - {"Invoke"}
    assert called == {name.capitalize() for name in functions_of(plan)}
