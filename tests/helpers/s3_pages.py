"""A bucket for the pages of the documentation, as if it were in AWS."""

import atexit
import os

from tests.helpers.s3_servers import SeaweedFS


def start_bucket(name: str) -> None:
    """Start a server with a bucket, until the process ends, and let every program of the page find it."""
    server = SeaweedFS()
    atexit.register(server.stop)
    server.start().make_bucket(name)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "LITESTREAM_S3_ENDPOINT": server.url,
        "AWS_ENDPOINT_URL_S3": server.url,  # of boto3
    }
