"""How batches are compressed, and what follows a source that does not take it.

Python has zstd from 3.14 on. Where the tests' interpreter is older its backport compresses, which is made alike; what
decides and what falls back is the same code. An interpreter that has zstd itself is asked to use it.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_http import ScriptedServer, answer
from sumo_rules import TOKEN, decode
from sumo_source import Fault, SumoSource

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal import config as configuration
from sumo_internal import diagnostics
from sumo_internal.destinations import encoding
from sumo_internal.destinations.encoding import GZIP, PLAIN, Encoding
from sumo_internal.destinations.endpoint import Endpoint
from sumo_internal.destinations.http_source import HttpSource
from sumo_internal.net.client import PlainSender
from sumo_internal.shipping.factory import make_drainer
from sumo_internal.shipping.retry_policy import Drained
from sumo_internal.spool import counters
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

ZSTD = encoding.zstd(ZstdCompressor)
PATIENT_S = 10.0
ENVELOPE = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/21/[$LATEST]0123abcd"}
LINE = b'{"time":"2026-11-21T08:22:03.123Z","message":"paid","id":"e-w-0000000001"}\n'
LINE_WITHOUT_ID = '{"time":"2026-11-21T08:22:03.123Z","message":"paid"'
"""As a recorder gives it to the spool."""


@given(st.lists(st.binary(max_size=200)), st.sampled_from([GZIP, PLAIN, ZSTD]))
def test_a_batch_is_one_stream(pieces: list[bytes], given_encoding: Encoding) -> None:
    """Of all pieces, complete, with nothing behind it: the source is as strict as the real one."""
    body = given_encoding.pack(memoryview(piece) for piece in pieces)
    assert decode(body, given_encoding.name) == b"".join(pieces)


@pytest.mark.parametrize(("setting", "expected"), [("auto", GZIP), ("gzip", GZIP), ("none", PLAIN)])
def test_what_a_setting_asks_for(setting: str, expected: Encoding) -> None:
    """Automatic is gzip, until somebody has seen zstd arrive at a real source."""
    assert encoding.choose(setting) is expected


SCRIPT = """
import sys
sys.path.append(sys.argv[1])
from sumo_internal.destinations.encoding import choose
chosen = choose("zstd")
sys.stdout.write(chosen.name + " " + chosen.pack([b"lines", b" and lines"]).hex())
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_each_interpreter_uses_the_zstd_that_it_has(interpreter: Interpreter) -> None:
    """Its own from Python 3.14 on; an older one says so, once, and compresses with gzip."""
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", SCRIPT, str(ROOT)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    name, body = ran.stdout.split()
    has_zstd = interpreter.version >= (3, 14)
    assert name == ("zstd" if has_zstd else "gzip")
    assert ran.stderr.count("SUMO_COMPRESSION=zstd needs Python 3.14 or later; gzip is used") == (not has_zstd)
    assert decode(bytes.fromhex(body), name) == b"lines and lines"


def no_aws() -> NoReturn:
    """A plain address needs no account."""
    raise AssertionError


def http_source(source: SumoSource, sender: PlainSender, like: Encoding) -> HttpSource:
    return HttpSource(Endpoint(source.url, "", "", 0.0, no_aws), sender, like)


@pytest.mark.parametrize("like", [GZIP, ZSTD, PLAIN], ids=["gzip", "zstd", "none"])
def test_a_source_takes_them_all(like: Encoding) -> None:
    """Under the header that says what it is; no header where it is not compressed."""
    with SumoSource() as source, closing(PlainSender()) as sender:
        attempt = http_source(source, sender, like).post(lambda each: each.pack([LINE]), ENVELOPE, PATIENT_S)
        assert (attempt.status, attempt.problem) == (200, "")
        assert source.requests[0].headers.get("content-encoding", "") == like.name
        assert source.records == [json.loads(LINE)] and source.problems == []


@pytest.mark.parametrize("like", [ZSTD, PLAIN], ids=["zstd", "none"])
@pytest.mark.parametrize("status", [400, 415])
def test_what_is_refused_goes_as_gzip(
    status: int, like: Encoding, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same post; and if that is taken, all that follows goes as gzip at once."""
    monkeypatch.setattr(diagnostics, "_said", set())
    with SumoSource() as source, closing(PlainSender()) as sender:
        source.script([Fault(status)])
        posted = http_source(source, sender, like)
        for _ in range(2):
            assert posted.post(lambda each: each.pack([LINE]), ENVELOPE, PATIENT_S).status == 200
        sent = [request.headers.get("content-encoding", "") for request in source.requests]
        assert sent == [like.name, "gzip", "gzip"]
        assert source.ids() == {"e-w-0000000001": 2}
    assert capfd.readouterr().err.count("lines are sent as gzip") == 1


def test_what_gzip_does_not_mend_was_not_the_encoding() -> None:
    """A batch that is refused either way is refused for itself: the next one is compressed as before."""
    with SumoSource() as source, closing(PlainSender()) as sender:
        source.script([Fault(400, body=b"zstd?"), Fault(400, body=b"bad lines"), Fault(503)])
        posted = http_source(source, sender, ZSTD)
        statuses = []
        for _ in range(3):
            attempt = posted.post(lambda each: each.pack([LINE]), ENVELOPE, PATIENT_S)
            statuses.append((attempt.status, attempt.problem))
        assert statuses == [(400, "HTTP 400 bad lines"), (503, "HTTP 503"), (200, "")]
        assert [request.headers["content-encoding"] for request in source.requests] == ["zstd", "gzip", "zstd", "zstd"]


@pytest.mark.parametrize("is_away", [True, False], ids=["away", "refuses zstd"])
def test_a_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_away: bool) -> None:
    """An object in the bucket is gzip, for who reads it knows nothing else; and zstd that is refused costs no line."""
    monkeypatch.setattr(encoding, "choose", lambda _: ZSTD)
    with SumoSource() as source, ScriptedServer(answer(200)) as s3, closing(PlainSender()) as sender:
        source.default = Fault(503) if is_away else source.default
        source.script([] if is_away else [Fault(400)])
        environ = {
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "SUMO_HTTP_ENDPOINT": source.base_url,
            "SUMO_HTTP_TOKEN": TOKEN,
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": "lines",
            "SUMO_S3_BUCKET_REGION": "eu-west-1",
            "SUMO_NUM_RETRIES": "0",
            "SUMO_COMPRESSION": "zstd",
        }
        config, problems = configuration.read(environ)
        assert problems == []
        spool = Spool(str(tmp_path), ENVELOPE, 64_000_000)
        counted = counters.Counters(str(tmp_path), "test")
        drainer = make_drainer(config, environ, SpoolReader(str(tmp_path), spool), counted, lambda: sender, print)
        spool.append(LINE_WITHOUT_ID)
        assert drainer.drain(time.time() + 60) is Drained.EMPTY
        if is_away:
            (put,) = s3.requests
            assert gzip.decompress(put.body).decode().startswith(LINE_WITHOUT_ID)
            assert counted.counts().keys() == {counters.FAILED_OVER}
            assert TOKEN not in str(put), "the token is the source's alone"
        else:
            assert s3.requests == [] and counted.counts() == {}
            assert len(source.records) == 1
