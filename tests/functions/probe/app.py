"""A function that does what its event asks for: the tests' hand inside the runtime process."""

import json
import logging
import os
import resource
import signal
import sys
import threading
import time

log = logging.getLogger("orders")
log.setLevel(logging.INFO)
print("loaded")


def handler(event, context):
    answer = {}
    for step in event["steps"]:
        kind, value = next(iter(step.items()))
        answer[kind] = STEPS[kind](value)
    return answer


def log_line(text):
    log.info("%s", text, extra={"order": text})


def print_line(text):
    print(text)


def write_stderr(text):
    print(text, file=sys.stderr)


def fail(text):
    raise KeyError(text)


def many(count):
    for number in range(count):
        log.info("line %d", number)
    return count


def endless(path):
    """Log until killed, and note in a file which line had been returned from."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in range(1_000_000):
        (print if number % 2 else log.info)(f"line {number}")
        os.pwrite(descriptor, b"%08d" % number, 0)


def surroundings(_):
    """What a program can see of how it was started."""
    main = sys.modules["__main__"]
    return {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "path": sys.path,
        "environ": dict(os.environ),
        "main": {name: repr(value)[:200] for name, value in sorted(vars(main).items()) if name != "__builtins__"},
        "spec": repr(main.__spec__),
        "flags": repr(sys.flags),
        "meta_path": [repr(finder) for finder in sys.meta_path],
        "thread": threading.current_thread().name,
        "threads": [thread.name for thread in threading.enumerate()],
        "root_handlers": [type(handler).__name__ for handler in logging.getLogger().handlers],
        "modules": sorted(name for name in sys.modules if name.startswith(("sumo_internal", "urllib3", "structlog"))),
        "cwd": os.getcwd(),
        "warnoptions": sys.warnoptions,
    }


def imported(name):
    """Import a package by its public name: where it comes from and its version, or the error."""
    try:
        module = __import__(name)
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return f"{module.__version__} {module.__file__}"


def put_on_path(folder):
    sys.path.insert(0, folder)


def remove_tmp(folder):
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))


def abandon(text):
    """Leave a child alone that is killed in the middle of a line, and never ask how it has ended."""
    if os.fork() == 0:
        print(text, end="")
        os.kill(os.getpid(), signal.SIGKILL)


def fork(text):
    child = os.fork()
    if child == 0:
        log_line(text)
        os._exit(0)
    os.waitpid(child, 0)


def spoil(name):
    """Have a function of a module, or a method of a class of it, raise once."""
    owner_name, _, attribute = name.rpartition(".")
    owner = sys.modules.get(owner_name)
    if owner is None:
        module_name, _, class_name = owner_name.rpartition(".")
        owner = getattr(sys.modules[module_name], class_name)
    real = getattr(owner, attribute)

    def raise_once(*_):
        setattr(owner, attribute, real)
        raise RuntimeError("spoiled")

    setattr(owner, attribute, raise_once)


def take_descriptors(seconds):
    """Leave no descriptor to this process, nor one that becomes free: for so long, or for good."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken, until, has_all = [], time.monotonic() + seconds, threading.Event()

    def take():
        while time.monotonic() < until:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                has_all.set()
                time.sleep(0.0001)
        for descriptor in taken:
            os.close(descriptor)

    threading.Thread(target=take, daemon=True).start()
    has_all.wait()


def break_elsewhere(name):
    """Have a function of a module raise in every thread that is not one of the function's own."""
    module_name, attribute = name.split(".")
    real = getattr(sys.modules[module_name], attribute)

    def broken(*arguments, **options):
        if threading.get_ident() not in {thread.ident for thread in threading.enumerate()}:
            raise RuntimeError("broken")
        return real(*arguments, **options)

    setattr(sys.modules[module_name], attribute, broken)


def refuse(prefix):
    """Have an audit hook of the function's own refuse events."""

    def hook(event, _):
        if event.startswith(prefix):
            raise PermissionError(f"{event} is refused")

    sys.addaudithook(hook)


STEPS = {
    "take_descriptors": take_descriptors,
    "break_elsewhere": break_elsewhere,
    "refuse": refuse,
    "log": log_line,
    "error": log.error,
    "print": print_line,
    "stderr": write_stderr,
    "fail": fail,
    "many": many,
    "endless": endless,
    "surroundings": surroundings,
    "import": imported,
    "path": put_on_path,
    "sleep": time.sleep,
    "exit": os._exit,
    "sys_exit": sys.exit,
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "remove_tmp": remove_tmp,
    "abandon": abandon,
    "fork": fork,
    "spoil": spoil,
    "raw": lambda text: os.write(1, text.encode()),
    "json": lambda value: print(json.dumps(value)),
    "environ": lambda name: os.environ.get(name),
}
