"""The command as such: how it is started, what its help says, and what works where the extra is not installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from layer.build import ROOT
from layer.interpreters import SUPPORTED_VERSIONS
from sumo_internal import __version__, cli
from sumo_internal.cli import EXITS, changes, completions
from sumo_internal.cli.arguments import SHELLS, parser

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
        (["check", "orders", "--timeout-s", "soon"], "--timeout-s: 'soon' is no number above 0"),
        (["replay", ".", "--bytes-per-s", "-1"], "--bytes-per-s: '-1' is no number above 0"),
        (["replay", ".", "--requests-per-s", "nan"], "--requests-per-s: 'nan' is no number above 0"),
        (["replay", ".", "--connections", "33"], "--connections: '33' is no number between 1 and 32"),
        (["replay", ".", "--connections", "2.5"], "--connections: '2.5' is no number between 1 and 32"),
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
