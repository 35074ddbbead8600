"""The S3 half of benchmarks/writer.py: cut, verify and merge on moto's server, beside boto3's own upload."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import boto3
from writer_dataset import judged_dataset

from pipeline.engine import Engine, EngineConfig
from pipeline.shard.manifest import read_manifest
from pipeline.shard.merge import merge
from pipeline.store import Store


def on_s3(num_samples):
    """MB per second of every step; the server is a process of its own, written in Python, and shares the CPUs."""
    from writer import KB, drawn, timed

    with server() as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="writer")
        dataset = Store(f"s3://writer/{uuid.uuid4().hex}")
        parts = judged_dataset(dataset, drawn(num_samples, *KB["384 px"]))
        engine = Engine(dataset, EngineConfig(place="process", workers=2))
        found = timed(engine, dataset, parts)
        return {**found, **uploads(client, dataset), **merged(dataset, found["mb"])}


def uploads(client, dataset):
    """The same tars by Store.put_file and by boto3, in turns."""
    taken = {"put_file": [], "boto3": []}
    with tempfile.TemporaryDirectory(prefix="pairmill-writer-") as folder:
        megabytes = 0.0
        for entry in list(read_manifest(dataset).entries)[:5]:
            body = dataset.read_bytes(entry.tar)
            megabytes += len(body) / 1e6
            for name in taken:
                local = Path(folder) / "x.tar"
                local.write_bytes(body)
                began = time.perf_counter()
                if name == "boto3":
                    client.upload_file(str(local), "writer", "x.tar")
                else:
                    dataset.put_file(local, "x.tar")
                taken[name].append(time.perf_counter() - began)
        dataset.delete("x.tar")
    rates = {name: round(megabytes / sum(seconds), 1) for name, seconds in taken.items()}
    return {"upload_mb_per_s": rates, "upload_ratio": round(rates["put_file"] / rates["boto3"], 2)}


def merged(dataset, megabytes):
    """Copying by the server itself."""
    out = Store(f"{dataset.url}-merged")
    began = time.perf_counter()
    merge(Engine(out, EngineConfig(place="process", workers=2)), [dataset.url], "merged")
    return {"merge_mb_per_s": round(megabytes / (time.perf_counter() - began), 1)}


@contextlib.contextmanager
def server():
    """moto's server in a process of its own; its address and credentials are in the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield os.environ["AWS_ENDPOINT_URL"]
    finally:
        process.terminate()
        process.wait()
