"""The CDK app, as `cdk.json` runs it: `.venv/bin/python -m infra.app`.

Reads the context, composes the two stacks of a deployment and has them checked by cdk-nag. It knows no account and no
region: `npx cdk` brings them.
"""

from __future__ import annotations

import sys

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from contracts.errors import TandemError
from infra.acknowledged import acknowledge_all
from infra.context import read_deployment
from infra.stacks import ServiceStack, StateStack


def compose(app: App) -> tuple[StateStack, ServiceStack]:
    """Both stacks of the deployment that the app's context describes. Raises DeploymentInvalid."""
    deployment = read_deployment(app.node.get_all_context())
    state = StateStack(app, deployment)
    service = ServiceStack(app, deployment, state)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    acknowledge_all(state, service)
    return state, service


def main() -> None:
    """Synthesise, or say in one line what is wrong."""
    app = App()
    try:
        compose(app)
    except TandemError as error:
        sys.exit(f"{error.code}: {error}")
    app.synth()


if __name__ == "__main__":
    main()
