"""The layer as built: what is in it, that it is reproducible, and that each interpreter takes it as it lies."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import CodeType
from zipfile import ZipFile

import pytest

from layer.bare_sources import bare, bare_script
from layer.build import NOT_CARRIED, ROOT, SIZE_LIMIT_BYTES, unpack
from layer.compile_sources import stripped
from layer.interpreters import Interpreter, find
from layer.pack import TOGETHER, UNBUNDLED

INTERPRETERS = find()
PACKAGE = "python/sumo_internal/"
START = f"{PACKAGE}start.py"
DOOR = f"{PACKAGE}door/sitecustomize.py"
"""What an interpreter is started with: a script, which has no bytecode, and a module that leaves no trace of itself."""

on_each_interpreter = pytest.mark.parametrize("interpreter", INTERPRETERS, ids=str)


def ask(interpreter: Interpreter, script: str, *arguments: str) -> str:
    """Run a script on the bare interpreter: no site-packages, no environment, no bytecode written."""
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", script, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def copy_checkout(folder: Path) -> Path:
    """Copy what the build reads to another place, with new file times."""
    skipped = shutil.ignore_patterns("__pycache__", "dist")
    for name in ("sumo_internal", "wrapper", "layer", ".cache/wheels"):
        shutil.copytree(ROOT / name, folder / name, ignore=skipped, copy_function=shutil.copyfile)
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    if (ROOT / ".cache/debian").exists():  # interpreters that make test-python has fetched: the build looks for them
        (folder / ".cache/debian").symlink_to(ROOT / ".cache/debian")
    return folder


def run_build(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the build as ``make layer`` does, with an umask that takes everybody else's rights."""
    return subprocess.run(
        [sys.executable, "-m", "layer.build", *arguments],
        cwd=checkout,
        env=os.environ | variables,
        umask=0o077,
        capture_output=True,
        text=True,
    )


def modules(layer_zip: bytes) -> set[str]:
    """Return the paths of the modules that the layer itself imports: all but structlog's."""
    with ZipFile(io.BytesIO(layer_zip)) as layer:
        return {name for name in layer.namelist() if name.endswith(".py") and "/_structlog/" not in name}


def bytecode_of(module: str, interpreter: Interpreter) -> str:
    """Return the path at which an interpreter looks for a module's bytecode: its own file, or the bundle."""
    path = PurePosixPath(module)
    tag = f"cpython-{''.join(map(str, interpreter.version))}"
    if module.removeprefix(PACKAGE).removesuffix(".py") not in UNBUNDLED:
        return f"{PACKAGE}__pycache__/bundle.{tag}.bin"
    return f"{path.parent}/__pycache__/{path.stem}.{tag}.pyc"


def test_build_is_reproducible(layer_zip: bytes, tmp_path: Path) -> None:
    """The same sources give the same bytes from another directory, time zone, umask, hash seed and file times.

    Guards against a build path in bytecode and against frozensets in the order of random hashes.
    """
    checkout = copy_checkout(tmp_path / "another/place")
    built = run_build(checkout, TZ="Asia/Kathmandu", PYTHONHASHSEED="4711", PYTHONOPTIMIZE="1")
    assert built.returncode == 0, built.stderr
    assert (checkout / "layer/dist/sumo-internal-extension.zip").read_bytes() == layer_zip


def test_build_says_what_is_in_the_layer(layer_zip: bytes, tmp_path: Path) -> None:
    """``--unpack`` lays out the zip's files and writes no zip; the table names each interpreter, found or missing."""
    checkout = copy_checkout(tmp_path / "checkout")
    built = run_build(checkout, "--unpack", str(tmp_path / "opt"))
    assert built.returncode == 0, built.stderr
    assert not (checkout / "layer/dist").exists()
    unpack(layer_zip, tmp_path / "once more")  # an interpreter run as root may have left bytecode in the shared one
    assert listing(tmp_path / "opt") == listing(tmp_path / "once more")
    for minor in range(10, 15):
        is_found = any(each.version == (3, minor) for each in INTERPRETERS)
        said = rf"^bytecode 3\.{minor} +\d+ " if is_found else rf"no bytecode for .*3\.{minor}"
        assert re.search(said, built.stdout, re.MULTILINE)


def listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of every file in a folder, by path."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): (stat.S_IMODE(file.stat().st_mode), file.read_bytes()) for file in files}


def test_layer_is_small(layer_zip: bytes) -> None:
    """Under 2.25 MiB, with all six Pythons."""
    assert len(layer_zip) <= SIZE_LIMIT_BYTES


def test_build_refuses_a_large_layer(tmp_path: Path) -> None:
    """A layer over the limit fails the build and leaves no zip behind that somebody might publish."""
    checkout = copy_checkout(tmp_path)
    (checkout / "sumo_internal/large.py").write_text(f'TEXT = "{secrets.token_hex(SIZE_LIMIT_BYTES)}"\n')
    built = run_build(checkout)
    assert built.returncode == 1
    assert f"the limit is {SIZE_LIMIT_BYTES:,}" in built.stderr
    assert not (checkout / "layer/dist").exists()


def test_contents(layer_zip: bytes) -> None:
    """Wrapper, extension, package, licences, structlog, and bytecode of exactly what the layer imports."""
    with ZipFile(io.BytesIO(layer_zip)) as layer:
        names = layer.namelist()
        assert {info.date_time for info in layer.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    sources = modules(layer_zip)
    assert names == sorted(set(names))
    assert {name for name in names if not name.startswith(PACKAGE)} == {
        "sumo_wrapper",
        "extensions/sumo-internal-extension",
    }
    places = {source.relative_to(ROOT / "sumo_internal").as_posix() for source in ROOT.glob("sumo_internal/**/*.py")}
    package = {f"{PACKAGE}{place}" for place in places if not place.startswith(NOT_CARRIED)}
    assert len(package) < len(places), "the commands, and what sends for them, stay at home"
    assert sources == package
    assert not any("urllib3" in name for name in names)
    bytecode = {name for name in names if "/__pycache__/" in name}
    assert bytecode == {bytecode_of(source, each) for source in sources for each in INTERPRETERS}
    assert set(names) >= {
        f"{PACKAGE}LICENSE",
        f"{PACKAGE}_structlog/structlog-LICENSE-APACHE",
        f"{PACKAGE}_structlog/structlog-LICENSE-MIT",
        f"{PACKAGE}_structlog/structlog-NOTICE",
        f"{PACKAGE}_structlog/typing_extensions-LICENSE",
        f"{PACKAGE}_structlog/structlog/processors.py",
    }


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('"""Of two\nlines."""\n\nA = 1  # why\n', '""\n\n\nA = 1\n'),
        ('A = 1\n"""What it is."""  # and why\n', 'A = 1\n""\n'),
        ('class E(Exception):\n    """All of it."""\n', 'class E(Exception):\n    ""\n'),
        ("def f():\n    # first\n    return '# none', \"ä\" # one\n", "def f():\n\n    return '# none', \"ä\"\n"),
        ('def f(): "doc"; return 1\n', 'def f(): ""; return 1\n'),
        ('A = """\n# none\n"""\n', 'A = """\n# none\n"""\n'),
        ("A = (\n    1,  # ü\n    # two\n    2,\n)", "A = (\n    1,\n\n    2,\n)"),
    ],
)
def test_comments_and_docstrings_go(source: str, left: str) -> None:
    """What is left stands in the lines in which it stood."""
    assert bare(source.encode()).decode() == left


def test_a_scripts_comments_go() -> None:
    """The lines that are left, and the first one, stand where they stood; a comment behind a command is left."""
    script = "#!/bin/sh\n# why\n  # and\ncase $1 in\n*) echo '#'${1#-} ;; # or\nesac\n"
    assert bare_script(script.encode()).decode() == "#!/bin/sh\n\n\ncase $1 in\n*) echo '#'${1#-} ;; # or\nesac\n"


def test_a_source_without_comments_is_the_same_program(layer_folder: Path) -> None:
    """A module in the layer is the program of the one in the repository, line by line, but for its docstrings."""

    def program(source: bytes) -> list[object]:
        return list(_parts(compile(stripped(source), "module", "exec", dont_inherit=True, optimize=2)))

    carried = [file.relative_to(layer_folder / PACKAGE) for file in (layer_folder / PACKAGE).glob("**/*.py")]
    places = [place for place in carried if "_structlog" not in place.parts]
    assert len(places) > 50
    for place in places:
        in_layer, own = ((folder / place).read_bytes() for folder in (layer_folder / PACKAGE, ROOT / "sumo_internal"))
        assert program(in_layer) == program(own), place
        assert own.count(b"\n") == in_layer.count(b"\n")
    assert b"# " not in (layer_folder / PACKAGE / "spool/writer.py").read_bytes()


def _parts(code: CodeType) -> Iterator[object]:
    """Yield all that makes a code object what it is, its lines among that."""
    yield from (code.co_name, code.co_code, code.co_names, code.co_varnames, [line for *_, line in code.co_lines()])
    for constant in code.co_consts:
        yield from _parts(constant) if isinstance(constant, CodeType) else [repr(constant)]


def test_modes(layer_folder: Path) -> None:
    """Lambda's user, who owns none of it, may read everything and run the two scripts; nobody else's umask counts."""
    executables = {"sumo_wrapper", "extensions/sumo-internal-extension"}
    for path, (mode, _) in listing(layer_folder).items():
        assert mode == (0o755 if path in executables else 0o644), path
    assert {stat.S_IMODE(path.stat().st_mode) for path in layer_folder.rglob("*") if path.is_dir()} == {0o755}


@on_each_interpreter
def test_no_public_name_but_ours(interpreter: Interpreter, layer_folder: Path) -> None:
    """A function with the layer on its path and without urllib3 or structlog keeps its ImportError."""
    script = """
import importlib, json, pkgutil, sys
sys.path.append(sys.argv[1])
outcomes = {}
for name in ("urllib3", "structlog", "typing_extensions", "sumo_internal"):
    try:
        importlib.import_module(name)
        outcomes[name] = "found"
    except ImportError as error:
        outcomes[name] = str(error)
print(json.dumps([outcomes, [module.name for module in pkgutil.iter_modules([sys.argv[1]])]]))
"""
    outcomes, top_level = json.loads(ask(interpreter, script, str(layer_folder / "python")))
    assert outcomes == {
        "urllib3": "No module named 'urllib3'",
        "structlog": "No module named 'structlog'",
        "typing_extensions": "No module named 'typing_extensions'",
        "sumo_internal": "found",
    }
    assert top_level == ["sumo_internal"]


@on_each_interpreter
def test_imports_come_from_bytecode(interpreter: Interpreter, layer_zip: bytes, layer_folder: Path) -> None:
    """Every module of the package imports, and not one source is compiled."""
    script = """
import importlib, json, sys
folder, *names = sys.argv[1:]
compiled = []
sys.addaudithook(lambda event, details: event == "compile" and compiled.append(str(details[1])))
sys.path.append(folder)
for name in names:
    importlib.import_module(name)
public = [name for name in sys.modules if name.partition(".")[0] in ("urllib3", "structlog")]
print(json.dumps([[path for path in compiled if path.startswith(folder)], public]))
"""
    imported = modules(layer_zip) - {START, DOOR}
    names = sorted(re.sub(r"/__init__$", "", path[len("python/") : -len(".py")]).replace("/", ".") for path in imported)
    compiled_now, public = json.loads(ask(interpreter, script, str(layer_folder / "python"), *names))
    assert compiled_now == []
    assert public == []


@on_each_interpreter
@pytest.mark.parametrize(
    ("doors", "unneeded"),
    [
        (("launch", "wiring"), ["__future__"]),
        (("extension.lifecycle",), ["__future__", "json", "math", "re", "typing", "weakref"]),
    ],
    ids=["function", "extension"],
)
def test_a_start_reads_what_it_runs(
    doors: tuple[str, ...], unneeded: list[str], interpreter: Interpreter, layer_folder: Path
) -> None:
    """A start executes all modules that it reads from the bundle, compiles no expression, and imports no module of the
    library for a name or two. Guards against pieces that are put together otherwise than they are imported, and against
    what only type checkers need."""
    script = """
import __future__, importlib, json, logging, math, re, sys, typing, weakref
for name in sys.argv[2].split():
    del sys.modules[name]
re.purge()
sys.path.append(sys.argv[1])
for door in sys.argv[3:]:
    importlib.import_module("sumo_internal." + door)
from sumo_internal.imports import finder
needed = [name for name in sys.argv[2].split() if name in sys.modules]
print(json.dumps([sorted(finder._codes), [key[1] for key in re._cache], needed]))
"""
    found = json.loads(ask(interpreter, script, str(layer_folder / "python"), " ".join(unneeded), *doors))
    assert found == [[], [], []]


@on_each_interpreter
@pytest.mark.parametrize("doors", [("launch", "wiring"), ("extension.lifecycle",)], ids=["function", "extension"])
def test_a_first_drain_reads_what_it_runs(doors: tuple[str, ...], interpreter: Interpreter, layer_folder: Path) -> None:
    """So does the first drain of either process, which at 128 MB has little time: the extension's, at SHUTDOWN, reads
    nothing of the function's start. It may be the first to need what writes records, which is one piece."""
    script = """
import importlib, json, sys
sys.path.append(sys.argv[1])
for door in sys.argv[2:]:
    importlib.import_module("sumo_internal." + door)
from sumo_internal.imports import finder
print(json.dumps(sorted(finder._codes)))
"""
    drain = ("shipping.factory", "spool.reader", "net.client")
    left = set(json.loads(ask(interpreter, script, str(layer_folder / "python"), *doors, *drain)))
    writing = next(piece for piece in TOGETHER if "spool/writer" in piece)
    assert left <= (set(writing) if doors == ("extension.lifecycle",) else set())


@on_each_interpreter
def test_bytecode_is_unchecked_and_knows_no_build_path(
    interpreter: Interpreter, layer_zip: bytes, layer_folder: Path
) -> None:
    """Each pyc has its source's hash, is not checked against it, and names its source below /opt, nested code too."""
    script = """
import importlib.util, json, marshal, sys

def filenames(code):
    yield code.co_filename
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from filenames(constant)

found = {}
for source, bytecode in zip(sys.argv[1::2], sys.argv[2::2]):
    content = open(bytecode, "rb").read()
    assert content[:4] == importlib.util.MAGIC_NUMBER
    if bytecode.endswith(".pyc"):
        assert content[4:8] == b"\\1\\0\\0\\0", "PEP 552: bit 0 is hash-based, bit 1 is to be checked"
        assert content[8:16] == importlib.util.source_hash(open(source, "rb").read())
        code = marshal.loads(content[16:])
    else:
        begin = 8 + int.from_bytes(content[4:8], "little")
        name = source.partition("/sumo_internal/")[2][:-3]
        offset, size = marshal.loads(content[8:begin])[name]
        code = marshal.loads(content[begin + offset : begin + offset + size])[name]
    found[source] = sorted(set(filenames(code)))
print(json.dumps(found))
"""
    sources = modules(layer_zip)
    pairs = [str(layer_folder / path) for source in sources for path in (source, bytecode_of(source, interpreter))]
    found = json.loads(ask(interpreter, script, *pairs))
    assert found == {str(layer_folder / source): [f"/opt/{source}"] for source in sources}


@on_each_interpreter
def test_a_bundled_module_is_what_its_file_would_be(interpreter: Interpreter, layer_folder: Path) -> None:
    """Its path is where the layer lies, for tracebacks and for what looks around itself; nobody else's import changes.

    A module that is not in the bundle, or that a newer source has beside an interpreter's strange bundle, is found too.
    """
    script = """
import importlib, inspect, json, sys
hooks = [*sys.meta_path], [*sys.path_hooks], set(sys.path_importer_cache)
sys.path.append(sys.argv[1])
import sumo_internal.spool.writer as spool, sumo_internal.imports
folder = sys.argv[1] + "/sumo_internal"
assert ([*sys.meta_path], [*sys.path_hooks]) == hooks[:2]
own = {folder + ending for ending in ("", "/__pycache__", "/spool")}
assert set(sys.path_importer_cache) - hooks[2] <= {*sys.path, *own}
assert spool.__file__ == spool.Spool.append.__code__.co_filename == spool.__spec__.origin == folder + "/spool/writer.py"
assert inspect.getsource(spool.Spool).startswith("class Spool:")
assert importlib.reload(spool) is spool
try:
    import sumo_internal.nothing
except ModuleNotFoundError as error:
    assert error.name == "sumo_internal.nothing"
try:
    import sumo_internal.spool.nothing
except ModuleNotFoundError as error:
    assert error.name == "sumo_internal.spool.nothing"
    print(json.dumps("as ever"))
"""
    assert json.loads(ask(interpreter, script, str(layer_folder / "python"))) == "as ever"


@on_each_interpreter
def test_structlog_is_complete_where_it_lies(interpreter: Interpreter, layer_folder: Path) -> None:
    """With its folder on sys.path structlog imports and works, on Python 3.10 too, where it needs typing_extensions."""
    script = """
import sys
sys.path.append(sys.argv[1])
import structlog
structlog.configure([structlog.processors.add_log_level, structlog.processors.JSONRenderer(sort_keys=True)])
structlog.get_logger().info("paid", amount=3)
"""
    said = ask(interpreter, script, str(layer_folder / PACKAGE / "_structlog"))
    assert json.loads(said) == {"amount": 3, "event": "paid", "level": "info"}


def test_interpreters_answer_for_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only has the name (a failing shim, a talkative script, a dead link) hides no real one behind it on PATH."""
    for name, text in (("python3.10", "#!/bin/sh\nexit 127\n"), ("python3.11", "#!/bin/sh\necho 3.11\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3.12").symlink_to("nowhere")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find() == INTERPRETERS
