"""Small reads of one object by boto3: what a Python program does that has no data plane.

python -m benches.small_reads ENDPOINT BUCKET KEY SIZE THREADS READS     # prints the seconds
"""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

READ = 4096


def main(endpoint: str, bucket: str, key: str, size: int, threads: int, reads: int) -> None:
    """Read at random places; one client for all threads, with a connection for each, as its documentation advises."""
    config = Config(max_pool_connections=threads, s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)

    def read(_: int) -> None:
        offset = random.randrange(size - READ)
        answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-{offset + READ - 1}")
        if len(answer["Body"].read()) != READ:
            raise OSError("a short answer")

    read(0)
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(read, range(reads)):
            pass
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
