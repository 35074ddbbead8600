"""What several test folders share: a Ray of two nodes, an S3 server, and the real data where it is."""

import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("pairmill", deadline=None)  # no test fails for being slow on a loaded machine
settings.load_profile("pairmill")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, from PAIRMILL_DATA."""
    folder = os.environ.get("PAIRMILL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PAIRMILL_DATA does not name a folder; this test needs real data")
    return Path(folder)


@pytest.fixture(scope="session")
def ray_of_two_nodes():
    """Address of a real Ray cluster of two nodes on this machine, in processes of its own.

    The second node says it has a GPU, so that stages which ask for one can be placed; there is none to use.
    """
    code = (
        "import sys\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1})\n"
        "cluster.add_node(num_cpus=1, num_gpus=1)\n"
        "print(cluster.address, flush=True)\n"
        "sys.stdin.read()\n"
        "cluster.shutdown()\n"
    )
    path = os.pathsep.join([str(TESTS / "pipeline"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    address = process.stdout.readline().strip()
    assert address, "the Ray cluster of the tests did not start"
    yield address
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()


@pytest.fixture
def s3_bucket(monkeypatch):
    """URL of an empty bucket on a real S3 server on the loopback interface; credentials are in the environment."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    bucket = f"pairmill-{uuid.uuid4().hex[:12]}"  # the server keeps what earlier tests of this process wrote
    boto3.client("s3").create_bucket(Bucket=bucket)
    s3fs.S3FileSystem.clear_instance_cache()  # one that is cached speaks to the server of another test
    yield f"s3://{bucket}"
    server.stop()
