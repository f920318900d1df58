"""The command as such: how it is started, what its help says, and what works where the extra is not installed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from scripted_http import ScriptedServer, answer
from sumo_source import SumoSource

from layer.build import ROOT
from layer.interpreters import SUPPORTED_VERSIONS
from sumo_internal import __version__, cli
from sumo_internal.cli import EXIT_AWS, EXITS, changes, completions, session
from sumo_internal.cli.account import RETRIES
from sumo_internal.cli.arguments import SHELLS, parser
from sumo_internal.cli.session import CONNECT_ATTEMPTS_MAX, CONNECT_TIMEOUT_S

COMMANDS = {name: command for name, _, command in completions._commands()}


@pytest.mark.parametrize(
    "command",
    [[str(Path(sys.executable).with_name("sumo-internal"))], [sys.executable, "-m", "sumo_internal"]],
    ids=str,
)
def test_it_starts_by_either_name(command: list[str]) -> None:
    """The script of the installed package, and the module where the script is not on PATH."""
    said = subprocess.run([*command, "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == f"{__version__}\n"


def run_bare(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in an interpreter that has nothing but the package's own code: no boto3, no rich."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from sumo_internal.cli import main; sys.exit(main())"
    command = [sys.executable, "-I", "-S", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=30)


def test_without_its_extra_it_says_what_to_install() -> None:
    """One line, no traceback; and no package is named that an index has under a stranger's name, or not at all."""
    ended = run_bare("status")
    assert ended.returncode == 2
    assert re.fullmatch(r"sumo-internal: \w+ is missing, .*: pip install boto3 rich\n", ended.stderr)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)], ids=str)
def test_help_needs_nothing_else(arguments: list[str]) -> None:
    """The way to learn what to install must not need it."""
    ended = run_bare(*arguments)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_offline_doctor_needs_nothing_else() -> None:
    """In a container, or a pipeline that has just built the package: the set-up is checked all the same."""
    ended = run_bare("doctor", "--offline", "-", stdin="SUMO_HTTP_ENDPOINT=https://x.org/receiver/v1/http/abc\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "endpoint-plain" in ended.stdout and "0 errors" in ended.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_examples_that_are_right_and_exit_codes(name: str) -> None:
    """An example of a command is one that it takes; every option says what it is for; a code means the same for all."""
    said = COMMANDS[name].format_help()
    examples = re.findall(rf"^  sumo-internal ({name}[^>\n<(]*)", said.partition("examples:")[2], re.MULTILINE)
    assert examples
    for example in examples:
        given = subprocess.run(["bash", "-c", f"printf '%s\\0' {example}"], capture_output=True, text=True).stdout
        assert parser().parse_args(given.split("\0")[:-1]).module
    codes = {int(code): text for code, text in re.findall(r"^  (\d+) +(.+)$", said.partition("exit codes:")[2], re.M)}
    assert codes and codes.items() <= EXITS.items()
    assert [action.option_strings for action in COMMANDS[name]._actions if not action.help] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_into_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples and exit codes, which are not folded, too. Guards against a terminal that folds them anywhere."""
    monkeypatch.setenv("COLUMNS", "80")
    said = (COMMANDS[command] if command else parser()).format_help()
    assert [line for line in said.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["check", "orders", "--timeout-s", "soon"], "--timeout-s: 'soon' is not a number above 0"),
        (["replay", ".", "--bytes-per-s", "-1"], "--bytes-per-s: '-1' is not a number above 0"),
        (["replay", ".", "--requests-per-s", "nan"], "--requests-per-s: 'nan' is not a number above 0"),
        (["replay", ".", "--connections", "33"], "--connections: '33' is not a number between 1 and 32"),
        (["replay", ".", "--connections", "2.5"], "--connections: '2.5' is not a number between 1 and 32"),
        (["replay", ".", "--since", "soon"], "'soon' is neither a time like"),
    ],
)
def test_a_number_that_is_none_is_said_in_words(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not by the name of the function that has read it."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2 and problem in capsys.readouterr().err


TABLE = (
    "from sumo_internal.cli.tables import show; show(('Region', 'Layer', ''), [('eu-west-1', {layer!r}, 'published')])"
)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("short:1", ["Region     Layer", "eu-west-1  short:1  published"]),
        ("x" * 70, ["eu-west-1", f"    Layer: {'x' * 70}", "    published"]),
    ],
    ids=["wide enough", "too narrow"],
)
def test_a_terminal_folds_no_value(layer: str, expected: list[str]) -> None:
    """On a real one of 80 columns: an ARN can be copied with a double click, whatever else is in its row."""
    master, slave = os.openpty()
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    subprocess.run([sys.executable, "-c", TABLE.format(layer=layer)], cwd=ROOT, env=environ, stdout=slave, check=True)
    os.close(slave)
    assert os.read(master, 10_000).decode().splitlines() == expected
    os.close(master)


AWS_IS_NOT_THERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "eu-west-1"}
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}

SAYING = [["--help"], ["attach", "--help"], ["completions", "bash"], ["doctor", "--offline", "-"]]
"""Commands that print something, without AWS."""


def start(
    arguments: list[str], variables: Mapping[str, str] = {}, stdout: int | IO[bytes] = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Start the command, with SIGINT as at a prompt: in the background a shell has it ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "sumo_internal", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **variables},
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", SAYING, ids=str)
def test_a_full_disk_is_one_line(arguments: list[str], unbuffered: str) -> None:
    """And an exit code; not a traceback, not success. Guards against argparse, which passes over it."""
    variables = {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full, start(arguments, variables, stdout=full) as process:
        _, said = process.communicate(b"SUMO_FLUSH=end")
    assert (process.returncode, said) == (1, b"sumo-internal: stdout: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", SAYING, ids=str)
def test_a_reader_that_has_gone_is_no_traceback(arguments: list[str], unbuffered: str) -> None:
    """``sumo-internal --help | head -1``: the reader has what it wants."""
    reading, writing = os.pipe()
    os.close(reading)
    variables = {"PYTHONUNBUFFERED": unbuffered}
    with open(writing, "wb") as pipe, start(arguments, variables, stdout=pipe) as process:
        _, said = process.communicate(b"SUMO_FLUSH=end")
    assert (process.returncode, said) == (1, b"")


@pytest.mark.parametrize(
    ("closed", "code", "complaint"), [(0, 0, ""), (1, 2, "sumo-internal: stdout is closed"), (2, 0, "")]
)
def test_a_closed_stream_is_no_traceback(closed: int, code: int, complaint: str) -> None:
    """``sumo-internal completions fish >&-``, as a service manager may start it."""
    shell = f'exec "{sys.executable}" -m sumo_internal completions fish {closed}>&-'
    ended = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == code and ended.stderr.startswith(complaint) and ended.stderr.count("\n") == bool(code)


@pytest.mark.parametrize("arguments", [["replay", "--help"], ["doctor", "--offline", "-"]], ids=str)
def test_a_locale_without_our_characters_is_no_traceback(arguments: list[str]) -> None:
    """An ellipsis in a help, a letter in a variable's name: what cannot be shown is shown as an escape."""
    only_ascii = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    with start(arguments, only_ascii) as process:
        said, complaint = process.communicate("SUMO_HTTP_ENDPOINT=https://x.org/\nSUMO_SOURCE_NAMÉ=…\n".encode())
    assert complaint == b"" and said.isascii() and (rb"\u2026" in said or rb"SUMO_SOURCE_NAM\xc9" in said)


def test_ctrl_c_ends_it_at_once() -> None:
    """Also where AWS does not respond: threads that wait for it are not waited for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        asked = {**KEYS, "AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-west-1"}
        with start(["status"], asked) as process:
            connection, _ = server.accept()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)  # boto3 would wait for a minute, and once more
            connection.close()
    assert (process.returncode, said.count(b"\n")) == (130, 1) and said.startswith(b"sumo-internal: interrupted")


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["status"], KEYS, ["no region is set", "--region", "AWS_REGION"]),
        (["status"], {"AWS_REGION": "eu-west-1"}, ["no AWS credentials", "AWS_ACCESS_KEY_ID", "--profile"]),
        (["status", "--profile", "prod"], KEYS | AWS_IS_NOT_THERE, ["there is no profile prod", "(there: none)"]),
        (["status"], KEYS | AWS_IS_NOT_THERE, ["127.0.0.1 cannot be reached", "HTTPS_PROXY"]),
        (["doctor", "orders"], KEYS | AWS_IS_NOT_THERE, ["127.0.0.1 cannot be reached"]),
        (
            ["status"],
            KEYS | {"AWS_REGION": "eu-west-1", "HTTPS_PROXY": "http://me:secret@127.0.0.1:1"},
            ["the proxy 127.0.0.1 cannot be reached", "HTTPS_PROXY"],
        ),
    ],
    ids=["no region", "no credentials", "no profile", "no network", "no network, one function", "no proxy"],
)
def test_what_is_missing_to_ask_aws_is_named(arguments: list[str], variables: dict[str, str], words: list[str]) -> None:
    """With what to set; boto3's own sentences name neither a variable nor an option."""
    with start(arguments, variables) as process:
        _, said = process.communicate(timeout=30)
    [line] = said.decode().splitlines()
    assert process.returncode == 6 and [word for word in words if word not in line] == [] and "secret" not in line


def test_an_authority_that_is_not_known_is_one_line() -> None:
    """As where a company's proxy ends TLS; the variable that names its authorities is told, and how long it takes is
    not minutes.
    """
    with SumoSource(tls=True) as source:
        url = f"https://{urlsplit(source.url).netloc}"
        with start(["status"], {**KEYS, **AWS_IS_NOT_THERE, "AWS_ENDPOINT_URL": url}) as process:
            _, said = process.communicate(timeout=30)
    [line] = said.decode().splitlines()
    assert process.returncode == 6 and "CERTIFICATE_VERIFY_FAILED" in line and "(AWS_CA_BUNDLE names" in line


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("lambda.eu-wset-1.amazonaws.com", "Or is eu-west-1 meant, in place of eu-wset-1?"),
        ("lambda.cn-nrth-1.amazonaws.com.cn", "Or is cn-north-1 meant, in place of cn-nrth-1?"),
        ("lambda.eu-west-1.amazonaws.com", ""),
        ("proxy.example.com", ""),
    ],
)
def test_a_misspelt_region_is_told(host: str, hint: str) -> None:
    """A region that AWS does not have is a host that cannot be reached, and nothing else; a new one is none of that."""
    said = session.explained(EndpointConnectionError(endpoint_url=f"https://{host}/2015-03-31/functions"))
    assert said.startswith(f"{host} cannot be reached") and said.endswith(hint or "(HTTPS_PROXY)?")


def test_a_host_that_cannot_be_reached_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each for a few seconds at most, whatever a client's settings say: boto3's ten minutes would be silence."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for name, value in {**KEYS, **AWS_IS_NOT_THERE}.items():
        monkeypatch.setenv(name, value)
    tried = []
    session.session().events.register("before-send.lambda", lambda request, **_: tried.append(request.url))
    assert cli.main(["status"]) == EXIT_AWS
    assert len(tried) == CONNECT_ATTEMPTS_MAX == 3
    client = session.session().client("lambda", config=RETRIES)
    assert client.meta.config.connect_timeout == CONNECT_TIMEOUT_S <= 10
    assert client.meta.config.retries["total_max_attempts"] > 5, "what AWS throttles is tried for longer"


def test_that_aws_throttles_is_said_once() -> None:
    """With the third answer of that kind: for up to a minute nothing else would be said, and then it goes on."""
    throttled = answer(429, {"message": "Rate exceeded"}, x_amzn_ErrorType="TooManyRequestsException")
    with ScriptedServer(answer(200, {"Functions": []})) as server:
        server.script(*[throttled] * 4)
        with start(["status"], {**KEYS, "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": server.url}) as process:
            said, complaint = process.communicate(timeout=50)
    assert (process.returncode, len(server.requests)) == (0, 5), said + complaint
    assert complaint == b"sumo-internal: AWS throttles this account's requests (HTTP 429); trying again\n"


def test_every_exit_code_is_one_of_the_table() -> None:
    """What the code names is what --help lists."""
    names = {value for name, value in vars(cli).items() if name.startswith("EXIT_")}
    assert names == EXITS.keys()


def test_runtimes_are_those_of_the_layer() -> None:
    """A Python that the layer is built for is one that attach knows."""
    assert changes.RUNTIMES == tuple(f"python{major}.{minor}" for major, minor in SUPPORTED_VERSIONS)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sumo-internal", "at"], {"attach"}),
        (["sumo-internal", "attach", "--dry"], {"--dry-run"}),
        (["sumo-internal", "check", "--ev"], {"--event"}),
        (["sumo-internal", "completions", ""], set(SHELLS)),
        (["sumo-internal", "doctor", "fi"], {"file.env"}),
    ],
    ids=lambda value: " ".join(sorted(value)) if value else "",
)
def test_bash_completes(words: list[str], offered: set[str], tmp_path: Path) -> None:
    """In a real bash, with the script as it is printed: commands, options, choices and files."""
    (tmp_path / "file.env").touch()
    script = subprocess.run(
        [sys.executable, "-m", "sumo_internal", "completions", "bash"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    asked = f'{script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sumo_internal; printf "%s\\n" "${{COMPREPLY[@]}}"'
    ended = subprocess.run(
        ["bash", "--norc", "-eu", "-c", asked, "bash", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.stderr == ""
    assert offered <= set(ended.stdout.split()) and (len(offered) > 1 or set(ended.stdout.split()) == offered)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_can_read_its_script(shell: str) -> None:
    """Quoting is a shell's own: an apostrophe in an option's help must not end the script. Every option is in it."""
    script = subprocess.run(
        [sys.executable, "-m", "sumo_internal", "completions", shell], cwd=ROOT, capture_output=True, text=True
    ).stdout
    for name, command in COMMANDS.items():
        assert name in script
        for option in completions._options(command):
            assert all(
                each.removeprefix("--" if shell == "fish" else "") in script for each in option.option_strings[1:]
            )
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, capture_output=True)
