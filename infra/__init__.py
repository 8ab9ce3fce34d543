"""The deployment in CDK: one construct per unit, two stacks, three profiles. `cdk.json` runs `infra.app`."""
