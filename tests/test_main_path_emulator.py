"""The main path in AWS's own Runtime Interface Emulator, where nothing of the environment is ours."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from emulator import Emulator
from runtimes import Runtime, runtimes, typical
from sumo_source import SumoSource

PROBE = Path(__file__).parent / "functions" / "probe"

pytestmark = pytest.mark.skipif(Emulator.available() is not None, reason=f"no emulator here: {Emulator.available()}")


def emulator(source: SumoSource, layer: Path, runtime: Runtime, timeout_s: int = 10) -> Emulator:
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_FLUSH": "end"}
    return Emulator(runtime, PROBE, layer=layer, wrapper="/opt/sumo_wrapper", variables=variables, timeout_s=timeout_s)


def texts(source: SumoSource) -> list[str]:
    """The messages without the runtime's prefix of level, time and request id."""
    return [record["message"].rpartition("\t")[2] for record in source.records]


@pytest.mark.parametrize("runtime", runtimes(), ids=lambda runtime: runtime.id)
def test_every_line_of_three_invocations_arrives_once(source: SumoSource, layer_folder: Path, runtime: Runtime) -> None:
    """Both extensions register with the real API, three invocations are shipped before they end, SHUTDOWN is quiet."""
    with emulator(source, layer_folder, runtime) as env:
        for number in range(3):
            steps = [{"log": f"log {number}"}, {"print": f"print {number}"}, {"stderr": f"stderr {number}"}]
            answer = env.invoke({"steps": [*steps, {"fail": "no such item"}] if number == 1 else steps})
            assert ("errorType" in answer.value) is (number == 1)
            shipped = texts(source)
            assert f"stderr {number}" in shipped  # the answer comes when the extensions are done, and so were they
        env.stop()
        assert env.log.count("no such item") > 0
        assert "sumo-internal-extension: " not in env.log

    kinds = [f"{kind} {number}" for number in range(3) for kind in ("log", "print", "stderr")]
    got = Counter(texts(source))
    assert [text for text in kinds if got[text] != 1] == []
    assert sum("KeyError: 'no such item'" in text for text in got) == 1
    assert set(source.ids().values()) == {1}


@pytest.mark.parametrize("end", ["kill", "sleep"])
def test_a_crash_and_a_timeout_lose_nothing(source: SumoSource, layer_folder: Path, end: str) -> None:
    """What was logged before a SIGKILL or a timeout is shipped by the extension; the next generation goes on."""
    with emulator(source, layer_folder, typical(), timeout_s=3) as env:
        env.invoke({"steps": [{"log": "before"}, {end: 30}]})
        answer = env.invoke({"steps": [{"log": "after"}]})
        assert answer.value == {"log": None}
        env.stop()

    assert sorted(text for text in texts(source) if re.fullmatch("before|after", text)) == ["after", "before"]
    assert set(source.ids().values()) == {1}
