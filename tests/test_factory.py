"""Where batches go: that the settings reach the source, the secret behind its address, and the bucket."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_http import ScriptedServer, answer
from sumo_source import Fault, SumoSource

from sumo_internal import config as configuration
from sumo_internal.net.client import PlainSender
from sumo_internal.shipping.drainer import Drainer
from sumo_internal.shipping.factory import make_drainer
from sumo_internal.shipping.retry_policy import Drained
from sumo_internal.spool import counters
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

AWS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "a secret",
    "AWS_REGION": "eu-west-1",
    "AWS_LAMBDA_FUNCTION_NAME": "orders",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
}
ENVELOPE = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/21/[$LATEST]0123abcd"}


Prepare = Callable[[dict[str, str]], tuple[Spool, Drainer]]


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    """Makes a spool and its drainer, as the settings say; the connection is closed behind the test."""
    folder = str(tmp_path / "spool")
    sender = PlainSender({})

    def make(environ: dict[str, str]) -> tuple[Spool, Drainer]:
        config, problems = configuration.read(environ)
        assert not problems
        spool = Spool(folder, ENVELOPE, 64_000_000)
        counts = counters.Counters(folder, "test")
        return spool, make_drainer(config, environ, SpoolReader(folder, spool), counts, lambda: sender, print)

    yield make
    sender.close()


def drain(spool: Spool, drainer: Drainer) -> Drained:
    """Log a line and drain it."""
    spool.append('{"time":"2026-11-21T08:22:03.123Z","message":"line"')
    return drainer.drain(time.time() + 60)


@pytest.mark.parametrize(
    ("caches", "fetches"),
    [
        ({}, 1),
        ({"SUMO_SECRET_CACHE_SECONDS": "0"}, 2),
        ({"SUMO_SECRET_CACHE_SECONDS": "0", "KMS_CACHE_SECONDS": "60"}, 1),
        ({"KMS_CACHE_SECONDS": "0"}, 2),
    ],
)
def test_how_long_a_ciphertexts_address_is_kept(prepare: Prepare, caches: dict[str, str], fetches: int) -> None:
    """SUMO_SECRET_CACHE_SECONDS for all secrets; for KMS the Go extension's own variable overrides it."""
    with SumoSource() as source, ScriptedServer() as kms:
        kms.default = answer(200, {"Plaintext": base64.b64encode(source.url.encode()).decode()})
        key = {"KMS_KEY_ID": "arn:aws:kms:eu-west-1:123456789012:key/k", "AWS_ENDPOINT_URL_KMS": kms.url}
        ciphertext = base64.b64encode(b"ciphertext").decode()
        spool, drainer = prepare({**AWS, **key, **caches, "SUMO_HTTP_ENDPOINT": ciphertext})

        assert [drain(spool, drainer) for _ in range(2)] == [Drained.EMPTY] * 2
        assert len(source.records) == 2
    assert len(kms.requests) == fetches


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_bucket_is_used_if_it_is_enabled(prepare: Prepare, is_enabled: bool) -> None:
    """A bucket's name alone is no failover; with it, what the source refuses is an object then."""
    with SumoSource() as source, ScriptedServer(answer(200)) as bucket:
        source.default = Fault(404)
        environ = {
            **AWS,
            "SUMO_HTTP_ENDPOINT": source.url,
            "SUMO_ENABLE_FAILOVER": str(is_enabled).lower(),
            "SUMO_S3_BUCKET_NAME": "lines",
            "SUMO_S3_BUCKET_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_S3": bucket.url,
        }
        spool, drainer = prepare(environ)
        outcome = drain(spool, drainer)

        assert outcome is (Drained.EMPTY if is_enabled else Drained.KEPT)
        paths = [request.path for request in bucket.requests]
        assert len(paths) == is_enabled
        assert all(path.startswith("/lines/sumologic-extension/eu-west-1/orders/%24LATEST/") for path in paths)
        assert bool(spool.pending_bytes) is not is_enabled


@pytest.mark.parametrize(("status", "attempts"), [(403, 1), (500, 4), (503, 4)])
def test_what_the_bucket_refuses_stays_in_the_spool(prepare: Prepare, status: int, attempts: int) -> None:
    """Only a 2xx of S3's lets go of a line: then it is tried again, at both, with the next drain.

    A bucket that is busy (500, 503) is tried as often as a source is, SUMO_NUM_RETRIES times more; a refusal is final.
    """
    with SumoSource() as source, ScriptedServer(answer(status)) as bucket:
        source.default = Fault(404)
        environ = {
            **AWS,
            "SUMO_HTTP_ENDPOINT": source.url,
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": "lines",
            "SUMO_S3_BUCKET_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_S3": bucket.url,
        }
        spool, drainer = prepare(environ)

        assert drain(spool, drainer) is Drained.KEPT
        assert spool.pending_bytes
        bucket.default = answer(200)
        assert drain(spool, drainer) is Drained.EMPTY
        assert len(bucket.requests) == attempts + 1
