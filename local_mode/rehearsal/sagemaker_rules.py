"""What SageMaker refuses before a job begins: everything of its service model, and the rules that no model tells.

botocore's validator knows types and what is required; patterns, lengths and values are in the same model and are held
here too, since it is the service that does there. The other rules are those that its documentation and its messages
state. It asks S3 whether inputs are there. `sagemaker.py` calls it for every request of a rehearsed night.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from local_mode.rehearsal.moto_private import Refused

OPERATIONS: Final = {"createTrainingJob": "CreateTrainingJob", "createProcessingJob": "CreateProcessingJob"}
"""Action of a state → operation of the service."""

_CLASSES: Final = (("\\p{L}", r"\w"), ("\\p{N}", r"\d"), ("\\p{Z}", " "))
"""Character classes of the model's patterns that Python's `re` does not know."""

PROCESSING: Final = "/opt/ml/processing/"
"""Inputs and outputs of a processing job lie below it."""
_WORDS: Final = 200
"""Of a value, in a message."""


def check(action: str, request: Mapping[str, Any], s3: Any) -> None:
    """Raise Refused, as Step Functions name what SageMaker answers.

    `request`: as a state gives it. `s3`: a client of boto3, with the rights that SageMaker has.
    """
    from botocore.validate import ParamValidator

    operation = OPERATIONS[action]
    shape = _shape(operation)
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise _invalid(operation, report.generate_report())
    problems = [*_of_model(shape, request, ""), *_RULES[operation](request, s3)]
    if problems:
        raise _invalid(operation, "; ".join(problems))


@cache
def _shape(operation: str) -> Any:
    from botocore.session import get_session

    return get_session().get_service_model("sagemaker").operation_model(operation).input_shape


def refused(code: str, operation: str, message: str) -> Refused:
    """An answer of SageMaker in the words of Step Functions."""
    named = {"ValidationException": "AmazonSageMakerException"}.get(code, f"{code}Exception")
    told = f"(Service: AmazonSageMaker; Status Code: 400; Error Code: {code}; Request ID: {operation}; Proxy: null)"
    return Refused(f"SageMaker.{named}", f"{message} {told}")


def _invalid(operation: str, message: str) -> Refused:
    return refused("ValidationException", operation, message)


def _of_model(shape: Any, value: Any, path: str) -> Iterator[str]:
    """What of a value breaks the constraints of the service model."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if name in value:
                yield from _of_model(member, value[name], f"{path}.{name}".lstrip("."))
    elif shape.type_name == "list":
        yield from _size(shape, value, path)
        for index, member in enumerate(value):
            yield from _of_model(shape.member, member, f"{path}[{index}]")
    elif shape.type_name == "map":
        yield from _size(shape, value, path)
        for key, member in value.items():
            yield from _of_model(shape.key, key, f"{path}.{key}")
            yield from _of_model(shape.value, member, f"{path}.{key}")
    elif shape.type_name == "string":
        yield from _size(shape, value, path)
        yield from _text(shape, value, path)
    elif shape.type_name in ("integer", "long"):
        yield from _within(shape, value, path, "value")


def _size(shape: Any, value: Any, path: str) -> Iterator[str]:
    yield from _within(shape, len(value), path, "length")


def _within(shape: Any, size: int, path: str, what: str) -> Iterator[str]:
    least, most = shape.metadata.get("min", size), shape.metadata.get("max", size)
    if not least <= size <= most:
        yield f"{path}: its {what} is {size}, and may be {least} to {most}"


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"Value '{value[:_WORDS]}' at '{path}' failed to satisfy constraint: Member must satisfy enum value set"
    if (pattern := shape.metadata.get("pattern")) and not re.fullmatch(_as_python(pattern), value):
        yield (
            f"Value '{value[:_WORDS]}' at '{path}' failed to satisfy constraint: Member must satisfy regular "
            f"expression pattern: {pattern}"
        )


def _as_python(pattern: str) -> str:
    for name, characters in _CLASSES:
        pattern = pattern.replace(name, characters)
    return pattern


def _training(request: Mapping[str, Any], s3: Any) -> Iterator[str]:
    yield from _stopping(request)
    yield from _source_of_code(request)
    for channel in request.get("InputDataConfig", ()):
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        if not has_objects(uri, s3):
            yield nothing_there(uri, request["RoleArn"])
    if request["ResourceConfig"].get("VolumeSizeInGB") is None:
        yield "Invalid resource configuration: VolumeSizeInGB must be provided"


def _stopping(request: Mapping[str, Any]) -> Iterator[str]:
    stopping = request.get("StoppingCondition", {})
    spot, wait = request.get("EnableManagedSpotTraining", False), stopping.get("MaxWaitTimeInSeconds")
    if spot and (wait is None or wait < stopping.get("MaxRuntimeInSeconds", 86_400)):
        yield (
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds for "
            "managed spot training"
        )
    if not spot and wait is not None:
        yield "MaxWaitTimeInSeconds must not be set where EnableManagedSpotTraining is off"


def _source_of_code(request: Mapping[str, Any]) -> Iterator[str]:
    algorithm = request["AlgorithmSpecification"]
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        yield "AlgorithmSpecification must have one of TrainingImage and AlgorithmName"


def _processing(request: Mapping[str, Any], _s3: Any) -> Iterator[str]:
    inputs = request.get("ProcessingInputs", ())
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", ())
    places = [(each["InputName"], each["S3Input"]) for each in inputs]
    places += [(each["OutputName"], each["S3Output"]) for each in outputs]
    names = [name for name, _ in places]
    if len(set(names)) != len(names):
        yield f"inputs and outputs must have names of their own: {', '.join(sorted(names))}"
    for name, place in places:
        if not place.get("LocalPath", "").startswith(PROCESSING):
            yield f"{name}: LocalPath '{place.get('LocalPath', '')}' must be below {PROCESSING}"
    for each in inputs:
        if each["S3Input"].get("S3DataType", "S3Prefix") != "S3Prefix":
            yield f"{each['InputName']}: only S3Prefix is rehearsed"


_RULES: Final = {"CreateTrainingJob": _training, "CreateProcessingJob": _processing}


def has_objects(uri: str, s3: Any) -> bool:
    """Whether any key begins with what the URI says."""
    place = urlsplit(uri)
    return bool(s3.list_objects_v2(Bucket=place.netloc, Prefix=place.path.lstrip("/"), MaxKeys=1).get("Contents"))


def nothing_there(uri: str, role: str) -> str:
    """What SageMaker says of an input that is not there."""
    return (
        f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in '
        f'the selected region, that objects exist under that S3 prefix, and that the role "{role}" has '
        f'"s3:ListBucket" permissions on bucket "{urlsplit(uri).netloc}".'
    )
