"""What every test may ask for: the shared data, small real artifacts, the real command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from electra_cli.artifacts import Recipe, claim
from electra_cli.reporting import Silent

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora and tasks, named by ELECTRA_SHARED_DATA or beside the repository."""
    folder = Path(os.environ.get("ELECTRA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no shared data on this machine")
    return folder


@pytest.fixture
def make_artifact(tmp_path):
    """A function that publishes a small artifact: `make_artifact("tok", kind="tokenizer", files={"a.txt": b"…"})`."""

    def make(out="out", *, kind="tokenizer", files=None, config=None, inputs=(), spec=None):
        recipe = Recipe(kind, "make", 1, config or {}, tuple(inputs))
        with claim(tmp_path / out, recipe, report=Silent()) as found:
            if found.done is not None:
                return found.done
            for name, data in (files or {"a.txt": b"alpha", "sub/b.bin": bytes(range(256))}).items():
                found.draft.write_bytes(name, data)
            return found.draft.publish(spec=spec or {})

    return make


@pytest.fixture
def electra():
    """A function that runs the real command and returns the finished process, its output as text."""

    def run(*arguments, cwd=None, env=None, input=None, timeout=120):
        surroundings = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "FORCE_COLOR")}
        surroundings |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **(env or {})}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "electra_cli", *map(str, arguments)],
            cwd=cwd,
            env=surroundings,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
        )

    return run


@pytest.fixture
def without_credentials(monkeypatch, tmp_path):
    """Nothing of this machine's own that leads to an object store."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture(scope="session")
def store_server():
    """The address of a server in this process that speaks S3's language."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def store(store_server, without_credentials, monkeypatch):
    """A function that puts bytes under a key of the empty bucket `the-corpus`; the environment leads there."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", store_server)
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=store_server)
    client.create_bucket(Bucket="the-corpus")
    yield lambda key, data: client.put_object(Bucket="the-corpus", Key=key, Body=data)
    for entry in client.list_objects_v2(Bucket="the-corpus").get("Contents", []):
        client.delete_object(Bucket="the-corpus", Key=entry["Key"])
    client.delete_bucket(Bucket="the-corpus")


@pytest.fixture
def needs_tool():
    """A function that skips the test where a program is missing, and fails it there in CI."""

    def need(name):
        if shutil.which(name) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is missing; CI must have it")
            pytest.skip(f"{name} is missing")

    return need
