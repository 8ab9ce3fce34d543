"""Why a night failed, from what the state machine knows: one sentence for people, and a code.

Lambda, SageMaker and Step Functions each hide the reason somewhere else: in the error of a function, in FailureReason
or ExitMessage of a job that is described in JSON inside a Cause, in the text of a call that was refused, or in the
verdict of a step. Texts of ours begin with their code (`stores/job_message.py`). Pure functions; `failure.py` calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from contracts import errors
from contracts.errors import FunctionError, JobFailed, TandemError
from contracts.night import Decision, Step

SHOWN: Final = 4_000
"""Characters of a reason: a trace of a training is long, and its end says most."""

_NAMED: Final = {
    kind.__name__: kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TandemError)
}
"""Class of a failure of ours, which is what Lambda calls it → its code."""
_OURS: Final = re.compile(rf"(?<![\w-])({'|'.join(sorted(_NAMED.values(), key=len, reverse=True))}): (\S.*)", re.DOTALL)
_QUOTED: Final = re.compile(r'ErrorMessage "(.*?)"\s*(?:ExtraInfo|Command|\Z)', re.DOTALL)
"""What the toolkit says that a script said."""
_TAIL: Final = re.compile(r"(?:, exit code: 1|\s*\(Service: [^()]*\))\s*$")
"""What SageMaker and the SDK add behind a text. Another code than 1 says more: 137 is a kill, or no memory left."""
_JOB: Final = re.compile(rf"-({'|'.join(Step)})-[0-9a-f]{{8}}$")
_IMAGE: Final = re.compile(r"\d+\.dkr\.ecr\.(?P<region>[\w-]+)\.amazonaws\.com(?:\.cn)?/[\w./:@-]*[\w]")


@dataclass(frozen=True)
class Reason:
    """What is known of a failure."""

    code: str
    text: str
    step: str = ""
    """Step, or name of the state; empty where nobody says."""
    job: str = ""
    """Of SageMaker, where it was one."""
    training: bool = False
    """Whether that is a training job."""
    fix: str = ""
    """What to do, where the text does not say it itself."""


@dataclass(frozen=True)
class _Plain:
    """A failure of AWS that is said plainly."""

    pattern: re.Pattern[str]
    code: str
    text: str
    fix: str


def _plain(pattern: str, code: str, text: str, fix: str) -> _Plain:
    return _Plain(re.compile(pattern, re.IGNORECASE), code, text, fix)


_PLAIN: Final = (
    _plain(
        r"CapacityError|InsufficientCapacity|insufficient capacity|unable to provision",
        "no-capacity",
        "AWS has no machine of the wanted type free in this region just now.",
        "Run it again later; where that happens often, choose another instance type at deploy.",
    ),
    _plain(
        r"ResourceLimitExceeded|account-level service limit",
        "quota-exceeded",
        "This account may not run a machine of the wanted type, or not one more of them.",
        "Ask for more at Service Quotas, Amazon SageMaker, under the name in quotes (`tandem aws doctor` looks at it), "
        "or choose another instance type at deploy.",
    ),
    _plain(
        r"cannot find the requested image|cannot find repository|requested image .* not found|invalid training image"
        r"|cannot pull algorithm container|access denied for repository|CannotPullContainer|failed to pull image",
        "image-not-found",
        "SageMaker cannot get the image of the job{image}.",
        "See that the image exists in that region and that the role may pull it (ecr:BatchGetImage), or choose another "
        "one at deploy.",
    ),
    _plain(
        r"MaxRuntimeExceeded|MaxWaitTimeExceeded",
        "job-timed-out",
        "The job was stopped, for it took longer than it may.",
        "Begin again from this step: a training goes on from its checkpoints. Else give it more time at deploy.",
    ),
    _plain(
        r"AccessDenied|not authorized to perform|is not authorized",
        "access-denied",
        "A role lacks a right.",
        "Deploy the stacks of this version again; a policy of the organisation may also refuse it.",
    ),
)


def reason_of(state: object) -> Reason:
    """The reason in all that the state machine knows; something is said whatever is in it."""
    failed = _text(_at(state, "failed"))
    verdict, error = _at(state, "verdict"), _at(state, "error")
    if _at(verdict, "decision") == Decision.REFUSE:
        return Reason(
            _text(_at(verdict, "code")) or "refused",
            _text(_at(verdict, "reason")) or "The step says no more.",
            _text(_at(verdict, "step")) or failed,
        )
    if not isinstance(error, Mapping):
        return Reason("night-failed", "The state machine does not say why.", failed)
    found = _of_error(_text(_at(error, "Error")), _at(error, "Cause"))
    return replace(found, text=_shortened(found.text), step=found.step or _step(failed))


def _of_error(error: str, cause: object) -> Reason:
    """A Catch's {Error, Cause}."""
    document = _parsed(cause)
    if "errorMessage" in document or "errorType" in document:
        return _of_function(error, document)
    for kind, names in _JOBS.items():
        if f"{kind}JobName" in document:
            return _of_job(document, kind, names)
    if error in ("States.Timeout", "States.HeartbeatTimeout"):
        return Reason("step-timed-out", "The step took longer than the state machine waits for it.", fix=_SLOW)
    text = _text(cause)
    if error in _NAMED:
        return Reason(_NAMED[error], text)
    if (died := _of_death(error, text)) is not None:
        return died
    return _plainly(Reason("step-failed", f"{error}: {_TAIL.sub('', text)}" if text else error or "No reason given."))


_SLOW: Final = "Begin again from this step; it goes on where it can. The logs say what it was at."


def _of_function(error: str, document: Mapping[str, Any]) -> Reason:
    kind, text = _text(document.get("errorType")) or error, _text(document.get("errorMessage"))
    if kind in _NAMED:
        return Reason(_NAMED[kind], text)
    return _of_death(kind, text) or _plainly(Reason(FunctionError.code, f"{kind}: {text}"))


def _of_death(kind: str, text: str) -> Reason | None:
    """A function that Lambda has ended; None of one that has ended by itself."""
    if kind == "Sandbox.Timedout" or "Task timed out" in text:
        return Reason("step-timed-out", f"The function ran out of time: {text}", fix=_SLOW)
    if "signal: killed" in text or "OutOfMemory" in kind:
        fix = "Give the function more memory at deploy, or begin again from this step."
        return Reason("function-died", f"The function was killed, most likely out of memory: {text}", fix=fix)
    return None


_JOBS: Final = {
    "Training": ("FailureReason", "SecondaryStatus"),
    "Processing": ("ExitMessage", "FailureReason"),
}
"""Kind of a job → where its description has the reason, the best first."""
_IMAGES: Final = {
    "Training": ("AlgorithmSpecification", "TrainingImage"),
    "Processing": ("AppSpecification", "ImageUri"),
}


def _of_job(document: Mapping[str, Any], kind: str, names: tuple[str, ...]) -> Reason:
    name = _text(document[f"{kind}JobName"])
    step = match[1] if (match := _JOB.search(name)) else ""
    texts = [text for each in names if (text := _text(document.get(each)).strip())]
    about = Reason(JobFailed.code, "SageMaker gives no reason.", step, name, kind == "Training")
    for text in texts:
        said = match[1] if (match := _QUOTED.search(text)) else text
        if ours := _OURS.search(said):
            return replace(about, code=ours[1], text=_TAIL.sub("", ours[2]).strip())
    if not texts:
        return about
    said = match[1].strip() if (match := _QUOTED.search(texts[0])) else ""
    image = _text(
        _at(document, "AlgorithmSpecification", "TrainingImage") or _at(document, "AppSpecification", "ImageUri")
    )
    return _plainly(replace(about, text=said or _TAIL.sub("", texts[0])), " ".join(texts), image)


def _plainly(reason: Reason, everything: str = "", image: str = "") -> Reason:
    """The same, with a sentence before AWS's own where it is one of the known failures."""
    searched = everything or reason.text
    for known in _PLAIN:
        if known.pattern.search(searched):
            named = _IMAGE.search(searched) or _IMAGE.search(image)
            about = f", {named[0]} in region {named['region']}" if named else ""
            return replace(
                reason, code=known.code, text=f"{known.text.format(image=about)} {reason.text}", fix=known.fix
            )
    return reason


def _step(failed: str) -> str:
    """The step that a state belongs to, else the state's own name."""
    if failed.lower().startswith(_INDEXING):
        return Step.INDEX
    return next((step for step in Step if failed.lower().startswith(step)), failed)


_INDEXING: Final = ("prepare", "load", "merge")
"""What the states of the index step begin with."""


def _parsed(cause: object) -> Mapping[str, Any]:
    """A Cause that is a document, in JSON or already read; else nothing."""
    if isinstance(cause, str):
        try:
            cause = json.loads(cause)
        except (ValueError, RecursionError):
            return {}
    return cause if isinstance(cause, Mapping) else {}


def _at(value: object, *names: str) -> object:
    """A part of nested documents, None where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _shortened(text: str) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= SHOWN:
        return text
    return f"{text[: SHOWN // 4]} … {text[-(3 * SHOWN // 4) :]}"
