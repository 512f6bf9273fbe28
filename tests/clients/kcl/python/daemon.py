"""Becomes a MultiLangDaemon with processors in Python: one worker of an application of amazon_kclpy.

Arguments: JAVA_COMMAND... -- PROPERTIES_FILE NAME=VALUE... scenario.py describes the named ones.
"""

import os
import sys
from pathlib import Path

end = sys.argv.index("--")
java, properties = sys.argv[1:end], sys.argv[end + 1]
settings = dict(argument.split("=", 1) for argument in sys.argv[end + 2 :])
lines = {
    "executableName": f"{sys.executable} {Path(__file__).with_name('processor.py')}",
    "processingLanguage": "python/3",
    "streamName": settings["stream"],
    "applicationName": settings["application"],
    "workerId": settings["worker"],
    "regionName": "us-east-1",
    "kinesisEndpoint": settings["endpoint"],
    "dynamoDBEndpoint": settings["endpoint"],
    "AwsCredentialsProvider": "DefaultCredentialsProvider",
    "initialPositionInStream": "TRIM_HORIZON",
    "retrievalMode": settings["how"].upper(),
    # The assignment must not depend on the CPU load of this machine, on which other programs run.
    "disableWorkerMetrics": "true",
}
for name, key in (("leases", "maxLeasesForWorker"), ("idle", "idleTimeBetweenReadsInMillis")):
    if name in settings:
        lines[key] = settings[name]
if "failover" in settings:
    lines["failoverTimeMillis"] = lines["shardSyncIntervalMillis"] = settings["failover"]
    lines["leaseAssignmentIntervalMillis"] = lines["workerMetricsReporterFreqInMillis"] = settings["failover"]
Path(properties).write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

# There is no property for the endpoint of CloudWatch, but the SDK reads this variable.
os.environ["AWS_ENDPOINT_URL_CLOUDWATCH"] = settings["endpoint"]
# The daemon talks to the processors through their standard output. So they print through the daemon's one.
os.environ["OUTPUT"] = f"/proc/{os.getpid()}/fd/1"
daemon = "software.amazon.kinesis.multilang.MultiLangDaemon"
os.execvp(java[0], [*java, daemon, "--properties-file", properties])
