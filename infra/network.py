"""The private network of profile `prod`: the search domain and the functions that talk to it.

No NAT and no internet gateway: what is inside reaches S3, DynamoDB, Firehose, Secrets Manager and the domain, no more.
Logs, metrics and traces of a function leave through Lambda itself. The other functions stay outside, and so do the jobs
of a night. `stacks.py` makes one where the profile asks for it.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.profiles import Deployment
from infra.storage import log_group

CIDR: Final = "10.64.0.0/22"
"""1,024 addresses, out of the way of the usual 10.0 and 172.31; the domain and the functions take some dozens."""
SUBNET_MASK: Final = 24
ZONES: Final = 2
"""As many as a template has that names no region."""
HTTPS: Final = 443
ISOLATED: Final = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
"""Subnets without a way out."""


class Network(Construct):
    """Two isolated subnets, who may talk to whom in them, and the endpoints of the services that are needed."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(CIDR),
            max_azs=ZONES,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=SUBNET_MASK
                )
            ],
            restrict_default_security_group=False,  # nothing is in it, and emptying it takes a function of its own
        )
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(log_group(self, "FlowLogs", deployment)),
            traffic_type=ec2.FlowLogTrafficType.REJECT,  # what was accepted is known beforehand: see the groups below
        )
        self.function_group, self.search_group = self._group("FunctionGroup"), self._group("SearchGroup")
        self._connect()
        self._add_endpoints()

    def _group(self, name: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(self, name, vpc=self.vpc, allow_all_outbound=False)

    def _connect(self) -> None:
        """A function may speak HTTPS to whatever is reachable, for S3 and DynamoDB have public addresses."""
        https = ec2.Port.tcp(HTTPS)
        self.function_group.add_egress_rule(ec2.Peer.any_ipv4(), https, "domain and endpoints; there is no other way")
        self.search_group.add_ingress_rule(self.function_group, https, "functions that search and load")

    def _add_endpoints(self) -> None:
        """Gateways cost nothing. Interfaces do, by the hour: for keys, read once a process, and for what was served."""
        gateways, interfaces = ec2.GatewayVpcEndpointAwsService, ec2.InterfaceVpcEndpointAwsService
        self.vpc.add_gateway_endpoint("S3", service=gateways.S3)
        self.vpc.add_gateway_endpoint("DynamoDb", service=gateways.DYNAMODB)
        endpoint_group = self._group("EndpointGroup")
        endpoint_group.add_ingress_rule(self.function_group, ec2.Port.tcp(HTTPS), "functions that search and load")
        for name, service in (
            ("SecretsManager", interfaces.SECRETS_MANAGER),
            ("Firehose", interfaces.KINESIS_FIREHOSE),
        ):
            self.vpc.add_interface_endpoint(name, service=service, security_groups=[endpoint_group], open=False)
