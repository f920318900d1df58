"""The wrapper and what it starts: any interpreter arguments, and a program that cannot tell that it is not alone."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spool_functions import taken

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal.spool.reader import SpoolReader

SHELLS = {
    " ".join(command): command for command in (["dash"], ["bash"], ["bash", "--posix"]) if shutil.which(command[0])
}
"""/bin/sh is bash, made to follow POSIX, on Lambda's own images and dash on Debian's."""
OURS = "sumo-internal-extension: "
"""How each line begins that we say ourselves."""


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer as it lies under /opt, from the checkout."""
    opt = tmp_path_factory.mktemp("launch") / "opt"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sumo_internal", opt / "python/sumo_internal", ignore=ignored)
    shutil.copy(ROOT / "wrapper/sumo_wrapper", opt / "sumo_wrapper")
    return opt


class Stand:
    """A stand-in for the interpreter: it tells what it was called with."""

    def __init__(self, opt: Path) -> None:
        self.wrapper = str(opt / "sumo_wrapper")
        self.start = str(opt / "python/sumo_internal/start.py")
        self.door = str(opt / "python/sumo_internal/door")
        self.interpreter = str(opt.parent / "python3.12")
        script = (
            '#!/bin/sh\necho $$\nprintf "%s\\0" "${PYTHONPATH-unset}"\n'
            'for argument in "$@"; do printf "%s\\0" "$argument"; done\n'
        )
        Path(self.interpreter).write_text(script)
        os.chmod(self.interpreter, 0o755)

    def call(self, shell: Sequence[str], *command: str, **environ: str) -> tuple[list[str], str]:
        """Call the wrapper; return the arguments that arrived, and what was said on stderr."""
        got, said, is_same_process, _ = self.call_loosely(shell, *command, **environ)
        assert is_same_process, "exec keeps the process: Lambda signals and waits for this one"
        return got, said

    def pythonpath(self, shell: Sequence[str], *command: str, **environ: str) -> str:
        """Call the wrapper; return what arrived as PYTHONPATH."""
        return self.call_loosely(shell, *command, **environ)[3]

    def call_loosely(self, shell: Sequence[str], *command: str, **environ: str) -> tuple[list[str], str, bool, str]:
        """The same, where another wrapper may do without exec; return also whether all used it, and PYTHONPATH."""
        with subprocess.Popen(
            [*shell, self.wrapper, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]} | environ,
        ) as process:
            got, said = (stream.decode() for stream in process.communicate())
        assert process.returncode == 0, said
        pid, _, arguments = got.partition("\n")
        pythonpath, *rest = arguments.split("\0")[:-1]
        return rest, said, int(pid) == process.pid, pythonpath


@pytest.fixture(scope="module")
def stand(opt: Path) -> Stand:
    return Stand(opt)


START = "<start>"
"""Stands for the path of start.py in the table: where it is put if the door is closed."""

CLOSING = "EIS"
"""The options with which an interpreter does not look for our sitecustomize."""

ODD = ["a b", "", "*", "$HOME", "`x`", "'", '"', "\\", "a\nb", "-x", "--", "é"]
"""Arguments that a careless script changes."""

UNDERSTOOD = [
    (["app.py"], [START, "app.py"]),
    (["/var/runtime/bootstrap.py"], [START, "/var/runtime/bootstrap.py"]),
    (["app.py", "-m", "x", "-c", "y"], [START, "app.py", "-m", "x", "-c", "y"]),
    (["app.py", *ODD], [START, "app.py", *ODD]),
    (["a b.py"], [START, "a b.py"]),
    ([""], [START, ""]),
    (["-m", "awslambdaric", "app.handler"], [START, "-m", "awslambdaric", "app.handler"]),
    (["-m", "awslambdaric", *ODD], [START, "-m", "awslambdaric", *ODD]),
    (["-mawslambdaric", "app.handler"], [START, "-m", "awslambdaric", "app.handler"]),
    (["-m", "-m"], [START, "-m", "-m"]),
    (["-c", "print('a  b')\n", "-c"], [START, "-c", "print('a  b')\n", "-c"]),
    (["-c", ""], [START, "-c", ""]),
    (["-cprint(1)", "x"], [START, "-c", "print(1)", "x"]),
    (["-c-1", "x"], [START, "-c", "-1", "x"]),
    (["-u", "app.py"], ["-u", START, "app.py"]),
    (["-bb", "-OO", "-I", "app.py"], ["-bb", "-OO", "-I", START, "app.py"]),
    (["-V", "app.py"], ["-V", START, "app.py"]),
    (["-uI", "-m", "awslambdaric"], ["-uI", START, "-m", "awslambdaric"]),
    (["-uIm", "awslambdaric", "x"], ["-uI", START, "-m", "awslambdaric", "x"]),
    (["-uImawslambdaric", "x"], ["-uI", START, "-m", "awslambdaric", "x"]),
    (["-Bc", "pass", "x"], ["-B", START, "-c", "pass", "x"]),
    (["-Bcpass", "x"], ["-B", START, "-c", "pass", "x"]),
    (["-X", "dev", "app.py"], ["-X", "dev", START, "app.py"]),
    (["-Xdev", "app.py"], ["-Xdev", START, "app.py"]),
    (["-Ximporttime", "-m", "app"], ["-Ximporttime", START, "-m", "app"]),
    (["-W", "error", "app.py"], ["-W", "error", START, "app.py"]),
    (["-W", "-m", "app.py"], ["-W", "-m", START, "app.py"]),
    (["-Wignore::UserWarning:app", "app.py"], ["-Wignore::UserWarning:app", START, "app.py"]),
    (["-bW", "a b", "app.py"], ["-bW", "a b", START, "app.py"]),
    (["-bWerror", "app.py"], ["-bWerror", START, "app.py"]),
    (["-bX", "dev", "-m", "app"], ["-bX", "dev", START, "-m", "app"]),
    (["-Wm", "app.py"], ["-Wm", START, "app.py"]),
    (["-Xc", "app.py"], ["-Xc", START, "app.py"]),
    (
        ["--check-hash-based-pycs", "never", "-u", "app.py", "x"],
        ["--check-hash-based-pycs", "never", "-u", START, "app.py", "x"],
    ),
]

NOT_UNDERSTOOD = [
    [],
    ["-"],
    ["-", "x"],
    ["-u", "-", "x"],
    ["-V"],
    ["--version"],
    ["--help"],
    ["-u"],
    ["-c"],
    ["-m"],
    ["-X"],
    ["-W"],
    ["--", "app.py"],
    ["-I", "--help-env", "app.py"],
]
"""The interpreter alone, its help, or a program on its standard input: nothing that we could start."""


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize(("arguments", "expected"), UNDERSTOOD, ids=lambda value: " ".join(value)[:30])
def test_arguments(stand: Stand, shell: list[str], arguments: list[str], expected: list[str]) -> None:
    """Options stay in front, as the interpreter counts them; then what was to be run, untouched.

    Either the door is on PYTHONPATH, or start.py stands between the two.
    """
    options = expected[: expected.index(START)]
    is_closed = any(set(option[1:]) & set(CLOSING) for option in options if option[:1] == "-" and option[1] not in "WX")
    got, said, _, pythonpath = stand.call_loosely(shell, stand.interpreter, *arguments)
    assert pythonpath == ("unset" if is_closed else stand.door)
    whole = [stand.start if argument == START else argument for argument in expected if is_closed or argument != START]
    assert (got, said) == (whole, "")


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("arguments", NOT_UNDERSTOOD, ids=" ".join)
def test_arguments_without_a_program(stand: Stand, shell: list[str], arguments: list[str]) -> None:
    """Executed as they are, and said: whoever passes them gets what the interpreter does."""
    got, said = stand.call(shell, stand.interpreter, *arguments)
    assert got == arguments
    assert said.startswith(OURS) and said.count("\n") == 1


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
FLAGS = st.text("bBdEhiIOPqRsSuvx", min_size=1, max_size=3).map(lambda flags: [f"-{flags}"])
VALUES = TEXTS.map(lambda text: text or "dev")
OPTIONS = st.one_of(
    FLAGS,
    st.tuples(st.sampled_from(["-W", "-X", "-bW", "--check-hash-based-pycs"]), TEXTS).map(list),
    st.tuples(st.sampled_from(["-W", "-X", "-uX"]), VALUES).map(lambda pair: ["".join(pair)]),
)
PROGRAMS = st.one_of(
    TEXTS.filter(lambda text: not text.startswith("-")).map(lambda text: ([text], [text])),
    st.tuples(st.sampled_from(["-m", "-c"]), TEXTS).map(lambda pair: (list(pair), list(pair))),
    st.tuples(st.sampled_from(["-m", "-c"]), VALUES).map(lambda pair: (["".join(pair)], list(pair))),
)


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@given(st.lists(OPTIONS, max_size=4), PROGRAMS, st.lists(TEXTS, max_size=4))
@example([], (["-m:0"], ["-m", ":0"]), [])
@example([["-Xa:b"], ["-I"]], (["x"], ["x"]), [])
@settings(max_examples=40)
def test_any_arguments(
    stand: Stand, shell: list[str], options: list[list[str]], program: tuple[list[str], list[str]], rest: list[str]
) -> None:
    """Whatever stands in an option's value or behind the program: nothing is taken for something else, nothing lost."""
    given_options = [argument for option in options for argument in option]
    flags = [option[0][1:] for option in options if len(option) == 1 and option[0][1] not in "WX"]
    is_closed = any(set(each.partition("X")[0]) & set(CLOSING) for each in flags)
    got, said = stand.call(shell, stand.interpreter, *given_options, *program[0], *rest)
    assert (got, said) == ([*given_options, *[stand.start] * is_closed, *program[1], *rest], "")


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("before", ["", "/a", "/a b:/c", ":/a", "/a:", ":"])
def test_the_door_goes_in_front(stand: Stand, shell: list[str], before: str) -> None:
    """Of what is on PYTHONPATH, which stays as it is behind it; one that is empty is told from one that is not set."""
    expected = f"{stand.door}:{before or stand.door}"
    assert stand.pythonpath(shell, stand.interpreter, "app.py", PYTHONPATH=before) == expected
    assert stand.pythonpath(shell, stand.interpreter, "-I", "app.py", PYTHONPATH=before) == before


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize(
    "environ",
    [{"SUMO_DISABLED": text} for text in ("1", "t", "T", "true", "TRUE", "True")],
    ids=str,
)
def test_where_we_stay_out(stand: Stand, shell: list[str], environ: dict[str, str]) -> None:
    """Switched off: a plain exec, and nothing is said."""
    assert stand.call(shell, stand.interpreter, "-u", "app.py", *ODD, **environ) == (["-u", "app.py", *ODD], "")


@pytest.mark.parametrize(
    "environ",
    [{"SUMO_DISABLED": text} for text in ("", "0", "false", "yes")]
    + [
        {"AWS_LAMBDA_INITIALIZATION_TYPE": kind, "AWS_LAMBDA_MAX_CONCURRENCY": workers}
        for kind, workers in (("on-demand", ""), ("snap-start", ""), ("lambda-managed-instances", "16"))
    ],
    ids=str,
)
def test_where_we_do_not_stay_out(stand: Stand, environ: dict[str, str]) -> None:
    """What says no, or nothing, does not switch us off."""
    assert stand.call(["sh"], stand.interpreter, "app.py", **environ) == (["app.py"], "")
    assert stand.pythonpath(["sh"], stand.interpreter, "app.py", **environ) == stand.door


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_a_damaged_layer_is_left_out(opt: Path, tmp_path: Path, shell: list[str]) -> None:
    """Without start.py the function runs as it does without us, and one line says so."""
    alone = tmp_path / "opt"
    alone.mkdir()
    shutil.copy(opt / "sumo_wrapper", alone)
    got, said = Stand(alone).call(shell, Stand(alone).interpreter, "app.py", *ODD)
    assert got == ["app.py", *ODD]
    assert (
        said == f"{OURS}warn: {alone}/python/sumo_internal/start.py is missing; the function runs without the layer\n"
    )


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_another_program_is_left_alone(stand: Stand, shell: list[str]) -> None:
    """An image's entry point may be anything: it is executed as it is."""
    other = f"{os.path.dirname(stand.interpreter)}/entry point"
    shutil.copy(stand.interpreter, other)
    got, said = stand.call(shell, other, "-m", *ODD)
    assert got == ["-m", *ODD]
    assert said.startswith(f"{OURS}warn: {other} is not a Python interpreter;")


# Another vendor's wrapper, behind ours.

NEXT_WRAPPERS = {
    "passes all on": 'exec "$@"',
    "puts an option in front": 'exec "$1" -X importtime "${@:2}"',
    "puts an option before the last argument": 'exec "${@:1:$#-1}" -X importtime "${@: -1}"',
    "takes an interpreter of its own": 'exec "$PYTHON" -X importtime "${@:2}"',
    "gives everything to a launcher": 'exec "$LAUNCHER" "$@"',
    "does not give itself up": '"$@"; exit',
}
"""What wrappers do with their arguments. The third is the example of AWS's documentation."""


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("body", NEXT_WRAPPERS.values(), ids=NEXT_WRAPPERS)
@pytest.mark.parametrize("arguments", [["/var/runtime/bootstrap.py"], ["-u", "app.py"], ["a b.py"]], ids=" ".join)
def test_another_wrapper_and_ours(
    stand: Stand, tmp_path: Path, shell: list[str], body: str, arguments: list[str]
) -> None:
    """Both take effect: its variables and options arrive, our door is in front of its own, and nothing is twice.

    Where it has not called us start.py stands before the script.
    """
    launcher = script(tmp_path / "launcher", 'exec "$@"')
    other = script(tmp_path / "other wrapper", f"export OTHER=here PYTHONPATH=/others\n{body}")
    stand_in = script(tmp_path / "python3", f'[ "$OTHER" = here ] || exit 9\nexec {stand.interpreter} "$@"')
    environ = {"SUMO_NEXT_WRAPPER": str(other), "LAUNCHER": str(launcher), "PYTHON": str(stand_in)}
    got, said, is_same_process, pythonpath = stand.call_loosely(shell, str(stand_in), *arguments, **environ)
    *options, program = arguments
    inserted = ["-X", "importtime"] if "importtime" in body else []
    has_start, is_called = "$PYTHON" in body, "$PYTHON" not in body
    assert sorted(got[: -1 - has_start]) == sorted([*options, *inserted])
    assert (got[-1 - has_start :], said) == ([*[stand.start] * has_start, program], "")
    assert pythonpath == (f"{stand.door}:/others" if is_called else "/others")
    assert is_same_process is body.startswith("exec")


def script(file: Path, body: str) -> Path:
    file.write_text(f"#!/bin/bash\n{body}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize(
    "environ",
    [{"SUMO_DISABLED": "true"}, {"AWS_LAMBDA_MAX_CONCURRENCY": "16"}],
    ids=str,
)
def test_the_other_wrapper_runs_where_we_stay_out(
    stand: Stand, tmp_path: Path, shell: list[str], environ: dict[str, str]
) -> None:
    """Switching us off does not switch off the tracing of somebody else, whose slot we have taken."""
    other = script(tmp_path / "other", 'exec "$@" from-other')
    got, said = stand.call(shell, stand.interpreter, "app.py", *ODD, SUMO_NEXT_WRAPPER=str(other), **environ)
    assert (got, said) == (["app.py", *ODD, "from-other"], "")


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("arguments", [["app.py"], ["-u", "-m", "app"], []], ids=" ".join)
def test_a_program_that_the_other_wrapper_starts_may_call_us(
    stand: Stand, tmp_path: Path, shell: list[str], arguments: list[str]
) -> None:
    """As a run.sh does behind the AWS Lambda Web Adapter's wrapper, where that stands in the place of others' wrappers
    (SUMO_NEXT_WRAPPER): its own arguments are executed, and not behind the runtime's interpreter, and no loop begins.
    """
    program = script(tmp_path / "run.sh", f"exec {shlex.join([*shell, stand.wrapper, stand.interpreter, *arguments])}")
    other = script(tmp_path / "bootstrap", f"exec {shlex.quote(str(program))}")
    got, _, is_same_process, path = stand.call_loosely(
        shell, stand.interpreter, "bootstrap.py", SUMO_NEXT_WRAPPER=str(other)
    )
    assert (got, is_same_process) == (arguments, True)
    assert (path == stand.door) is bool(arguments)


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
@pytest.mark.parametrize("kind", ["missing", "not executable", "a folder", "ourselves"])
def test_another_wrapper_that_cannot_run_is_left_out(stand: Stand, tmp_path: Path, shell: list[str], kind: str) -> None:
    """A layer that was taken off again, or our own path once more: one line, no endless loop, the function runs."""
    (tmp_path / "not executable").write_text("#!/bin/sh\n")
    (tmp_path / "a folder").mkdir()
    other = stand.wrapper if kind == "ourselves" else str(tmp_path / kind)
    got, said = stand.call(shell, stand.interpreter, "app.py", SUMO_NEXT_WRAPPER=other)
    assert got == ["app.py"]
    assert (
        said == f"{OURS}warn: SUMO_NEXT_WRAPPER={other} is not another program that can be executed; it is left out\n"
    )


# What runs, compared with the plain interpreter.

PROBE = """
import json, os, re, sys, threading, traceback
def shown(value):
    details = vars(value) if type(value).__name__ in ("SourceFileLoader", "ModuleSpec", "zipimporter") else ""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value) + repr(details))
def is_found(name):
    try:
        return __import__(name).__file__
    except ImportError as error:
        return str(error)
names = {name: shown(value) for name, value in list(globals().items())}
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "orig_argv": sys.orig_argv, "names": names,
    "is_main": vars(sys.modules["__main__"]) is globals(), "flags": repr(sys.flags),
    "warnoptions": sys.warnoptions, "xoptions": sys._xoptions, "cwd": os.getcwd(),
    "environ": {name: value for name, value in os.environ.items() if name not in ("_", "PWD", "OLDPWD", "SHLVL")},
    "threads": [thread.name for thread in threading.enumerate()],
    "imports": {name: is_found(name) for name in ("helper", "config", "spool", "no_such_module")},
    "stack": [frame.name for frame in traceback.extract_stack()],
    "sitecustomize": shown(sys.modules.get("sitecustomize")),
    "streams": [stream.encoding + stream.errors + str(stream.line_buffering) for stream in (sys.stdout, sys.stderr)],
}))
"""

CODES = {
    "ends": "print('done')",
    "exits": "import sys; sys.exit(3)",
    "exits with none": "import sys; sys.exit()",
    "exits with text": "import sys; sys.exit('no \\u20ac')",
    "exits hard": "import os; os._exit(7)",
    "raises": "raise KeyError('x')",
    "raises in a thread": "import threading; threading.Thread(target=lambda: 1 / 0).start()",
    "is interrupted": "raise KeyboardInterrupt",
    "is killed": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "recurses": "def f(): f()\nf()",
    "is no Python": "def",
    "misses a module": "import no_such_module",
    "misses a name": "from json import no_such_name",
    "says goodbye": "import atexit\nname = 'bye'\natexit.register(lambda: print(name))",
    "has a late thread": (
        "import threading\nname = 'late'\ngo = threading.Event()\n"
        "threading.Thread(target=lambda: (threading.main_thread().join(), print(name))).start()"
    ),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the probe in every form in which an interpreter starts a program."""
    folder = tmp_path_factory.mktemp("programs")
    packages = ("package", "package/inner", "folder", "elsewhere", "empty", "broken", "failing", "codes")
    for name in packages:
        (folder / name).mkdir()
    for name in ("probe.py", "probe", "module.py", "package/__main__.py", "package/inner/__main__.py"):
        (folder / name).write_text(PROBE)
    for name in ("package/module.py", "folder/__main__.py", "elsewhere/probe.py"):
        (folder / name).write_text(PROBE)
    for name in ("helper.py", "elsewhere/helper.py", "folder/helper.py", "package/__init__.py"):
        (folder / name).write_text("")
    (folder / "empty/__init__.py").write_text("")
    (folder / "broken/__init__.py").write_text("import no_such_module")
    (folder / "failing/__init__.py").write_text("1 / 0")
    (folder / "link.py").symlink_to("elsewhere/probe.py")
    (folder / "package link").symlink_to("package")
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.writestr("__main__.py", PROBE)
        archive.writestr("zipped.py", PROBE)
        archive.writestr("helper.py", "")
    for number, code in enumerate(CODES.values()):
        (folder / f"codes/code{number}.py").write_text(code)
    return folder


class Outcome(NamedTuple):
    """What somebody outside sees of a run."""

    returncode: int
    stdout: str
    stderr: str


class Comparison(NamedTuple):
    """The same program, without us and with us."""

    plain: Outcome
    wrapped: Outcome


class Comparer:
    """Runs a program with and without the wrapper."""

    def __init__(self, opt: Path, programs: Path, interpreter: Interpreter) -> None:
        self._opt = opt
        self._programs = programs
        self._python = str(interpreter.executable)
        self.version = interpreter.version
        subprocess.run([self._python, "-I", "-m", "compileall", "-q", opt / "python"], check=True)

    def run(self, *arguments: str, **environ: str) -> Comparison:
        command = [self._python, *(argument.replace("{programs}", str(self._programs)) for argument in arguments)]
        return Comparison(self._run(command, environ), self._run([str(self._opt / "sumo_wrapper"), *command], environ))

    def _run(self, command: list[str], environ: dict[str, str]) -> Outcome:
        base = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SUMO_HTTP_ENDPOINT": "http://127.0.0.1:9/receiver/v1/http/secret",
            "SUMO_SPOOL_DIR": str(self._opt.parent / "spool"),
        }
        ended = subprocess.run(
            command, cwd=self._programs, env=base | environ, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        said = [line for line in ended.stderr.splitlines() if not line.startswith(OURS)]
        return Outcome(ended.returncode, ended.stdout, "\n".join(said))


@pytest.fixture(scope="module", params=find(), ids=str)
def comparer(request: pytest.FixtureRequest, opt: Path, programs: Path) -> Comparer:
    return Comparer(opt, programs, request.param)


def probed(outcome: Outcome) -> dict[str, Any]:
    assert outcome.returncode == 0, outcome.stderr
    report: dict[str, Any] = json.loads(outcome.stdout)
    return report | {"stderr": outcome.stderr}


FORMS = {
    "script": ["probe.py", "a b", "-x"],
    "absolute script": ["{programs}/probe.py"],
    "script elsewhere": ["elsewhere/probe.py"],
    "script behind a link": ["link.py"],
    "script by another name": ["probe", "x"],
    "absolute script by another name": ["{programs}/probe"],
    "folder": ["folder", "x"],
    "zip": ["app.zip", "x"],
    "module": ["-m", "module", "a b", "-x"],
    "package": ["-m", "package", "x"],
    "module in a package": ["-m", "package.module", "x"],
    "package in a package": ["-m", "package.inner"],
    "module in a zip": ["-m", "zipped"],
    "code": ["-c", PROBE, "a b", "-x"],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_program_cannot_tell(comparer: Comparer, form: str) -> None:
    """sys.argv, sys.path, orig_argv, ``__main__``'s names and what they are, flags, environment, streams, imports."""
    environ = {"PYTHONPATH": "app.zip"} if form == "module in a zip" else {}
    plain, wrapped = comparer.run(*FORMS[form], **environ)
    assert probed(wrapped) == probed(plain)


OPTION_SETS = {
    "isolated": ["-I"],
    "safe path": ["-P"],
    "no environment": ["-E", "-s"],
    "no site": ["-S"],
    "optimised": ["-OO"],
    "unbuffered": ["-u"],
    "warnings are errors": ["-W", "error"],
    "development mode": ["-X", "dev", "-Xutf8=1"],
}


@pytest.mark.parametrize(
    ("options", "form"),
    [
        *[(options, "absolute script") for options in OPTION_SETS],
        *[("isolated", "code"), ("safe path", "code"), ("development mode", "code"), ("development mode", "module")],
    ],
)
def test_options_have_their_effect(comparer: Comparer, options: str, form: str) -> None:
    """On the program as on us: nothing of ours warns in development mode or fails where warnings are errors."""
    if options == "safe path" and comparer.version < (3, 11):
        pytest.skip("-P is new in 3.11")
    plain, wrapped = comparer.run(*OPTION_SETS[options], *FORMS[form])
    seen = probed(wrapped)
    if options in ("isolated", "no environment", "no site"):
        assert seen.pop("stack")[-1:] == probed(plain)["stack"], "our frames are below, where the door is closed"
        seen["stack"] = probed(plain)["stack"]
    assert seen == probed(plain)


@pytest.mark.parametrize("option", ["-I", "-P"])
def test_a_module_that_the_options_hide_is_not_found(comparer: Comparer, option: str) -> None:
    """Without the current folder on sys.path there is no such module, with us neither."""
    plain, wrapped = comparer.run(option, *FORMS["module"])
    assert plain.returncode != 0
    assert ended(wrapped) == ended(plain)


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONPATH": "elsewhere:"},
        {"PYTHONPATH": ""},
        {"PYTHONPATH": ":elsewhere"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONIOENCODING": "latin-1:replace"},
    ],
    ids=str,
)
def test_the_interpreters_variables_have_their_effect(comparer: Comparer, environ: dict[str, str]) -> None:
    """The managed runtime goes by PYTHONPATH: neither it nor what it does is touched."""
    plain, wrapped = comparer.run(*FORMS["absolute script"], **environ)
    assert probed(wrapped) == probed(plain)


INSIDE = """
import sys
sys.path.append("changed")
try:
    import _interpreters
    _interpreters.exec(_interpreters.create("legacy"), sys.argv[1])
except ImportError:
    import _xxsubinterpreters
    _xxsubinterpreters.run_string(_xxsubinterpreters.create(), sys.argv[1])
"""
SEEN_INSIDE = """
import os, sys
print(sys.path, os.environ.get("PYTHONPATH"), flush=True)
print("sitecustomize" in sys.modules, "sumo_internal" in sys.modules, flush=True)
"""


@pytest.mark.parametrize("path", [None, "elsewhere"])
def test_an_interpreter_inside_the_process_cannot_tell(comparer: Comparer, path: str | None) -> None:
    """Its sys.path is made as that of the process was, with our door in it: that led to itself for ever, with an error
    on stderr each time."""
    environ = {} if path is None else {"PYTHONPATH": path}
    plain, wrapped = comparer.run("-c", INSIDE, SEEN_INSIDE, **environ)
    assert ended(wrapped) == ended(plain)
    assert plain.stdout.endswith(" False\n"), "it has run"  # a Debian has a sitecustomize of its own


def test_an_interpreter_inside_the_process_is_heard_where_programs_are(comparer: Comparer, tmp_path: Path) -> None:
    """As a writer of its own, whose lines are in the spool when it is gone."""
    code = "print('inside')\nprint('begun', end='', flush=True)"
    spool = tmp_path / "spool"
    _, wrapped = comparer.run("-c", INSIDE, code, SUMO_CHILDREN="true", SUMO_SPOOL_DIR=str(spool))
    assert wrapped.returncode == 0, wrapped.stderr
    reader = SpoolReader(str(spool))
    reader.complete = lambda partial: f'{{"message":"{partial.text}"'
    assert [json.loads(line)["message"] for line in taken(reader)] == ["inside", "begun"]


OTHERS = {
    "is there": "import sys; print(sys.argv, file=sys.stderr)",
    "takes the streams": """
import sys
class Taken:
    def __init__(self, stream): self.stream = stream
    def __getattr__(self, name): return getattr(self.stream, name)
sys.stdout = Taken(sys.stdout)
""",
    "raises": "raise KeyError('x')",
    "misses a module": "import no_such_module",
    "changes the path": "import sys; sys.path.insert(0, 'elsewhere')",
    "ends": "import sys; sys.exit(3)",
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_sitecustomize_is_imported_as_without_us(comparer: Comparer, tmp_path: Path, other: str) -> None:
    """It comes behind ours and is the one that there is; what it raises is reported by the interpreter as ever."""
    (tmp_path / "sitecustomize.py").write_text(OTHERS[other])
    plain, wrapped = comparer.run(*FORMS["absolute script"], PYTHONPATH=str(tmp_path))
    if other == "ends":
        assert ended(wrapped) == ended(plain)
    else:
        assert probed(wrapped) == probed(plain)


@pytest.mark.parametrize("code", CODES)
def test_programs_end_as_without_us(comparer: Comparer, code: str) -> None:
    """Exit code or signal, what is printed, and the last words: types and texts of errors."""
    plain, wrapped = comparer.run(f"codes/code{list(CODES).index(code)}.py")
    assert ended(wrapped) == ended(plain)


@pytest.mark.parametrize("code", ["exits with text", "is interrupted", "says goodbye"])
@pytest.mark.parametrize("form", ["code", "module", "script by another name"])
def test_other_programs_end_as_without_us(comparer: Comparer, tmp_path: Path, code: str, form: str) -> None:
    """The same for ``-c``, ``-m``, and a script without a suffix."""
    if form == "code":
        arguments = ["-c", CODES[code]]
    elif form == "module":
        arguments = ["-m", f"codes.code{list(CODES).index(code)}"]
    else:
        arguments = [str(tmp_path / "script")]
        (tmp_path / "script").write_text(CODES[code])
    plain, wrapped = comparer.run(*arguments)
    assert ended(wrapped) == ended(plain)


def ended(outcome: Outcome) -> tuple[int, str, str]:
    return outcome.returncode, outcome.stdout, outcome.stderr.rpartition("\n")[2]


def test_a_program_that_ends_at_once_ends_well(comparer: Comparer) -> None:
    """A thread of ours that has not begun when the interpreter ends is one that Python 3.10 cannot end.

    It looks at freed memory then; development mode overwrites that, so that the crash is not left to chance.
    """
    outcomes = [comparer.run("-I", "-S", "-X", "dev", "-c", "pass") for _ in range(8)]
    assert {ended(outcome.wrapped) for outcome in outcomes} == {(0, "", "")}


COLLECTING = """
import gc, json
class Cycle:
    pass
def ends(seen):
    cycle = Cycle()
    cycle.itself = cycle
    cycle.seen = Ending(seen)
class Ending:
    def __init__(self, seen):
        self.seen = seen
    def __del__(self):
        self.seen.append(1)
seen = []
for _ in range(100_000):
    ends(seen)
print(json.dumps([gc.isenabled(), gc.get_threshold(), len(seen) > 0, gc.get_freeze_count() > 1_000]))
"""


@pytest.mark.parametrize("form", ["open", "closed"])
def test_garbage_is_collected_as_without_us(comparer: Comparer, form: str) -> None:
    """The program's own garbage, while what our start has made is left out of all collections."""
    options = {"open": [], "closed": ["-I"]}[form]
    plain, wrapped = (json.loads(outcome.stdout) for outcome in comparer.run(*options, "-c", COLLECTING))
    assert plain[3] is False and wrapped[3] is True
    assert wrapped[:3] == plain[:3] == [True, plain[1], True]


def test_garbage_is_collected_where_our_start_fails(opt: Path, tmp_path: Path) -> None:
    """Also with a layer of which a part is missing."""
    layer = tmp_path / "opt"
    shutil.copytree(opt, layer)
    (layer / "python/sumo_internal/launch.py").write_text("1 / 0")
    command = [str(layer / "sumo_wrapper"), str(find()[-1].executable), "-c", "import gc; print(gc.isenabled())"]
    ended = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "True\n")
    assert "ZeroDivisionError" in ended.stderr


MISSING = {
    "script": ["missing.py"],
    "absolute script": ["/missing/missing.py"],
    "script by another name": ["missing"],
    "folder without a program": ["elsewhere"],
    "module": ["-m", "missing"],
    "module in a package": ["-m", "package.missing"],
    "module in a missing package": ["-m", "missing.missing"],
    "module with its suffix": ["-m", "helper.py"],
    "package without a program": ["-m", "empty"],
    "package that misses a module": ["-m", "broken"],
    "package that fails": ["-m", "failing"],
    "built-in module": ["-m", "sys"],
    "module without a name": ["-m", ""],
}


@pytest.mark.parametrize("missing", MISSING)
def test_what_is_missing_is_said_as_without_us(comparer: Comparer, missing: str) -> None:
    """The import errors that people search the web for, and their exit codes."""
    plain, wrapped = comparer.run(*MISSING[missing])
    assert plain.returncode != 0
    assert ended(wrapped) == ended(plain)


def test_without_settings_the_program_runs_and_one_line_says_what_is_missing(opt: Path) -> None:
    """A layer added before its endpoint: the function works, and the log tells why nothing arrives."""
    command = [str(opt / "sumo_wrapper"), str(find()[-1].executable), "-c", "print('done')"]
    ended = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "done\n")
    assert ended.stderr == f"{OURS}error: SUMO_HTTP_ENDPOINT is not set; no lines are shipped\n"


def test_without_tmp_the_program_runs_and_one_line_says_so(opt: Path) -> None:
    """Whatever fails in our own start is said, and the function starts."""
    command = [str(opt / "sumo_wrapper"), str(find()[-1].executable), "-c", "import sys; print(sys.argv)"]
    environ = {"SUMO_HTTP_ENDPOINT": "http://127.0.0.1:9/", "SUMO_SPOOL_DIR": "/missing/folder"}
    ended = subprocess.run(command, env={"PATH": os.environ["PATH"]} | environ, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "['-c']\n")
    assert ended.stderr.startswith(OURS) and ended.stderr.count("\n") == 1
