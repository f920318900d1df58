"""README's path, as a new user takes it: each command in it is run, or this file says where else that is done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import sumo_rules
from aws_server import REGION
from botocore.client import BaseClient
from demo.run import MODES
from demo.story import FAULTS
from fleet_account import Fleet
from lambda_server import LambdaServer
from packages import package
from runtimes import ROOT, interpreters
from sumo_source import SumoSource

from layer.build import build
from layer.interpreters import SUPPORTED_VERSIONS, Interpreter
from sumo_internal import __version__
from sumo_internal.capture.record_format import RECORD_MAX_BYTES
from sumo_internal.cli.changes import LAYERS_MAX, VARIABLES_MAX_BYTES
from sumo_internal.cli.checks import Subject, permissions
from sumo_internal.config import read
from sumo_internal.shipping.drainer import BATCH_MAX_BYTES
from sumo_internal.shipping.flush_strategy import DEADLINE_MARGIN_S, HOLD_MAX_S

pytest_plugins = ["fleet_account"]

AWS_CLI = "awscli==1.46.3"
IS_WRITING = os.environ.get("WRITE_README") == "1"
ENDPOINT = "https://collectors.example.com/receiver/v1/http/ZaVnC4dhaV0-example_only=="
"""With the signs that a real one's code ends with, and that AWS's command line has a meaning for."""

INSTALLED = "--old-file=.venv/.ready --old-file=.venv/.cli --old-file=.venv/.demo"
"""To make: what it would install is there."""

README = (ROOT / "README.md").read_text()

CONTRIBUTING = (ROOT / "docs/contributing.md").read_text()

PAID = "| lines, `SUMO_FLUSH` |"
"""How the tables of what a user pays begin, there and here."""

COSTS = {
    "a cold start, at every memory size": "cold start added, two cores at every memory size, best",
    "… where an init has one core only": "… worst case: one core, median",
    "CPU of a `log.info`, as a multiple of what it is without the layer": (
        "a `log.info` in place (100 after a thaw, read, one core): CPU with / without"
    ),
    "memory, nothing shipped yet": "memory added (PSS), nothing shipped yet",
    "memory, once it has shipped over TLS": "… after shipping over TLS, function without imports",
    "`SUMO_FLUSH=next`: an invocation prolonged, whatever Sumo Logic does": (
        "`next`: an invocation prolonged, Sumo slow, hanging or nameless"
    ),
    "SHUTDOWN of a 128 MB function with 1 MiB unsent, of the two seconds": "… time that it takes, of 2 s",
}
"""README's words for some of the rows of docs/bench.md."""

RUN_ELSEWHERE = {
    "make demo": "tests/test_demo.py",
    **{f"make demo FAULT={fault}": "tests/test_demo.py" for fault in FAULTS},
    **{f"make demo MODE={mode}": "tests/test_demo.py" for mode in MODES},
    "make demo FUNCTION=app.py HANDLER=handler EVENT=event.json": "tests/test_demo_own.py",
    "make lint": ".ci/run",
    "make test": ".ci/run",
    ".venv/bin/python -m pytest -q tests/test_spool.py": "tests/test_spool.py",
}
"""Commands that are run by another test, or by continuous integration: as often, but not a second time."""


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[str]:
    """Yield a block's commands, one a line, without what is said about them."""
    for line in block.replace("\\\n", "").splitlines():
        if command := re.sub(r"\s+# .*", "", line).strip():
            yield command


INSTALL, CHECK, _, BY_HAND, WITHOUT_CLONE = blocks(README, "sh")
DEPLOY = (ROOT / "docs/before-you-deploy.md").read_text()
UPGRADE, UNINSTALL = blocks(DEPLOY, "sh")

RUN_HERE = (INSTALL, CHECK, BY_HAND, WITHOUT_CLONE)

SERVICE_OF = {"resourcegroupstaggingapi": "tag"}
"""IAM's names of services, where they are others than boto3's."""
ACTION_OF = {"Invoke": "InvokeFunction"}
"""... and of actions."""


def copy_clone(folder: Path) -> Path:
    """Copy what a clone of this repository has that the builds read, and what is downloaded once."""
    for name in ("sumo_internal", "wrapper", "layer", ".cache/wheels"):
        unwanted = shutil.ignore_patterns("__pycache__", "dist")
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    for name in ("Makefile", "LICENSE", "README.md", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    command = folder / ".venv/bin/sumo-internal"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sumo_internal "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture
def shell(tmp_path: Path, lambda_server: LambdaServer) -> dict[str, str]:
    """A user's variables: AWS's own command line on PATH, credentials, a region; this interpreter in place of .venv."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, command in {
        "aws": f'PYTHONPATH="{package(AWS_CLI, is_complete=True)}" exec "{sys.executable}" -m awscli "$@"',
        "make": f'exec "{shutil.which("make")}" --silent {INSTALLED} VENV_PYTHON="{sys.executable}" "$@"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{command}\n")
        (tools / name).chmod(0o755)
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": lambda_server.url,
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "user",
        "AWS_DEFAULT_REGION": REGION,
    }


def run(block: str, folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a block in a shell as it stands, with an address in the place of the dots."""
    command = ["bash", "-eu", "-o", "pipefail", "-c", block]
    ran = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


FUNCTION = "import logging\ndef handler(event, context):\n    logging.warning('order accepted')\n"


@pytest.mark.timeout(180)  # the layer is built, and the function run, beside whatever else the machine does
def test_two_commands_and_a_check_bring_a_line_to_sumo_logic(
    tmp_path: Path, shell: dict[str, str], lambda_server: LambdaServer
) -> None:
    """README's first screen, literally: published, attached, invoked; the line is there, and the query finds it.

    Upgrade and uninstall of docs/before-you-deploy.md, too: afterwards the function is what it was.
    """
    with SumoSource(tls=True) as source:
        own = {"TABLE": "orders", "SSL_CERT_FILE": str(source.ca_file)}
        make_function(lambda_server, "MY_FUNCTION", own)
        clone = copy_clone(tmp_path / "clone")
        variables = {**shell, "SSL_CERT_FILE": str(source.ca_file)}
        ran = run(INSTALL.replace("https://…", source.url), clone, variables)
        assert source.requests == []
        checked = run(CHECK, clone, variables)
        [record] = [each for each in source.records if each["type"] == "function"]
        assert record["message"].rstrip().endswith("order accepted")
        assert f'_sourceHost="/aws/lambda/MY_FUNCTION" "{record["requestID"]}"' in checked.stdout
        assert sumo_rules.TOKEN not in ran.stdout + ran.stderr + checked.stdout + checked.stderr

        function = lambda_server.client("lambda").get_function_configuration(FunctionName="MY_FUNCTION")
        wanted = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url, **own}
        assert function["Environment"]["Variables"].items() >= wanted.items()
        on_path = {**variables, "PATH": f"{clone}/.venv/bin:{variables['PATH']}"}
        door = clone / "sumo_internal/__init__.py"
        door.write_text(door.read_text().replace('__version__ = "', '__version__ = "9.'))
        run(f"make layer\n{UPGRADE}", clone, on_path)
        function = lambda_server.client("lambda").get_function_configuration(FunctionName="MY_FUNCTION")
        assert [layer["Arn"].rpartition(":")[2] for layer in function["Layers"]] == ["2"]
        assert len([each for each in source.records if each["type"] == "function"]) == 2
        run(UNINSTALL, clone, on_path)
        function = lambda_server.client("lambda").get_function_configuration(FunctionName="MY_FUNCTION")
        assert (function.get("Layers", []), function["Environment"]["Variables"]) == ([], own)


def test_install_by_hand(tmp_path: Path, shell: dict[str, str], lambda_server: LambdaServer) -> None:
    """The same with AWS's command line. Guards against quoting that it takes for something else."""
    make_function(lambda_server, "MY_FUNCTION", {})
    clone = copy_clone(tmp_path / "clone")
    run(BY_HAND.replace("https://…", ENDPOINT), clone, shell)
    function = lambda_server.client("lambda").get_function_configuration(FunctionName="MY_FUNCTION")
    assert function["Environment"]["Variables"] == {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": ENDPOINT,
    }
    [layer] = function["Layers"]
    assert layer["CodeSize"] == (clone / "layer/dist/sumo-internal-extension.zip").stat().st_size


@pytest.mark.timeout(180)  # it takes 10 s on a machine that has nothing else to do
def test_install_without_the_clone(
    tmp_path: Path, layer_zip: bytes, wheel: Path, shell: dict[str, str], lambda_server: LambdaServer
) -> None:
    """A release's wheel alone, in an environment that has nothing else: two commands and a check.

    Guards against a command that needs what only the clone has, or what is not among its dependencies.
    """
    shutil.copy(wheel, tmp_path)
    venv.create(tmp_path / "venv")
    # A pip of its own would take as long to install as all the rest.
    (tmp_path / "venv/bin/pip").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m pip --python "{tmp_path}/venv/bin/python" "$@"\n'
    )
    (tmp_path / "venv/bin/pip").chmod(0o755)
    variables = {**shell, "PATH": f"{tmp_path}/venv/bin:/usr/bin:/bin", "PIP_NO_COMPILE": "1"}
    with SumoSource(tls=True) as source:
        make_function(lambda_server, "MY_FUNCTION", {"SSL_CERT_FILE": str(source.ca_file)})
        ran = run(WITHOUT_CLONE.replace("https://…", source.url), tmp_path, variables)
        assert "Sumo Logic has accepted its lines" in ran.stdout
        assert [record["type"] for record in source.records if "order accepted" in record.get("message", "")]
    function = lambda_server.client("lambda").get_function_configuration(FunctionName="MY_FUNCTION")
    assert [layer["CodeSize"] for layer in function["Layers"]] == [len(layer_zip)]


def zipped(text: str) -> bytes:
    """Return a function's code as Lambda takes it."""
    code = BytesIO()
    with ZipFile(code, "w") as file:
        file.writestr("app.py", text)
    return code.getvalue()


def make_function(server: LambdaServer, name: str, variables: Mapping[str, str]) -> None:
    """Make a function as it was before us, in an account with nothing else."""
    server.reset()
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = server.client("iam").create_role(RoleName="function", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    server.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": zipped(FUNCTION)},
        Environment={"Variables": dict(variables)},
        MemorySize=512,
        Timeout=30,
    )


def test_policies_are_json_and_what_the_doctor_asks_for() -> None:
    """The page's policy for a function has the actions and the object's path that the doctor prints, and no more."""
    of_function, of_person = [json.loads(block) for block in blocks(DEPLOY, "json")]
    secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:sumo-endpoint-AbCdEf"
    settings = {"SUMO_HTTP_ENDPOINT": secret, "SUMO_ENABLE_FAILOVER": "true", "SUMO_S3_BUCKET_NAME": "BUCKET"}
    settings |= {"SUMO_S3_BUCKET_REGION": "eu-west-1", "SUMO_S3_BUCKET_OWNER": "123456789012"}
    asked = permissions(Subject(settings, {"FunctionName": "MY_FUNCTION"}))
    given = {statement["Action"]: statement for statement in of_function["Statement"]}
    [put] = [statement for statement in asked if statement["Action"] == "s3:PutObject"]
    put["Condition"] = json.loads(json.dumps(put["Condition"]).replace("123456789012", "ACCOUNT"))
    assert given["s3:PutObject"] == put
    assert given.keys() - {statement["Action"] for statement in asked} == {"kms:Decrypt"}
    assert all(statement["Effect"] == "Allow" for statement in of_person["Statement"])


@pytest.mark.timeout(120)  # a function is run in a model of Lambda's environment
def test_the_deployers_policy_is_what_the_commands_ask(
    fleet: Fleet, layer_zip: bytes, source: SumoSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request of theirs to AWS is an action on the page, and there are no others. Guards against a right that
    somebody finds missing half way, and against one too many.
    """
    asked: set[str] = set()
    make = BaseClient._make_api_call

    def note(client: Any, operation: str, given: Any) -> Any:
        service = client.meta.service_model.service_name
        asked.add(f"{SERVICE_OF.get(service, service)}:{ACTION_OF.get(operation, operation)}")
        return make(client, operation, given)

    fleet.function(Code={"ZipFile": zipped(FUNCTION)}, Timeout=10, MemorySize=1769, Tags={"team": "shop"})
    (tmp_path / "layer.zip").write_bytes(layer_zip)
    monkeypatch.setattr(BaseClient, "_make_api_call", note)
    fleet.done("publish", "--zip", str(tmp_path / "layer.zip"))
    fleet.done("attach", "orders", "--endpoint", source.url, "--yes")
    fleet.done("status", "orders")
    fleet.run("doctor", "orders", "--offline")
    of_all, of_check = [{*statement["Action"]} for statement in json.loads(blocks(DEPLOY, "json")[1])["Statement"]]
    assert asked == of_all
    fleet.done("check", "orders")
    assert asked == of_all | of_check
    fleet.done("attach", "orders", "--endpoint", source.url, "--set", "SUMO_CLOUDWATCH=errors", "--yes")
    assert asked == of_all | of_check

    fleet.run("doctor", "orders", "--offline")
    fleet.done("detach", "orders", "--yes")
    fleet.done("status", "*", "--tag", "team=shop", "--region", "all")
    fleet.done("publish", "--zip", str(tmp_path / "layer.zip"), "--public")
    besides = DEPLOY.partition("`--tag` needs")[2].partition("A function with variables")[0]
    assert asked - of_all - of_check == set(re.findall(r"`(\w+:\w+)`", besides))


def test_no_command_goes_unchecked() -> None:
    """Every other command is one that is run elsewhere, and there it is."""
    others = [block for block in blocks(README, "sh") if block not in RUN_HERE]
    named = [command for block in [*others, *blocks(CONTRIBUTING, "sh")] for command in commands(block)]
    assert len(others) == len(blocks(README, "sh")) - len(RUN_HERE)
    assert [command for command in named if command not in RUN_ELSEWHERE] == []
    for command in named:
        assert (ROOT / RUN_ELSEWHERE[command]).exists()
        if command.startswith("make "):
            asked = ["make", "--dry-run", *INSTALLED.split(), *command.split()[1:]]
            assert subprocess.run(asked, cwd=ROOT, capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, layer_zip: bytes) -> Path:
    """The wheel, as a release builds it (tests/test_release.py): with the layer in it."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = copy_clone(folder / "clone")
    (clone / "sumo_internal/cli/sumo-internal-extension.zip").write_bytes(layer_zip)
    pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(clone))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What installing the wheel installs, dependencies included; pure Python, for every interpreter."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", f"--target={folder}", str(wheel))
    return folder


def pip(command: str, *arguments: str) -> None:
    """Run pip."""
    quietly = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]
    subprocess.run([*quietly, *arguments], check=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("interpreter", interpreters(), ids=str)
def test_handler_example_works_from_the_wheel(interpreter: Interpreter, site: Path, tmp_path: Path) -> None:
    """The example in a script of its own: its line is at Sumo Logic when the script has ended, and nothing is said.

    Guards against a package that works from the checkout alone, and against what an interpreter that is ending does
    not allow any more: threads, from 3.12 on.
    """
    [example] = [block for block in blocks(README, "python") if "SumoHandler" in block]
    with SumoSource() as source:
        script = f"{example}\nlogging.getLogger().warning('heard')"
        ran = subprocess.run(
            [str(interpreter.executable), "-S", "-c", script],
            cwd=tmp_path,
            env={"PYTHONPATH": str(site), "SUMO_HTTP_ENDPOINT": source.url, "SUMO_SPOOL_DIR": str(tmp_path / "spool")},
            capture_output=True,
            text=True,
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        assert [record["level"] for record in source.records if "heard" in record["message"]] == ["WARNING"]


def test_what_it_says_at_a_glance() -> None:
    """The version, the Pythons and the licence are those of the package. Guards against a line that nobody renews."""
    first, last = ("{}.{}".format(*SUPPORTED_VERSIONS[place]) for place in (0, -1))
    licence = re.search(r"^license = (\S+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert licence is not None
    pythons = f"Version {__version__} · Python {first} to {last} · x86_64 and arm64 ·"
    assert README.split("\n\n")[2] == f"{pythons} zip and container image · [{licence[1]}](LICENSE)"


def test_the_first_screen_has_all_that_a_newcomer_needs() -> None:
    """What it is, why this one, two commands and a check, in this order, before all else. A screen has 40 lines."""
    first = "".join(README.splitlines(keepends=True)[:40])
    places = [first.find(text) for text in ("This Lambda layer ships", "Sumo's Go extension", INSTALL, CHECK)]
    assert -1 not in places and places == sorted(places)
    assert len(list(commands(INSTALL))) == 2 and len(list(commands(CHECK))) == 1
    assert first.count("\n## ") == 1


def test_limits_are_the_codes() -> None:
    """The page's table of limits, by the constants that set them."""
    rows = DEPLOY.partition("## Limits")[2].partition("\n## ")[0].splitlines()
    said = {cells[1].strip(): cells[2].strip() for cells in (row.split("|") for row in rows) if len(cells) == 5}
    assert said == {
        "what": "limit",
        "---": "---",
        "records that wait in /tmp": f"`SUMO_SPOOL_MAX_MB`, {read({})[0].spool_max_mb}",
        "a record": f"{RECORD_MAX_BYTES >> 10} KiB",
        "a request": f"{BATCH_MAX_BYTES // 1_000_000} MB before compression, Sumo Logic's own limit",
        "time after the response, `SUMO_FLUSH=end`": (
            f"{HOLD_MAX_S:.0f} s, and until {DEADLINE_MARGIN_S:g} s before the function's timeout"
        ),
        "SHUTDOWN": "Lambda's 2 s",
        "layers of a function, bytes of its variables": f"{LAYERS_MAX}; {VARIABLES_MAX_BYTES:,}, Lambda's limits",
    }


def test_the_layers_size_is_what_it_says(layer_zip: bytes) -> None:
    """README has it for four Pythons and six; those of this machine tell what another one adds, 3.10 a fifth less."""
    said = re.search(r"The layer is ([\d.]+) MB with the bytecode of four Pythons, ([\d.]+) MB with all six", README)
    assert said is not None
    source_mb, here_mb = len(build(())) / 1e6, len(layer_zip) / 1e6
    python_mb = (here_mb - source_mb) / len(interpreters())
    tolerance = 0.05 if len(interpreters()) >= 4 else 0.2
    for pythons, said_mb in zip((4, 6), map(float, said.groups()), strict=True):
        assert source_mb + pythons * python_mb == pytest.approx(said_mb, rel=tolerance), pythons


def test_record_is_one() -> None:
    """The example is JSON, begins with its time, and has the keys that every record has."""
    [example] = blocks(README, "json")
    record = json.loads(example)
    assert next(iter(record)) == "time"
    assert {"time", "type", "message", "requestID", "logGroup", "logStream", "IsColdStart", "id"} <= record.keys()


def test_costs_are_those_of_the_kept_benchmark() -> None:
    """Each figure stands in docs/bench.md; ``WRITE_README=1`` writes them anew. Guards against what was once true."""
    page = (ROOT / "docs/bench.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines()]
    measured = {row[0]: row[2].strip("* ").removesuffix(", missed") for row in rows if len(row) == 4}
    wanted = {what: f"| {what} | {measured[name]} |" for what, name in COSTS.items()}
    if IS_WRITING:
        text = README.replace(table(README), table(page))
        for what, row in wanted.items():
            before, _, after = text.partition(f"| {what} |")
            text = before + row + after[after.index("\n") :]
        (ROOT / "README.md").write_text(text)
    written = (ROOT / "README.md").read_text()
    assert [row for row in wanted.values() if row not in written] == []
    assert table(written) == table(page)


def table(text: str) -> str:
    """Return the tables of what a user pays, in time and in money."""
    return text[text.index(PAID) : text.index("\n\n", text.rindex(PAID))]
