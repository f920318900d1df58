"""What the function does to itself: its files, what it replaces, its signals and its forks; in the model of Lambda.

Each is tried in a real run: the function answers as it does without the layer, and its lines arrive as ever.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from model import Environment, telemetry_api
from model.extensions_api import ExtensionsApi
from own_section import ALL_THERE, AS_EVER, IS_WRITING, ROWS, Section
from packages import package
from runtimes import Runtime, runtimes, typical
from soak import guest
from sumo_source import SumoSource
from test_structure import MODULES, PACKAGE

from sumo_internal.shipping.invocations import NAME

pytest_plugins = ["own_section"]

LATE_S = 0.5
"""Longer than a program takes to begin again."""

each_python = pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)


@pytest.fixture
def source() -> Iterator[SumoSource]:
    """A source with TLS: what a request needs there is all that ever has to be imported late."""
    with SumoSource(tls=True) as source:
        yield source
        assert source.problems == []


def environment(
    runtime: Runtime, layer: Path | None, source: SumoSource, task_root: Path, code: str, **options: Any
) -> Environment:
    """A function of this code, with the layer or without."""
    (task_root / "app.py").write_text(code)
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_FLUSH": "end", "SSL_CERT_FILE": str(source.ca_file)}
    variables |= options.pop("variables", {})
    if layer is not None:
        variables["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/sumo_wrapper"
    return Environment(
        runtime, task_root, handler="app.handler", layer=layer, variables=variables, timeout_s=30.0, **options
    )


def messages(source: SumoSource) -> list[str]:
    return [record["message"].rpartition("\t")[2] for record in source.records if record["type"] == "function"]


def answers(env: Environment, *events: Any) -> list[Any]:
    """Start a function, and return what it answers."""
    assert env.start().error is None, env.cloudwatch
    invocations = [env.invoke(event) for event in events]
    assert [invocation.status for invocation in invocations] == ["success"] * len(events), env.cloudwatch
    return [invocation.payload for invocation in invocations]


def assert_two_lines_arrive(runtime: Runtime, layer: Path, source: SumoSource, folder: Path, code: str) -> None:
    """Assert that a function answers two events as ever, and that what it logs of each is at Sumo Logic."""
    with environment(runtime, layer, source, folder, code) as env:
        answers(env, 1, 2)
        env.shutdown()
    assert set(messages(source)) == {"line 1", "line 2"}


def lines_in(source: SumoSource, expected: Iterable[str]) -> str:
    """Say in the page's words whether these lines are at Sumo Logic by now, each once."""
    return ALL_THERE if sorted(messages(source)) == sorted(expected) else f"otherwise: {messages(source)}"


def test_the_page_has_a_row_for_each(section: Section) -> None:
    """And no other row: what is tried below tells its row, and is compared with it."""
    assert IS_WRITING or list(section.committed) == ROWS


# The function's files.

FILES = """
import logging
log = logging.getLogger()
log.setLevel("INFO")
executed = log.__dict__.setdefault("executed", [])
def handler(event, context):
    log.info("line %s", event)
    return executed
"""

SHADOW = 'import logging\nlogging.getLogger().__dict__.setdefault("executed", []).append(__name__)\n'


def needed_by_the_runtime(runtime: Runtime) -> set[str]:
    """The modules without which there is no function at all; they are there before its files can be found."""
    code = "import sys, concurrent.futures.thread, awslambdaric.bootstrap; print(*sys.modules)"
    command = [str(runtime.interpreter.executable), "-c", code]
    names = subprocess.check_output(command, env={"PYTHONPATH": str(runtime.ric)}, text=True).split()
    return {name.partition(".")[0] for name in names}


@each_python
def test_no_file_of_the_functions_is_executed(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """With a file of its own for every module of the library: none is run that is not run without us; lines arrive.

    Guards against an import on a thread of ours, which finds the function's ``random.py`` before the library's.
    """
    for name in sys.stdlib_module_names - needed_by_the_runtime(runtime):
        (tmp_path / f"{name}.py").write_text(SHADOW)
    executed = []
    for layer in (None, layer_folder):
        with environment(runtime, layer, source, tmp_path, FILES) as env:
            executed.append(answers(env, 1, 2)[1])
            if layer is not None:
                lines = lines_in(source, ["line 1", "line 2"])
                env.shutdown()
    assert executed[1] == executed[0]
    assert messages(source) == ["line 1", "line 2"]
    section.row("has files that are named like the library's modules (`random.py`, `zlib.py`)", lines=lines)


@each_python
def test_what_is_needed_late_is_in_c(runtime: Runtime) -> None:
    """Or is there before the function's code: a module in Python would be looked for on the function's ``sys.path``.

    What runs elsewhere, is called by the function's own code, or is complete at the start is out of this.
    """
    others = (
        "__main__.py",
        "api",
        "cli",
        "expressions",
        "extension",
        "go_on.py",
        "launch.py",
        "processing",
        "start.py",
        "wiring.py",
    )
    needed = {
        name
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] not in others and path.name != "pool.py"
        for line in ast.walk(ast.parse(path.read_text()))
        if isinstance(line, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in line.names] if isinstance(line, ast.Import) else [line.module or ""])
        if name.partition(".")[0] in sys.stdlib_module_names
    }
    assert {"_ssl", "zlib"} < needed
    code = (
        "import sys; from importlib.util import find_spec\n"
        "print(*(name for name in sys.argv[1:] if find_spec(name).origin.endswith('.py')))"
    )
    early = needed_by_the_runtime(runtime) | {
        "copy",  # with SUMO_CLOUDWATCH and SUMO_DEBUG_ON_FAILURE, whose modules are complete at the start
        "ssl",  # urllib3's, which is for other machines
        "typing",  # for type checkers
    }
    late = {name for name in needed if name.partition(".")[0] not in early}
    command = [str(runtime.interpreter.executable), "-I", "-c", code]
    assert subprocess.check_output([*command, *late], text=True).split() == []


# What it replaces.

REPLACED = """
import builtins, importlib, logging, os, sys, types
log = logging.getLogger()
log.setLevel("INFO")
called = []
def refusing(name, function):
    def refuse(*args, **options):
        if "/sumo_internal/" in sys._getframe(1).f_code.co_filename:
            called.append(name)
            raise PermissionError(name)
        return function(*args, **options)
    return refuse
def replace(module):
    for name, value in list(vars(module).items()):
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)) and not name.startswith("__"):
            setattr(module, name, refusing(f"{module.__name__}.{name}", value))
def all_of(names):
    for name in names:
        try:
            replace(importlib.import_module(name))
        except ImportError:
            pass
NAMES = %r
os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = "/nowhere"
"""

KINDS = {
    "the library's functions": (
        ["replaces the library's functions", "sets `SSL_CERT_FILE` at run time"],
        "all_of(NAMES)",
    ),
    "open and import": (
        ["replaces `open` and `__import__`"],
        """
builtins.open = refusing("open", open)
builtins.__import__ = refusing("import", __import__)
""",
    ),
    "where modules are found": (
        ["clears `sys.path` and `sys.meta_path`"],
        "del sys.path[:], sys.meta_path[:]; sys.path_importer_cache.clear()",
    ),
    "what has been imported": (
        ["removes modules from `sys.modules`, ours too"],
        """
for name in list(sys.modules):
    if name in NAMES and name[0] != "_" or name.startswith("sumo_internal"): del sys.modules[name]
""",
    ),
    "getaddrinfo": (
        ["replaces `socket.getaddrinfo`"],
        """
import socket
original, cache = socket.getaddrinfo, {}
def cached(*args):
    if args not in cache: cache[args] = original(*args)
    return cache[args]
socket.getaddrinfo = cached
""",
    ),
}
"""Rows of the page, and what a function does that they are about. The certificate's variable is set in each."""

NAMES = (
    "_hashlib _socket _ssl _thread base64 binascii codecs collections enum errno fcntl functools genericpath gzip "
    "hashlib hmac http.client json json.decoder json.encoder math mmap os posix posixpath random re select "
    "selectors signal socket ssl stat struct tempfile time traceback urllib.parse urllib.request uuid zlib"
).split()
"""Modules whose functions are replaced: what we need, and what is around it."""

HANDLER = """
def handler(event, context):
    log.info("line %s", event)
    return called
"""


@each_python
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_called_that_the_function_has_replaced(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime, kind: str
) -> None:
    """Whatever it puts in the place of the library's functions is its own: lines arrive as ever, to whom we trust.

    Guards against ``json.loads`` or ``time.time`` looked up when they are called, and an environment read late.
    """
    code = REPLACED % (NAMES,) + KINDS[kind][1] + HANDLER
    with environment(runtime, layer_folder, source, tmp_path, code) as env:
        assert answers(env, 1, 2) == [[], []]
        lines = lines_in(source, ["line 1", "line 2"])
        env.shutdown()
    assert messages(source) == ["line 1", "line 2"]
    for what in KINDS[kind][0]:
        section.row(what, lines=lines)


BUILT_IN = """
import builtins
LIBRARY = os.path.dirname(os.__file__)
def refusing_below(name, function):
    # In the library's code, too, if that was called by the layer's.
    def refuse(*args, **options):
        frame = sys._getframe(1)
        while frame and frame.f_code.co_filename.startswith((LIBRARY, "<frozen")):
            frame = frame.f_back
        if frame and "/sumo_internal/" in frame.f_code.co_filename:
            called.append(name)
            raise PermissionError(name)
        return function(*args, **options)
    return refuse
for name in "any dir getattr hasattr isinstance issubclass len max min repr sorted sum".split():
    setattr(builtins, name, refusing_below(name, getattr(builtins, name)))
"""


@each_python
def test_built_ins_that_raise_in_our_code_end_nothing(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """In the library's code that we call, too, as ``json.loads`` asks ``isinstance``: the function answers as ever.

    The answer to the registration could not be read; so nothing asked for an event, and the init phase did not end.
    """
    assert_two_lines_arrive(runtime, layer_folder, source, tmp_path, REPLACED % (NAMES,) + BUILT_IN + HANDLER)


CLOSED = """
import logging, os, time
log = logging.getLogger()
log.setLevel("INFO")
time.sleep(0.05)  # what else is imported
for descriptor in range(3, 1024):
    try:
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:"):  # the runtime's own, for its log
            os.close(descriptor)
    except OSError:
        pass
def handler(event, context):
    log.info("line %s", event)
    return event
"""


@each_python
def test_a_function_closes_all_descriptors_while_it_is_imported(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """The answer to the registration has been read by then: the init phase ends, and the environment goes on."""
    assert_two_lines_arrive(runtime, layer_folder, source, tmp_path, CLOSED)


REUSED = """
import logging, os, shutil, socket, tempfile, time
log = logging.getLogger()
log.setLevel("INFO")
log.info("line of the init")
theirs = {}
def closes_all():
    for name in os.listdir("/proc/self/fd"):
        try:
            # Not the runtime's own: its pipes, and its connection.
            if int(name) > 2 and not os.readlink(f"/proc/self/fd/{name}").startswith(("pipe:", "socket:")):
                os.close(int(name))
        except OSError:
            pass
def opens():
    for _ in range(60):
        descriptor, path = tempfile.mkstemp()
        theirs[descriptor] = os.path.realpath(path)
def handler(event, context):
    if event == 1:
        closes_all()
        opens()
    for n in range(1200):
        log.info("line %s.%s %s", event, n, "x" * 1000)
    if event == 3:
        shutil.rmtree(os.environ["SUMO_SPOOL_DIR"], ignore_errors=True)
    return [path for descriptor, path in theirs.items() if os.path.realpath(f"/proc/self/fd/{descriptor}") != path]
"""


@each_python
def test_a_function_opens_files_under_the_numbers_of_ours(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """They stay its own: its descriptors were closed where ours would have been, with a map, a lock or a connection."""
    with environment(runtime, layer_folder, source, tmp_path, REUSED) as env:
        assert answers(env, 1, 2, 3, 4) == [[]] * 4
        texts = [f"line {event}.{n} {'x' * 1000}" for event in range(1, 5) for n in range(1200)]
        lines = lines_in(source, ["line of the init", *texts])
        env.shutdown()
    section.row("closes all descriptors, and opens files of its own under their numbers", lines=lines)


AGAIN = """
import logging, os, sys, time
log = logging.getLogger()
log.setLevel("INFO")
if "AGAIN" not in os.environ:
    log.info("line of the first program")
    time.sleep({pause_s})
    os.environ["AGAIN"] = "1"
    {program}
log.info("line of the second")
def handler(event, context):
    log.info("line %s", event)
    return event
"""

AGAIN_BY = {
    "the interpreter": "os.execv(sys.executable, sys.orig_argv)",
    "our wrapper": "os.execv('{layer}/sumo_wrapper', ['{layer}/sumo_wrapper', *sys.orig_argv])",
}

SEVERAL_TIMES = """
import logging, os, sys, time
log = logging.getLogger()
log.setLevel("INFO")
begun = int(os.environ.get("BEGUN", "0"))
log.info("line of program %s", begun)
time.sleep(0.3)  # Lambda has read the line; and nobody keeps the init open while a third program is seen
programs = {programs}
if begun < len(programs):
    os.environ["BEGUN"] = str(begun + 1)
    if {has_child} and os.fork() == 0:
        time.sleep(60)
    program, is_wrapper = programs[begun]
    os.execv(program, [program, *sys.orig_argv] if is_wrapper else sys.orig_argv)
def handler(event, context):
    log.info("line %s", event)
    return event
"""


@each_python
@pytest.mark.parametrize(
    ("programs", "has_child"),
    [("I", True), ("II", False), ("WWW", False), ("WI", False)],
    ids=["with a child", "twice", "three times by our wrapper", "by our wrapper, then by the interpreter"],
)
def test_a_function_starts_itself_again_several_times(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime, programs: str, has_child: bool
) -> None:
    """A child has the descriptors of the program that is gone. Only the first program can be registered."""
    wrapper = f"{layer_folder}/sumo_wrapper"
    each = {"W": (wrapper, True), "I": (str(runtime.interpreter.executable), False)}
    code = SEVERAL_TIMES.format(programs=[each[letter] for letter in programs], has_child=has_child)
    with environment(runtime, layer_folder, source, tmp_path, code) as env:
        assert answers(env, 1, 2, 3) == [1, 2, 3]
        env.shutdown()
    begun = [f"line of program {number}" for number in range(len(programs) + 1)]
    assert sorted(messages(source)) == sorted([*begun, "line 1", "line 2", "line 3"])
    assert sum(record["type"] == "platform.report" for record in source.records) == 3


@each_python
@pytest.mark.parametrize("pause_s", [0.0, 0.5])
@pytest.mark.parametrize("program", AGAIN_BY.values(), ids=AGAIN_BY)
def test_a_function_starts_itself_again_while_it_is_imported(
    section: Section,
    source: SumoSource,
    layer_folder: Path,
    tmp_path: Path,
    runtime: Runtime,
    program: str,
    pause_s: float,
) -> None:
    """To have another ``LD_LIBRARY_PATH``, say: the thread that is registered goes with the process.

    Guards against an init, and then each invocation, that Lambda ends at its timeout.
    """
    code = AGAIN.format(program=program.format(layer=layer_folder), pause_s=pause_s)
    with environment(runtime, layer_folder, source, tmp_path, code) as env:
        assert answers(env, 1, 2, 3) == [1, 2, 3]
        env.shutdown()
    lines = lines_in(source, ["line of the first program", "line of the second", "line 1", "line 2", "line 3"])
    section.row("starts itself again while it is imported (`os.execv`)", lines=lines)


@pytest.mark.parametrize("late", ["registration", "subscription"])
@pytest.mark.parametrize("program", AGAIN_BY.values(), ids=AGAIN_BY)
def test_a_function_starts_itself_again_before_lambda_has_answered(
    section: Section,
    source: SumoSource,
    layer_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    late: str,
) -> None:
    """Nobody else is told the identifier of who is registered; and Lambda takes no subscription after the init."""
    register = ExtensionsApi._register

    def register_late(self: ExtensionsApi, request: Any) -> Any:
        response = register(self, request)
        time.sleep(LATE_S if request.headers.get("lambda-extension-name") == NAME else 0)
        return response

    if late == "registration":
        monkeypatch.setattr(ExtensionsApi, "_register", register_late)
    else:
        monkeypatch.setattr(telemetry_api, "ANSWER_DELAY_S", LATE_S)
    code = AGAIN.format(program=program.format(layer=layer_folder), pause_s=0)
    with environment(typical(), layer_folder, source, tmp_path, code) as env:
        assert answers(env, 1, 2, 3) == [1, 2, 3]
        env.shutdown()
    lines = lines_in(source, ["line of the first program", "line of the second", "line 1", "line 2", "line 3"])
    section.row("starts itself again while it is imported (`os.execv`)", lines=lines)


CLOCK = """
import freezegun, logging, signal, threading, time
log = logging.getLogger()
log.setLevel("INFO")
real = [time.monotonic]  # in a list, because freezegun looks through this module, too
freezer = freezegun.freeze_time("2020-01-01")
def handler(event, context):
    log.info("before %s", event)
    if event == 1:
        freezer.start()
    for n in range(15):
        log.info("frozen %s %s", event, n)
        print("printed", event, n)
    monotonic = real[0]
    until_s = monotonic() + 0.3
    def other():
        while monotonic() < until_s:
            log.info("beside")
    def on_alarm(*_):
        log.info("in a signal handler")
        if monotonic() < until_s:
            signal.setitimer(signal.ITIMER_REAL, 0.0007)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    thread = threading.Thread(target=other)
    thread.start()
    while monotonic() < until_s:
        print("in a loop")
    signal.setitimer(signal.ITIMER_REAL, 0)
    thread.join()
    return time.time()
"""


@each_python
def test_a_clock_that_stands_still_is_the_functions(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """freezegun replaces ``time.monotonic`` in each module that has it: a wait of ours would have had no end.

    What is printed has the time that it is; nothing is said of the runtime's lines, which have the function's.
    """
    variables = {"PYTHONPATH": str(package("freezegun==1.5.5", is_complete=True)), "SUMO_LOG_TYPES": "function"}
    with environment(runtime, layer_folder, source, tmp_path, CLOCK, variables=variables) as env:
        assert answers(env, 1, 2) == [1_577_836_800.0] * 2
        env.shutdown()
        written = Counter(
            line.text.rpartition("\t")[2].strip()
            for line in env.cloudwatch
            if line.source == "function" and not line.text.startswith("sumo-internal")
        )
        said = [line.text for line in env.cloudwatch if line.text.startswith("sumo-internal-extension:")]
    assert said == []
    assert len({record["id"] for record in source.records}) == len(source.records)
    assert Counter(messages(source)) == written
    times = {record["time"][:4] for record in source.records if record["message"].startswith("printed")}
    assert len(times) == 1 and times != {"2020"}
    section.row("stops its clock (freezegun)")


# Its values.

VALUES = """
import logging
log = logging.getLogger()
log.setLevel("INFO")
class Raises:
    def __init__(self, error):
        self.error = error
    def __repr__(self):
        raise self.error
class WithoutClass:
    @property
    def __class__(self):
        raise KeyboardInterrupt
class List(list):
    def __iter__(self):
        raise SystemExit(3)
    def __len__(self):
        raise GeneratorExit
class Dict(dict):
    def items(self):
        raise KeyboardInterrupt
    def __iter__(self):
        raise SystemExit(2)
class Text(str):
    def __str__(self):
        raise SystemExit(1)
    def __len__(self):
        raise KeyboardInterrupt
    def __hash__(self):
        raise SystemExit(1)
errors = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()]
values = [*map(Raises, errors), WithoutClass(), List([1]), Dict(a=1), Text("x")]
def handler(event, context):
    came = []
    for number, value in enumerate([*values, *([value] for value in values), *({"a": value} for value in values)]):
        try:
            log.info("line %s", number, extra={"value": value})
        except BaseException as error:
            came.append((number, repr(error)))
    return came
"""


@each_python
@pytest.mark.parametrize(
    "rules", [{}, {"SUMO_MASK_KEYS": "password", "SUMO_MASK_PATTERNS": "secret"}], ids=["", "rules"]
)
def test_no_value_of_a_field_raises_into_the_function(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime, rules: dict[str, str]
) -> None:
    """Whatever it raises where the layer asks for its text: the function has not asked for it."""
    with environment(runtime, layer_folder, source, tmp_path, VALUES, variables=rules) as env:
        assert answers(env, 1) == [[]]
        env.shutdown()
    assert messages(source) == [f"line {number}" for number in range(24)]


# Its signals, threads and forks.

BEGIN = """
import logging, os, signal, subprocess, sys, threading, time, warnings
log = logging.getLogger()
log.setLevel("INFO")
"""

SIGNALS = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
log.info("in the init phase")
def handler(event, context):
    log.info("line %s", event)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGUSR1)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [signal.sigwait({signal.SIGUSR1}).name, sorted(each.name for each in mask)]
"""


@each_python
def test_a_signal_that_the_function_waits_for_reaches_it(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """Blocked in its main thread, it would be delivered to a thread of ours that has not, and end the process."""
    with environment(runtime, layer_folder, source, tmp_path, BEGIN + SIGNALS) as env:
        assert answers(env, 1, 2) == [["SIGUSR1", ["SIGTERM", "SIGUSR1"]]] * 2
        lines = lines_in(source, ["in the init phase", "line 1", "line 2"])
        env.shutdown()
    assert messages(source) == ["in the init phase", "line 1", "line 2"]
    section.row("blocks signals and waits for them (`sigwait`)", lines=lines)


STACKS = """
size_bytes = 32768
while True:
    try:
        threading.stack_size(size_bytes)
        break
    except ValueError:  # from Python 3.14 on its own frames need more
        size_bytes += 4096
log.info("in the init phase")
def handler(event, context):
    log.info("line %s", event)
    time.sleep(0.2)
    return [size_bytes, threading.stack_size(size_bytes)]
"""


@each_python
def test_small_stacks_are_the_functions(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """A thread of ours with the function's 32 KB ends in SIGSEGV on Python 3.10; and its own stay as it wants them.

    The smallest that the Python allows.
    """
    with environment(runtime, layer_folder, source, tmp_path, BEGIN + STACKS) as env:
        sizes = answers(env, 1, 2)
        assert all(asked_for == set_size for asked_for, set_size in sizes)
        assert sizes[0][0] == 32768 if runtime.version < (3, 14) else 32768 < sizes[0][0] < 262_144
        lines = lines_in(source, ["in the init phase", "line 1", "line 2"])
        env.shutdown()
    assert messages(source) == ["in the init phase", "line 1", "line 2"]
    section.row("makes the smallest stacks there are, of 32 KB (`threading.stack_size`)", lines=lines)


FORKS = """
def work():
    import hashlib, http.client, random, socket, ssl, uuid, zlib
    ssl.create_default_context()
    hashlib.sha256(bytes(5_000)).hexdigest()
    os._exit(0)
def handler(event, context):
    children, until_s = [], time.monotonic() + event["seconds"]
    while time.monotonic() < until_s or len(children) <= event["children"]:
        log.info("line %s", len(children) + OF_INIT)
        pid = os.fork()
        if pid == 0:
            work()
        children.append(pid)
        time.sleep(0.003)
    until_s, hung = time.monotonic() + 20, 0
    for pid in children:
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > until_s:
                hung += 1
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.005)
    return [len(children), hung]
"""


@each_python
@pytest.mark.parametrize("flush", ["end", "next"])
def test_every_forked_child_ends(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime, flush: str
) -> None:
    """Forked while we import, make a TLS context and shake hands, whatever a child imports: it inherits no lock.

    With ``next`` and a line of the init there is something to ship, for the first time, while the handler begins.
    """
    source.idle_timeout_s = 0.001  # a handshake for each batch
    variables = {"SUMO_FLUSH_MAX_AGE_S": "0.1", "SUMO_FLUSH": flush}
    of_init = int(flush == "next")
    code = BEGIN + 'print("line 0")\n' * of_init + FORKS.replace("OF_INIT", str(of_init))
    with environment(runtime, layer_folder, source, tmp_path, code, variables=variables) as env:
        ((children, hung),) = answers(env, {"seconds": 1.5, "children": 20})
        env.shutdown()
    assert children > 20 and hung == 0
    # A handshake for each batch, beside a hundred forks: not each machine is done before SHUTDOWN, and a batch whose
    # connection was closed before its answer was read comes once more.
    assert set(messages(source)) == {f"line {number}" for number in range(children + of_init)}
    records = [record for record in source.records if record["type"] == "function"]
    assert len({record["id"] for record in records}) == children + of_init
    section.row(
        "forks at any instant, and the children import", f"{AS_EVER}; every child ends", f"{ALL_THERE} in the end"
    )


COLD_STARTS = 10
"""Of forty, seven had a child that did not end."""


@pytest.mark.timeout(180)
def test_every_child_that_is_forked_at_a_cold_start_ends(layer_folder: Path, tmp_path: Path) -> None:
    """At 128 MB what is imported for shipping takes a second: children are forked in the middle of that."""
    code = BEGIN + 'print("line 0")\n' + FORKS.replace("OF_INIT", "1")

    def start(number: int) -> tuple[Any, list[str]]:
        folder = tmp_path / str(number)
        folder.mkdir()
        options: dict[str, Any] = {"memory_mb": 128, "cpu_limited": True, "init_limited": True}
        with SumoSource(tls=True) as source:
            with environment(typical(), layer_folder, source, folder, code, **options) as env:
                (answer,) = answers(env, {"seconds": 0.0, "children": 3})
                env.shutdown()
            return answer, sorted(set(messages(source)))

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(start, range(COLD_STARTS)))
    assert outcomes == [([4, 0], [f"line {number}" for number in range(5)])] * COLD_STARTS


STARVED = """
def handler(event, context):
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        log.info("x" * event)
    for each in taken:
        os.close(each)
    return len(taken) > 100
"""


@each_python
def test_what_is_loaded_late_needs_no_descriptor(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """A first long line, where the function has used up all descriptors: what takes it apart is loaded for it.

    It was lost, and counted as what could not be made a record.
    """
    with environment(runtime, layer_folder, source, tmp_path, BEGIN + STARVED) as env:
        assert answers(env, 200_000, 10) == [True, True]
        env.shutdown()
        said = [line.text for line in env.cloudwatch if "recording a line failed" in line.text]
    assert said == []
    functions = [record for record in source.records if record["type"] == "function"]
    assert sum(record["message"].count("x") for record in functions) == 200_010


RAISED_IN_THREADS = """
import ctypes
def handler(event, context):
    log.info("line %s", event)
    time.sleep(0.1)
    for thread in sys._current_frames():
        if thread != threading.get_ident():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
    time.sleep(0.2)
    return event
"""


@each_python
@pytest.mark.parametrize("flush", ["end", "next"])
def test_what_is_raised_in_our_threads_ends_none_of_them(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime, flush: str
) -> None:
    """By a function that ends all threads but its own: the shipping thread was gone, and its lines waited for SHUTDOWN.

    The life-cycle thread survived one, and not a second one in its pause: then each invocation lasted for its timeout.
    """
    variables = {"SUMO_FLUSH": flush, "SUMO_FLUSH_MAX_AGE_S": "0.2", "SUMO_LOG_TYPES": "function"}
    with environment(runtime, layer_folder, source, tmp_path, BEGIN + RAISED_IN_THREADS, variables=variables) as env:
        assert answers(env, 1, 2, 3, 4) == [1, 2, 3, 4]
        early = set(messages(source))
        env.shutdown()
    if flush == "end":  # what is raised in one invocation may delay the lines of that one
        assert early >= {"line 1", "line 2"}
    assert set(messages(source)) == {f"line {number}" for number in range(1, 5)}
    section.row("raises in all threads but its own (`PyThreadState_SetAsyncExc`)", lines=ALL_THERE)


WARNINGS = """
def handler(event, context):
    log.info("line %s", event)
    time.sleep(0.2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        if event == "threads":
            threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()
        pid = os.fork()
        if pid == 0:
            os._exit(list(warnings.filters) != filters)
        changes = [os.waitpid(pid, 0)[1], warnings.filters != filters]
        subprocess.run(["/bin/true"], preexec_fn=int)
        changes.append(warnings.filters != filters)
    return [len(caught), *changes]
"""


@each_python
def test_a_fork_warns_of_the_functions_threads_only(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """From 3.12 on a fork of a process with threads is warned of: ours are no reason, and the filters stay."""
    with environment(runtime, layer_folder, source, tmp_path, BEGIN + WARNINGS) as env:
        warned = int(runtime.version >= (3, 12))
        assert answers(env, "alone", "threads", "alone") == [[count, 0, False, False] for count in (0, warned, 0)]
        lines = lines_in(source, ["line alone", "line threads", "line alone"])
        env.shutdown()
    section.row("forks with warnings on", f"{AS_EVER}; no warning of our threads", lines)


CHILDREN = """
import multiprocessing
def work(n, number):
    print("printed", n, number)
    log.warning("logged %s %s", n, number)
    sys.stdout.write("without an end %s %s" % (n, number))
def handler(event, context):
    log.info("parent %s", event["n"])
    context = multiprocessing.get_context(event["by"])
    children = [context.Process(target=work, args=(event["n"], number)) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]
"""


@each_python
def test_children_that_multiprocessing_starts_are_heard(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """By all its means, each line once, with the request in which the child was started, and the last words too."""
    with environment(runtime, layer_folder, source, tmp_path, BEGIN + CHILDREN) as env:
        assert env.start().error is None
        ids = {}
        for n, by in enumerate(("spawn", "forkserver", "fork", None)):  # the default is forkserver from 3.14 on
            invocation = env.invoke({"n": n, "by": by})
            assert invocation.payload == [0, 0], env.cloudwatch
            ids[str(n)] = invocation.request_id
        kinds = ("printed", "logged", "without an end")
        texts = [f"{kind} {n} {number}" for kind in kinds for n in range(4) for number in (0, 1)]
        lines = lines_in(source, [*texts, *(f"parent {n}" for n in ids)])
        env.shutdown()
    records = [record for record in source.records if record["type"] == "function"]
    got = {record["message"].rpartition("\t")[2]: record["requestID"] for record in records}
    assert len(records) == len(got)
    assert got == {text: ids[text.split()[-2]] for text in texts} | {f"parent {n}": ids[n] for n in ids}
    section.row("starts children by `spawn`, `forkserver`, `fork`", lines=lines)


PROGRAMS = """
import json, multiprocessing, os, signal, subprocess
PROGRAM = '''
import logging, os, signal, subprocess, sys
n = sys.argv[1]
if sys.argv[2:] == ["again"]:
    print("grandchild", n)
    sys.exit()
logging.basicConfig(level="INFO")
print("printed", n)
logging.info("logged %s", n)
subprocess.run([sys.executable, __file__, n, "again"], check=True)
sys.stderr.write("without an end " + n)
sys.stderr.flush()
os.kill(os.getpid(), signal.SIGKILL)
'''
open("/tmp/program.py", "w").write(PROGRAM)
def work(n):
    print("spawned", n)
def handler(event, context):
    n = str(event["n"])
    print("parent", n)
    command = [sys.executable, "/tmp/program.py", n]
    ended = subprocess.run(command).returncode
    taken = subprocess.run([*command, "again"], capture_output=True, text=True).stdout
    print("taken: " + taken.strip())
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", "print('unheard')"], env=bare, check=True)
    child = multiprocessing.get_context("spawn").Process(target=work, args=(n,))
    child.start()
    child.join()
    return [ended, "PYTHONPATH" in os.environ and "sumo" in os.environ["PYTHONPATH"], sys.path]
"""


@each_python
@pytest.mark.parametrize("is_asked_for", [True, False])
def test_other_programs_in_python_are_heard_where_a_setting_asks_for_it(
    section: Section, source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime, is_asked_for: bool
) -> None:
    """Each line once, with the request in which the program was started, and the last words before a SIGKILL.

    What a program writes to a pipe reaches CloudWatch when the function writes it. Without the setting (the default)
    such programs, and the function's environment, are as without us.
    """
    variables = {"SUMO_CHILDREN": "true"} if is_asked_for else {}
    with environment(runtime, layer_folder, source, tmp_path, BEGIN + PROGRAMS, variables=variables) as env:
        assert env.start().error is None
        invocations = [env.invoke({"n": n}) for n in (0, 1)]
        early = len(messages(source))
        env.shutdown()
    for invocation in invocations:
        ended, is_seen, path = invocation.payload
        assert (ended, is_seen) == (-9, is_asked_for)
        assert not [entry for entry in path if "sumo" in entry]
    kinds = ["parent", "taken: grandchild", "spawned"]
    if is_asked_for:
        kinds += ["printed", "INFO:root:logged", "grandchild", "without an end"]
    records = [record for record in source.records if record["type"] == "function"]
    got = {record["message"]: record["requestID"] for record in records}
    assert len(records) == len(got)
    assert got == {f"{kind} {n}": invocations[n].request_id for kind in kinds for n in (0, 1)}
    if is_asked_for:
        assert {record["level"] for record in records if "logged" in record["message"]} == {"INFO"}
        assert early == len(records), "before SHUTDOWN"
        section.row("starts programs in Python, with `SUMO_CHILDREN=true`")


# What the soak plays at random, one by one.

ACTS = {
    "replaces `json`, `time.time` and `open` with what raises, and logs": [["replaced"], ["calm"]],
    "forbids its process sockets (`sys.addaudithook`)": [["refuses"], ["calm"]],
    "forbids the layer files, maps and sockets (`sys.addaudithook`), and writes megabytes": [
        ["calm"],
        ["refuses_files", "calm"],
        ["calm"],
    ],
    "forks children that log and end by `os._exit`": [["fork"], ["calm"]],
    "logs in six threads at once": [["threads"]],
    "logs in a signal handler while another thread logs": [["signals"]],
    "logs in finalisers": [["finalisers"]],
    "has a time limit that raises in the middle of a log call": [["limit"], ["calm"]],
    "logs to the end of its stack": [["recursion"], ["calm"]],
    "takes every descriptor, and gives them back": [["descriptors"], ["calm"]],
    "logs texts and values of megabytes, and writes JSON in small pieces": [["giants"]],
    "logs what has no text, no comparison and no level": [["hostile"]],
    "prints in pieces": [["partial"]],
    "logs its stack and its exceptions": [["traces"]],
    "empties /tmp": [["calm", "empties"], ["calm"]],
    "opens /tmp to everybody (`chmod -R 777`)": [["modes"], ["calm"]],
    "raises": [["calm", "raises"], ["calm"]],
    "calls `sys.exit`": [["calm", "exits"], ["calm"]],
    "calls `os._exit`": [["calm", "aborts"], ["calm"]],
    "kills itself (SIGKILL)": [["calm", "dies"], ["calm"]],
    "reads from address 0 (SIGSEGV)": [["calm", "segfault"], ["calm"]],
    "sleeps until its timeout": [["calm", "sleeps"], ["calm"]],
    "cuts our files short (`truncate`)": [["calm"], ["truncates", "calm"], ["calm"]],
    "empties /tmp, and is killed in the same invocation": [["calm"], ["calm", "empties", "dies"], ["calm"]],
    "empties /tmp in its first invocation, and is killed in it": [["calm", "empties", "calm", "dies"], ["calm"]],
    "empties /tmp behind its children in the same invocation": [["calm"], ["fork", "empties"], ["calm"]],
    "empties /tmp behind its children, and is killed in the same invocation": [["fork", "empties", "dies"], ["calm"]],
}
"""Rows of the page, and the acts of the soak's function, by invocation."""


@pytest.mark.parametrize("what", ACTS)
def test_what_the_soak_does_at_random(section: Section, layer_folder: Path, what: str) -> None:
    """One act at a time: the answers and ends are those without the layer, and the books tell of each line."""
    needs_own_tmp = any(not guest.NEED_OWN_TMP.isdisjoint(acts) for acts in ACTS[what])
    if needs_own_tmp and (reason := Environment.isolation_available()):
        pytest.skip(reason)
    without, with_it = (
        guest.play(ACTS[what], typical(), layer, {"SUMO_FLUSH": "end"}, timeout_s=3.0, settle_max=3)
        for layer in (None, layer_folder)
    )
    ends = [
        (guest.outcome(one), guest.outcome(other))
        for one, other in zip(without.invocations, with_it.invocations, strict=True)
    ]
    unlike = [other for one, other in ends if one != other]
    section.row(what, f"otherwise: {'; '.join(unlike)}" if unlike else AS_EVER, with_it.words())
