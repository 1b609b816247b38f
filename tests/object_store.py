"""S3 on loopback: moto's server, and a proxy before it that cuts connections."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from hostile_server import CuttingProxy
from moto.server import ThreadedMotoServer

from mtasr.remote import store

BUCKET = "talks"


@dataclass
class ObjectStore:
    """A bucket, and the environment that leads to it."""

    client: Any
    proxy: CuttingProxy
    environment: dict[str, str]

    def put(self, key: str, data: bytes) -> str:
        """Store an object; returns its URL."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def listed(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def uploads(self) -> list[str]:
        """Keys of uploads that are neither completed nor aborted."""
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


def forget_connections() -> None:
    """Close the connections of fsspec: the next call makes new ones."""
    for file_system in store._shared.values():
        if file_system._s3 is not None:
            file_system.close_session(file_system.loop, file_system._s3creator)
    store._shared.clear()


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server with one empty bucket; the environment of this process leads to it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    proxy = CuttingProxy(port)
    environment = {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        # Of the server itself, so that what a test looks up is not cut.
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket=BUCKET)
        try:
            yield ObjectStore(client, proxy, environment)
        finally:
            forget_connections()
            client.close()
            proxy.close()
            server.stop()
