"""The cluster, as a client sees it: one node's endpoint, with what a client needs to reach it."""

from typing import NamedTuple

from kcl.scenario import client_of, metrics_of


class Target(NamedTuple):
    """One endpoint of a cluster."""

    # For example https://127.0.0.1:4567.
    endpoint: str
    # Environment variables for the client: the access key of a user with the policy of the page, and for HTTPS the
    # authority that AWS SDKs trust.
    environment: dict
    # Environment variables with the access key of the root user.
    root: dict
    # The command of Java, with options that make it trust the cluster.
    java: list
    # `HOST:PORT` of the metrics of the endpoint's node.
    metrics: str
    # The file of the certificate authority. None for HTTP.
    ca: object

    def client(self):
        """A boto3 client of Kinesis that may do everything."""
        return client_of(self.endpoint, self._replace(environment=self.root))

    def has_metric(self, application, metric):
        """Whether the node shows a metric that an application has sent to CloudWatch."""
        labels = [f'application="{application}"', f'metric="{metric}"']
        return any(
            line.startswith("anabranch_cloudwatch_samples_total{") and all(label in line for label in labels)
            for line in metrics_of(self.metrics).splitlines()
        )
