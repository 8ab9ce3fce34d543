"""The managed OpenSearch domain: what `index_loader` fills and `lambda_user_tower` searches.

3.5, as on a laptop and in the tests; indexes name the k-NN engine (`lucene`) themselves. Profile `mini` has none. Its
own policy names the one role that searches; whoever loads an index has the right from their own policies. `stacks.py`
makes it.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_opensearchservice as opensearch
from constructs import Construct

from infra.network import ISOLATED, Network
from infra.profiles import Deployment, SearchSize
from infra.storage import log_group, removal_policy

SEARCH_ACTIONS: Final = ("es:ESHttpGet", "es:ESHttpPost")
"""Reading what an index says of itself, and asking it."""


class Search(Construct):
    """One domain, encrypted everywhere, that answers to signed requests only."""

    def __init__(
        self, scope: Construct, construct_id: str, deployment: Deployment, size: SearchSize, network: Network | None
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = deployment.prefix
        self.domain_arn = f"arn:{Aws.PARTITION}:es:{Aws.REGION}:{Aws.ACCOUNT_ID}:domain/{self.name}"
        logs_to = log_group(self, "Logs", deployment) if size.slow_logs else None
        self.domain = opensearch.Domain(
            self,
            "Domain",
            domain_name=self.name,  # so that its policy can name it, without a function that writes it later
            version=opensearch.EngineVersion.OPENSEARCH_3_5,
            enforce_https=True,
            node_to_node_encryption=True,
            encryption_at_rest=opensearch.EncryptionAtRestOptions(enabled=True),
            tls_security_policy=opensearch.TLSSecurityPolicy.TLS_1_2_PFS,
            capacity=_capacity(size),
            ebs=opensearch.EbsOptions(volume_size=size.volume_gb, volume_type=ec2.EbsDeviceVolumeType.GP3),
            zone_awareness=opensearch.ZoneAwarenessConfig(enabled=size.nodes > 1),
            logging=_log_to(logs_to) if logs_to else None,
            suppress_logs_resource_policy=True,  # `_allow_logs` gives it as a resource, not through a function
            removal_policy=removal_policy(deployment),
            vpc=network.vpc if network else None,
            vpc_subnets=[ISOLATED] if network else None,
            security_groups=[network.search_group] if network else None,
        )
        if logs_to:
            self.domain.node.add_dependency(self._allow_logs(logs_to))  # the domain tries whether it may write
        self.endpoint = f"https://{self.domain.domain_endpoint}"

    def let_read(self, reader: iam.IRole) -> None:
        """Name the role in the domain's own policy, which is a property of it: the L2's way is a function again."""
        self._resource.access_policies = iam.PolicyDocument(
            statements=[self.reading(principals=[iam.ArnPrincipal(reader.role_arn)])]
        )

    def reading(self, principals: list[iam.IPrincipal] | None = None) -> iam.PolicyStatement:
        """What searching needs, on any index of the domain: each publication has its own."""
        return iam.PolicyStatement(principals=principals, actions=[*SEARCH_ACTIONS], resources=[f"{self.domain_arn}/*"])

    @property
    def _resource(self) -> opensearch.CfnDomain:
        resource = self.domain.node.default_child
        assert isinstance(resource, opensearch.CfnDomain)  # noqa: S101  # what the L2 is made of
        return resource

    def _allow_logs(self, group: logs.LogGroup) -> logs.ResourcePolicy:
        """Let the service write, for this domain only."""
        return logs.ResourcePolicy(
            self,
            "LogsPolicy",
            policy_statements=[
                iam.PolicyStatement(
                    principals=[iam.ServicePrincipal("es.amazonaws.com")],
                    actions=["logs:CreateLogStream", "logs:PutLogEvents", "logs:PutLogEventsBatch"],
                    resources=[group.log_group_arn],
                    conditions={"ArnEquals": {"aws:SourceArn": self.domain_arn}},
                )
            ],
        )


def _log_to(group: logs.LogGroup) -> opensearch.LoggingOptions:
    return opensearch.LoggingOptions(
        slow_search_log_enabled=True,
        slow_search_log_group=group,
        slow_index_log_enabled=True,
        slow_index_log_group=group,
        app_log_enabled=True,
        app_log_group=group,
    )


def _capacity(size: SearchSize) -> opensearch.CapacityConfig:
    return opensearch.CapacityConfig(
        data_node_instance_type=size.instance,
        data_nodes=size.nodes,
        master_nodes=size.masters or None,
        master_node_instance_type=size.master_instance if size.masters else None,
        multi_az_with_standby_enabled=False,  # a third of the data nodes would stand idle; it needs three zones
    )
