"""The real clients: unmodified boto3, the AWS CLI, and requests signed by hand if a test needs special headers."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

REGION = "us-east-1"
ACCESS_KEY = "AKIAANABRANCHTESTING"
SECRET_KEY = "anabranch-testing-secret"


def kinesis(endpoint, **config):
    """A boto3 client with the SDK's own retries, independent of the machine's configuration."""
    return client_of("kinesis", endpoint, **config)


def dynamodb(endpoint, **config):
    """As `kinesis`, for the DynamoDB subset."""
    return client_of("dynamodb", endpoint, **config)


def client_of(service, endpoint, **config):
    """A boto3 client of a service, independent of the machine's configuration."""
    return boto3.session.Session().client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(connect_timeout=5, read_timeout=30, **config),
    )


def cli(endpoint, *arguments, timeout=60, environment=None):
    """Runs `aws kinesis ...` and returns its parsed output. Raises RuntimeError with its message if it fails."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": "/nonexistent",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        **(environment or {}),
    }
    program = [sys.executable, str(Path(sys.executable).with_name("aws"))]
    command = [*program, "--endpoint-url", endpoint, "--output", "json", "kinesis", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"aws kinesis {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def signed_request(endpoint, operation, body, headers=None, content_type="application/x-amz-json-1.1"):
    """A signed request of botocore that has not been sent yet."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = AWSRequest(
        method="POST",
        url=f"{endpoint}/",
        data=data,
        headers={
            "Content-Type": content_type,
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
            **(headers or {}),
        },
    )
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kinesis", REGION).add_auth(request)
    return request


def signed_call(endpoint, operation, body, headers=None, content_type="application/x-amz-json-1.1"):
    """Sends one signed request without retries. Returns (HTTP status, headers, body)."""
    request = signed_request(endpoint, operation, body, headers, content_type)
    plain = urllib.request.Request(request.url, data=request.data, headers=dict(request.headers), method="POST")
    try:
        with urllib.request.urlopen(plain, timeout=30) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()
