"""An object store that speaks S3 on loopback, and Snakemake's plugins that use it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loopback import free_ports

BUCKET = "tickets"
KEY = "made-up"
START_SECONDS = 120.0
# Run in another process: that of the tests cannot import boto3.
COPY = f"""
import sys
from pathlib import Path
import boto3

store = boto3.resource("s3", endpoint_url=sys.argv[1], aws_access_key_id="{KEY}", aws_secret_access_key="{KEY}")
for entry in store.Bucket("{BUCKET}").objects.all():
    path = Path(sys.argv[2], entry.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(entry.Object().get()["Body"].read())
"""


class NoStoreError(Exception):
    """No object store can run on this machine; the message says why."""


@dataclass
class ObjectStore:
    """A store, and the environment of a user who has the plugins and the keys."""

    url: str
    environment: dict[str, str]

    @property
    def options(self) -> list[str]:
        """Snakemake's options for files in this store."""
        return ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}"]

    def copy_to(self, folder: Path) -> None:
        """Write all that the store holds into `folder`."""
        subprocess.run([sys.executable, "-c", COPY, self.url, str(folder)], env=self.environment, check=True)


@contextmanager
def running_store(packages: Path) -> Iterator[ObjectStore]:
    """Yield an empty store, whose server and plugins are in the folder `packages`."""
    [port] = free_ports(1)
    url, path = f"http://127.0.0.1:{port}", f"{packages}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    settings = {"ENDPOINT_URL": url, "ACCESS_KEY": KEY, "SECRET_KEY": KEY}
    keys = {f"SNAKEMAKE_STORAGE_S3_{name}": value for name, value in settings.items()}
    environment = {**os.environ, "PYTHONPATH": path, "POD_PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1", **keys}
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with (packages / "server.log").open("wb") as said:
        server = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    try:
        _wait_for(server, port)
        yield ObjectStore(url, environment)
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise NoStoreError("the S3 server does not start")
