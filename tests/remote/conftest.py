"""A Google Cloud Storage on this machine, which the processes of these tests take for the real one."""

from collections.abc import Iterator

import pytest

from tests.remote.fake_gcs import Bucket, FakeGcs


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path_factory.mktemp("gcs")) as server, pytest.MonkeyPatch.context() as patched:
        for name, value in server.environment.items():
            patched.setenv(name, value)
        yield server


@pytest.fixture
def bucket(gcs: FakeGcs) -> Iterator[Bucket]:
    """An empty bucket called `bucket`."""
    gcs.buckets.clear()
    yield gcs.bucket("bucket")
    gcs.buckets.clear()
