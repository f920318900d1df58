"""Statements of a program that logs and prints, and changes what a line goes through.

They are run by ``log_server.py``, with the layer and without, and show what they see in ``seen``.
"""

from __future__ import annotations

PRELUDE = """
import collections, contextlib, enum, faulthandler, inspect, io, logging, os, sys, threading, time, traceback, warnings
from types import SimpleNamespace
root, log, held = logging.getLogger(), logging.getLogger("orders"), logging.getLogger("held")
other = logging.getLogger("shop.basket.items")
handler, = root.handlers
root.setLevel(logging.INFO)
adapter = logging.LoggerAdapter(log, {"order": 17})
MADE = {'msg': 'made', 'levelno': 20, 'levelname': 'INFO'}
plain_adapter = logging.LoggerAdapter(log, None)

class Level(enum.IntEnum):
    INFO = 20
    WARNING = 30

class Says:
    def __init__(self, act): self.act = act
    def __str__(self): return str(self.act())
    __repr__ = __str__

class Text(str):
    def __str__(self): return "another text"
    def __mod__(self, other): return "another remainder"

class Number(int):
    def __str__(self): return "another number"
    __repr__ = __str__

class Equal(Exception):
    def __eq__(self, other): seen.append("__eq__"); return True
    __hash__ = None

class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = None
    def __repr__(self): return "ANY"
ANY = Any()

class Lock:
    def acquire(self): seen.append("acquired")
    def release(self): seen.append("released")
    def __enter__(self): seen.append("entered")
    def __exit__(self, *error): seen.append("left")

class Truth:
    def __bool__(self): return False

getframe = sys._getframe
def fails(*_, **__): raise LookupError("of the function")

def note(holder, name):
    own = getattr(holder, name)
    def noted(*arguments, **options):
        seen.append((name, stack()))
        return own(*arguments, **options)
    setattr(holder, name, noted)

def stack():
    return [(os.path.basename(frame.f_code.co_filename), line, frame.f_code.co_name)
            for frame, line in traceback.walk_stack(getframe(1))]

class Probe(logging.Handler):
    def emit(self, record):
        try:
            text = self.format(record)
        except Exception as error:
            text = repr(error)
        seen.append((text, record.funcName, record.lineno, record.pathname, record.module, record.levelname,
                     record.levelno, record.name, record.threadName, record.processName, record.stack_info,
                     stack()))

class Sees(logging.Filter):
    def filter(self, record):
        seen.append((record.funcName, record.lineno, stack()))
        return True

class Replaces(logging.Filter):
    def filter(self, record):
        made = logging.makeLogRecord(record.__dict__)
        made.msg, made.args = "replaced", ()
        return made

def trace(self, message, *arguments, **options):
    if self.isEnabledFor(25):
        self._log(25, message, arguments, **options)

class Own(logging.Logger): pass
class Locating(logging.Logger):
    def findCaller(self, *arguments, **options):
        seen.append(stack())
        return super().findCaller(*arguments, **options)
class Making(logging.Logger):
    def makeRecord(self, *arguments, **options):
        seen.append((arguments[2:5], stack()))
        return super().makeRecord(*arguments, **options)
class Calling(logging.Logger):
    def callHandlers(self, record):
        seen.append((record.getMessage(), stack()))
        super().callHandlers(record)
class Handling(logging.Logger):
    def handle(self, record):
        seen.append(record.lineno)
        super().handle(record)
class Logging(logging.Logger):
    def _log(self, level, msg, args, **options):
        super()._log(level, f"<{msg}>", args, **options)
class Short(logging.Logger):
    def _log(self, *arguments): seen.append(arguments)

def inner(how): how()
def outer(how): inner(how)
def of_class(kind):
    made = kind("orders.own")
    made.parent = log
    return made
"""
"""What the statements know."""

CALLS = [
    "log.info('paid')",
    "log.warning('order %s: %d', 'x', 3)",
    "log.debug('below')",
    "logging.info('root %s', 'r')",
    "logging.warning('root')",
    "other.error('deep %s', None)",
    "held.debug('below %s', 'x')",
    "held.debug('%d', 'x', extra={'order': 1})",
    "held.debug('x', extra={'message': 1}, exc_info=True, stack_info=True)",
    "held.info('shown')",
    "held.warning('shown', exc_info=True, stacklevel=2)",
    "log.critical('%r %s %.2f', True, 1, 2.0)",
    "log.log(20, 'by number')",
    "log.log(25, 'between')",
    "log.log(20.0, 'no int')",
    "log.log('INFO', 'no number')",
    "log.log(Level.INFO, 'of an enum')",
    "log.log(True, 'one')",
    "log.log(10**30, 'high')",
    "log._log(20.0, 'direct', ())",
    "log._log(20, 'direct', ())",
    "log._log(Level.WARNING, 'direct', ())",
    "log._log(20, 'list %s', ['x'])",
    "log._log(20, 'none', None)",
    "log._log([20], 'unhashable', ())",
    "log._log(level=20, msg='named %s', args=('x',))",
    "log._log(20)",
    "log.info('x', extra={'order': 1})",
    "log.info('x', extra={'message': 1})",
    "log.info('x', extra={'name': 1})",
    "log.info('x', extra={})",
    "log.info('x', extra=5)",
    "log.info('x', extra=ANY)",
    "log.info('x', extra=Equal())",
    "log.info('x', exc_info=True)",
    "log.info('x', exc_info=False)",
    "log.info('x', exc_info=0)",
    "log.info('x', exc_info=KeyError('x'))",
    "log.info('x', exc_info=(KeyError, KeyError('x'), None))",
    "log.info('x', exc_info=(1, 2))",
    "log.info('x', exc_info=ANY)",
    "log.info('x', exc_info=Equal())",
    "log.info('x', exc_info=Truth())",
    "log.info('x', stack_info=True)",
    "log.info('x', stack_info=Truth())",
    "log.info('x', stacklevel=2)",
    "log.info('x', stacklevel=50)",
    "log.info('x', stacklevel=0)",
    "log.info('x', stacklevel=-3)",
    "log.info('x', stacklevel=1.5)",
    "log.info('x', stacklevel=True)",
    "log.info('x', stacklevel=None)",
    "log.info('x', stacklevel='2')",
    "log.info('x', stacklevel=ANY)",
    "log.info('x', wrong=1)",
    "log.info()",
    "log.info(1)",
    "log.info(None)",
    "log.info(b'bytes')",
    "log.info(['list'])",
    "log.info({'a': 1})",
    "log.info({'a': 1}, 'x')",
    "log.info(Text('x'))",
    "log.info(Text('%s'), 1)",
    "log.info('%s %d', Text('x'), Number(1))",
    "log.info('%s')",
    "log.info('%s', 1, 2)",
    "log.info('paid', 1)",
    "log.info('%d', 'x')",
    "log.info('%(a)s', {'a': 1})",
    "log.info('%(a)s', {'b': 1})",
    "log.info('%(a)s', {})",
    "log.info('%(a)s', 'x')",
    "log.info('%s', {})",
    "log.info('%s', ())",
    "log.info('%s', collections.ChainMap({'a': 1}))",
    "log.info('100%')",
    "log.info('100%', 1)",
    "log.info('%c', 1114112)",
    "log.info('%*d|%-5s|%.3s|%x|%e|%c', 5, 1, 'ab', 'abcdef', 255, 1.5, 'x')",
    "log.info('%d %d', float('nan'), 1)",
    "log.info('%s', 10 ** 5000)",
    "log.info('\\ud800')",
    "log.info('%s', '\\udc80')",
    "log.info('nul \\0, bell \\a, \\x1b[31m, \\u2028, \\x85, \\ufeff, \U0001f600')",
    "log.info('ends\\n')",
    "log.info('ends\\n\\n')",
    "log.info('\\r\\nbegins')",
    "log.info('two\\nlines')",
    "log.info('')",
    "log.info(' ')",
    "log.info('{\"a\": 1}')",
    "log.info('{\"_aws\": {\"CloudWatchMetrics\": []}}')",
    "log.info('x' * 3999)",
    "log.info('x' * 4001)",
    "log.info('%s', '€' * 70000)",
    "log.info('%s', 'x\\n' * 9000)",
    "log.info('%s', 'x' * 61000)",
    "log.info('%s', Says(lambda: log.info('nested')))",
    "log.info(Says(lambda: log.info('nested')))",
    "log.info('%s', Says(lambda: print('printed within')))",
    "log.info(Says(lambda: fails()))",
    "log.info('%s', Says(lambda: fails()))",
    "log.info('%s', Says(lambda: root.removeHandler(handler))); root.addHandler(handler)",
    "log.info('%s', Says(lambda: root.handlers[2:] or root.addHandler(Probe()))); del root.handlers[-1]",
    "log.info('%s', Says(lambda: log.setLevel(40))); log.setLevel(0)",
    "log.info('%s', Says(lambda: sorted(sys._getframe(1).f_locals)[:0]))",
    "log.info('%s', Says(lambda: log.info('%s', log.info('nested in arguments'))))",
    "log.info('%s', Says(lambda: log.info(Says(lambda: log.info('twice')))))",
    "log.info('%s', Says(lambda: os.wait()[1] if os.fork() else os._exit(0)))",
    "adapter.info('adapted')",
    "adapter.info('adapted %s', 'x', extra={'b': 2})",
    "plain_adapter.info('adapted')",
    "logging.LoggerAdapter(adapter, {'c': 3}).warning('twice adapted')",
    "adapter._log(20, 'direct', ())",
    "trace(log, 'traced %s', 'x')",
    "trace(log, 'traced', stacklevel=2)",
    "inner(lambda: trace(log, 'traced'))",
    "outer(lambda: log.info('from within', stacklevel=3))",
    "log.makeRecord('n', 20, 'f', 1, 'm', (), None)",
    "log.handle(logging.LogRecord('n', 20, 'f', 1, 'made %s', ('x',), None))",
    "log.handle(logging.makeLogRecord({**MADE, 'created': 1700000000.25, 'msecs': 250.0}))",
    "log.handle(logging.makeLogRecord({**MADE, 'exc_info': ANY}))",
    "log.handle(logging.makeLogRecord({**MADE, 'stack_info': ANY}))",
    "log.handle(None)",
    "log.exception('no error')",
    "logging.exception('no error')",
    "try:\n    1 / 0\nexcept ZeroDivisionError: log.exception('divided')",
    "try:\n    1 / 0\nexcept ZeroDivisionError: log.info('divided %s', 'x')",
    "try:\n    log.info('%d', 'x')\nexcept Exception: log.info('again')",
    "of_class(Own).info('own')",
    "of_class(Locating).info('located')",
    "of_class(Locating).info('located', stacklevel=2)",
    "of_class(Making).info('made')",
    "of_class(Calling).info('called')",
    "of_class(Handling).info('handled')",
    "of_class(Logging).info('logged')",
    "of_class(Short).info('short')",
    "logging.Logger('alone').warning('alone')",
    "logging.getLogger('orders.new').info('of a new logger')",
    "logging.getLogger('orders.€').info('of a new logger')",
    "logging.getLogger(Text('orders.text')).info('of a new logger')",
    "warnings.warn('warned')",
    "warnings.warn('warned', stacklevel=2)",
    "warnings.warn_explicit('warned', UserWarning, 'app.py', 3)",
    "thread = threading.Thread(target=log.info, args=('in a thread %s', 'x')); thread.start(); thread.join()",
    "seen.append((log.isEnabledFor(20), log.hasHandlers(), logging.lastResort.level, len(root.handlers)))",
    "seen.append((log._log.__name__, log._log.__qualname__, log._log.__module__, log._log.__doc__))",
    "seen.append((str(inspect.signature(logging.Logger._log)), inspect.getsource(logging.Logger._log)))",
    "seen.append((str(inspect.signature(logging.Handler.handle)), logging.Handler.handle.__qualname__))",
    "seen.append((str(inspect.signature(type(handler).handle)), type(handler).handle.__qualname__))",
]  # fmt: skip
"""What logs."""

PRINTS = [
    "print('printed')",
    "print('printed', 17, sep=', ', end='!\\n', flush=True)",
    "print()",
    "print('', end='')",
    "print('half', end='')",
    "print('two\\nlines')",
    "print('€', '\\0', '\\x1b[1m')",
    "print('\\ud800')",
    "print('\\ud800', file=sys.stderr)",
    "print('x' * 5000)",
    "print(Says(lambda: print('nested') or 'outer'))",
    "print(Says(fails))",
    "print('x', file=sys.__stdout__)",
    "print('x', file=sys.stdout.buffer)",
    "print('x', wrong=1)",
    "seen.append(sys.stdout.write('written\\n'))",
    "seen.append(sys.stderr.write('written\\n'))",
    "seen.append(sys.__stdout__.write('written\\n'))",
    "seen.append(sys.__stdout__.write(''))",
    "sys.stdout.write(17)",
    "sys.stdout.write(b'bytes')",
    "sys.stdout.write(None)",
    "sys.stdout.write()",
    "sys.__stdout__.write(17)",
    "sys.stdout.write(Text('text\\n'))",
    "sys.stdout.writelines(['a\\n', 'b\\n'])",
    "sys.stdout.writelines('ab\\n')",
    "sys.stdout.writelines(['a\\n', 17, 'b'])",
    "sys.stdout.writelines(17)",
    "sys.stdout.writelines(text for text in ['a\\n', fails()])",
    "sys.stdout.writelines([])",
    "seen.append(sys.stdout.buffer.write(b'bytes\\n'))",
    "seen.append(sys.stdout.buffer.write(bytearray(b'\\xff\\xfe\\n')))",
    "seen.append(sys.stdout.buffer.write(memoryview('é\\n'.encode())))",
    "seen.append(sys.stdout.buffer.raw.write(b'raw\\n'))",
    "sys.stdout.buffer.write('text')",
    "sys.stdout.buffer.writelines([b'a', b'b\\n'])",
    "sys.stdout.buffer.writelines([b'a\\n', 'b'])",
    "sys.stdout.buffer.writelines([])",
    "seen.append(os.write(1, b'by descriptor\\n'))",
    "seen.append(os.write(2, b'by descriptor\\n'))",
    "open(1, 'w', closefd=False).write('by a file\\n')",
    "os.system('echo a child')",
    "traceback.print_exc()",
    "traceback.print_stack(limit=1)",
    "try:\n    1 / 0\nexcept ZeroDivisionError: traceback.print_exc()",
    "try:\n    1 / 0\nexcept ZeroDivisionError: traceback.print_exc(file=sys.stdout, limit=1, chain=False)",
    "try:\n    1 / 0\nexcept ZeroDivisionError as error: traceback.print_exception(error)",
    "try:\n    1 / 0\nexcept ZeroDivisionError: traceback.print_exception(*sys.exc_info(), None, sys.stdout)",
    "try:\n    1 / 0\nexcept ZeroDivisionError: sys.excepthook(*sys.exc_info())",
    "traceback.print_exception(1, 2)",
    "traceback.TracebackException.from_exception(KeyError('x')).print()",
    "thread = threading.Thread(target=fails, name='t'); thread.start(); thread.join()",
    "with contextlib.redirect_stdout(io.StringIO()) as text: print('redirected')\nseen.append(text.getvalue())",
    "with contextlib.redirect_stderr(io.StringIO()) as text: warnings.warn('x')\nseen.append(text.getvalue())",
    "with contextlib.redirect_stderr(io.StringIO()) as text: traceback.print_exc()\nseen.append(text.getvalue())",
    "with contextlib.redirect_stdout(sys.stderr): print('on stderr')",
    "with sys.stdout as stream: print('within', file=stream)",
    "it = io.TextIOWrapper(sys.stdout.buffer, write_through=True); print('wrapped', file=it); it.detach()",
    "faulthandler.enable(); seen.append(faulthandler.is_enabled()); faulthandler.disable()",
    "sys.displayhook('shown')",
    "class Final:\n    def __del__(self): fails()\nFinal()",
    "logging.StreamHandler().emit(logging.makeLogRecord({'msg': 'to stderr'}))",
    "logging.StreamHandler().handle(logging.makeLogRecord({'msg': '%d', 'args': ('x',)}))",
    *(
        f"seen.append(sys.{stream}.{name})"
        for stream in ("stdout", "stderr", "__stdout__", "__stderr__")
        for name in (
            "encoding", "errors", "newlines", "closed", "line_buffering", "write_through", "name", "mode", "fileno()",
            "isatty()", "readable()", "writable()", "seekable()", "buffer.name", "buffer.mode", "buffer.closed",
            "buffer.raw.fileno()", "buffer.raw.mode", "no_such_name", "read()", "buffer.read()", "buffer.no_such_name",
            "readline()", "buffer.peek()", "reconfigure()", "flush()", "buffer.flush()",
        )
    ),
    "iter(sys.__stdout__)",
    "list(sys.__stdout__)",
    "next(sys.__stdout__)",
    "repr(sys.__stdout__.encoding)",
    "seen.append(repr(sys.__stdout__))",
    "seen.append(repr(sys.__stdout__.buffer))",
    "seen.append(isinstance(sys.stdout, io.TextIOBase))",
    "seen.append([bool(sys.stdout), sys.__stdout__ == sys.__stdout__, sys.stdout.stream is sys.__stdout__])",
    "import copy; copy.copy(sys.__stdout__)",
    "import copy; copy.deepcopy(sys.__stdout__)",
    "import pickle; pickle.dumps(sys.__stdout__)",
]  # fmt: skip
"""What prints, or asks the streams."""

CHANGES = [
    "root.addHandler(Probe())",
    "log.addHandler(Probe())",
    "root.addHandler(Probe()); root.handlers[-1].setFormatter(logging.Formatter('%(funcName)s:%(lineno)d'))",
    "root.addHandler(logging.NullHandler())",
    "log.addHandler(logging.StreamHandler())",
    "log.addHandler(logging.StreamHandler(sys.stdout))",
    "root.removeHandler(handler)",
    "root.handlers = []",
    "root.handlers = (handler,)",
    "root.handlers = [handler, handler]",
    "log.handlers = collections.deque([Probe()])",
    "log.propagate = False",
    "root.propagate = False",
    "log.disabled = True",
    "root.disabled = True",
    "log.parent = None",
    "log.parent = other",
    "log.setLevel(40)",
    "log.setLevel(10)",
    "handler.setLevel(30)",
    "handler.setLevel('ERROR')",
    "handler.level = 20.5",
    "handler.lock = None",
    "handler.lock = threading.Lock()",
    "handler.lock = Lock()",
    "handler.createLock()",
    "handler.close()",
    "handler.name = 'mine'",
    "handler.addFilter(lambda record: seen.append(record.getMessage()) or True)",
    "handler.addFilter(lambda record: False)",
    "handler.addFilter(Replaces())",
    "handler.addFilter(logging.Filter('orders'))",
    "handler.addFilter(fails)",
    "handler.addFilter(Sees())",
    "handler.filters.reverse()",
    "handler.filters = tuple(handler.filters)",
    "handler.filters[:] = []",
    "log.addFilter(lambda record: False)",
    "log.addFilter(Replaces())",
    "log.addFilter(Sees())",
    "log.addFilter(fails)",
    "log.filters = ()",
    "log.name = 'renamed'",
    "log.name = 17",
    "log.name = type('Name', (str,), {})('orders')",
    "logging.disable(20)",
    "logging.disable(logging.NOTSET)",
    "root.manager.disable = 50",
    "root.manager.disable = '50'",
    "logging.raiseExceptions = False",
    "logging.logThreads = logging.logProcesses = logging.logMultiprocessing = logging.logAsyncioTasks = False",
    "logging._srcfile = None",
    "logging.lastResort = None",
    "logging.lastResort = Probe()",
    "logging.captureWarnings(True)",
    "warnings.simplefilter('always')",
    "warnings.simplefilter('error')",
    "warnings.showwarning = lambda *arguments, **options: seen.append(arguments[:2])",
    "logging.addLevelName(20, 'NOTE')",
    "logging.addLevelName(25, 'NOTICE')",
    "logging._levelToName.clear()",
    "logging.setLoggerClass(Locating); log = logging.getLogger('orders.located')",
    "logging.setLoggerClass(Logging); log = logging.getLogger('orders.logged')",
    "log.__class__ = Locating",
    "log.__class__ = Making",
    "log.__class__ = Calling",
    "log.__class__ = Handling",
    "log.__class__ = Logging",
    "log.__class__ = Short",
    "log._log = lambda *arguments, **options: seen.append(arguments)",
    "log.makeRecord = fails",
    "log.handle = lambda record: seen.append((record.getMessage(), record.lineno))",
    "log.callHandlers = lambda record: seen.append((record.getMessage(), stack()))",
    "log.findCaller = lambda *_: ('f', 1, 'g', None)",
    "log.filter = lambda record: seen.append(record.funcName)",
    "log.isEnabledFor = lambda level: False",
    "log.getEffectiveLevel = lambda: 40",
    "note(logging.Logger, '_log')",
    "own = logging.Logger._log; logging.Logger._log = own",
    "note(logging.Logger, 'makeRecord')",
    "note(logging.Logger, 'handle')",
    "note(logging.Logger, 'callHandlers')",
    "note(logging.Logger, 'findCaller')",
    "note(logging.Logger, 'filter')",
    "note(logging.Filterer, 'filter')",
    "own = logging.Handler.handle; logging.Handler.handle = lambda *a: (seen.append(a[1].getMessage()), own(*a))[1]",
    "own = logging.Handler.format; logging.Handler.format = lambda *a: own(*a).upper()",
    "note(logging.Handler, 'filter')",
    "note(type(handler), 'emit')",
    "note(type(handler), 'handle')",
    "note(logging.LogRecord, '__init__')",
    "own = logging.LogRecord.getMessage; logging.LogRecord.getMessage = lambda self: own(self).upper()",
    "logging.setLogRecordFactory(lambda *a, **o: (seen.append(a[2:6]), logging.LogRecord(*a, **o))[1])",
    "logging.setLogRecordFactory(type('Record', (logging.LogRecord,), {'getMessage': lambda self: 'own'}))",
    "logging.setLogRecordFactory(fails)",
    "logging._logRecordFactory = type('Record', (logging.LogRecord,), {'getMessage': lambda self: 'own'})",
    "note(logging, 'currentframe')",
    "logging.currentframe = fails",
    "sys._getframe = fails",
    "del sys._getframe",
    "note(sys, '_getframe')",
    "threading.current_thread().name = 'mine'",
    "own = logging.getLevelName; logging.getLevelName = lambda level: own(level).lower()",
    "own = logging.Formatter.formatTime; logging.Formatter.formatTime = lambda *a, **o: '12:00'",
    "logging.Formatter.converter = lambda *_: time.struct_time((1999, 1, 2, 3, 4, 5, 0, 1, 0))",
    "handler.setFormatter(logging.Formatter('%(levelname)s %(message)s\\n'))",
    "handler.setFormatter(logging.Formatter('%(pathname)s:%(lineno)d %(funcName)s %(message)s\\n'))",
    "handler.setFormatter(logging.Formatter('{levelname} {message}\\n', style='{'))",
    "handler.setFormatter(None)",
    "handler.formatter = SimpleNamespace(format=lambda record: 'mocked\\n')",
    "handler.formatter.datefmt = '%H'",
    "handler.formatter.default_msec_format = None",
    "logging.time = SimpleNamespace(**{**vars(time), 'time': lambda: 1e9 + 0.25, 'time_ns': lambda: 10**18 + 1})",
    "time.time, time.time_ns = lambda: 1e9 + 0.25, lambda: 10**18 + 250_000_000",
    "time.time = time.time_ns = fails",
    "time.gmtime = time.localtime = lambda *_: time.struct_time((1999, 1, 2, 3, 4, 5, 0, 1, 0))",
    "time.strftime = lambda *_: 'struck'",
    "import asyncio",
    "import multiprocessing",
    "logging.basicConfig(force=True, level=10, format='%(message)s')",
    "logging.basicConfig(level=10)",
    "import logging.config; logging.config.dictConfig({'version': 1})",
    "import logging.config; logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False})",
    "logging.shutdown()",
    "sys.stdout = io.StringIO()",
    "sys.stdout = sys.__stdout__",
    "sys.stdout = sys.stderr",
    "sys.stderr = sys.__stderr__",
    "sys.stdout = sys.stderr = None",
    "sys.stderr = None",
    "del sys.stdout",
    "sys.stdout.close()",
    "sys.stderr.close()",
    "sys.stdout.buffer.close()",
    "sys.stdout.detach()",
    "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), 'utf-8', line_buffering=True)",
    "sys.stdout = open(1, 'w', closefd=False, buffering=1)",
    "sys.stdout = io.TextIOWrapper(io.BufferedWriter(sys.stdout.buffer.raw), 'ascii', 'replace', line_buffering=True)",
    "sys.stdout.reconfigure(encoding='latin-1', errors='replace')",
    "sys.stdout.reconfigure(errors='strict'); sys.stderr.reconfigure(errors='strict')",
    "sys.stdout.write = lambda text: seen.append(text)",
    "sys.__stdout__.write = lambda text: seen.append(text)",
    "os.close(1)",
    "os.dup2(2, 1)",
    "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
    "saved = os.dup(1); os.dup2(2, 1); os.dup2(saved, 1)",
    "sys.setrecursionlimit(5000)",
    "os.fork() or (log.info('of a child'), print('of a child'), os._exit(0)); os.wait()",
]  # fmt: skip
"""What changes what a line goes through."""

SHORT = [
    "log.info('paid')",
    "log.info('order %s: %d', 'x', 3)",
    "log.info('again')",
    "logging.warning('root')",
    "other.error('deep')",
    "log.info('x', stacklevel=2)",
    "log.info('x', extra={'order': 1})",
    "trace(log, 'traced')",
    "inner(lambda: log.info('within'))",
    "try:\n    1 / 0\nexcept ZeroDivisionError: log.exception('divided')",
    "log.info('%d', 'x')",
    "log.info('\\ud800')",
    "print('printed')",
    "print('on stderr', file=sys.stderr)",
    "sys.stdout.write('written €\\n')",
    "sys.stdout.writelines(['a\\n', 'b\\n'])",
    "sys.stdout.writelines([])",
    "sys.stdout.buffer.write(b'bytes\\n'); sys.stdout.buffer.flush()",
    "os.write(1, b'by descriptor\\n')",
    "warnings.warn('warned')",
    "traceback.print_exception(KeyError('x'))",
    "thread = threading.Thread(target=log.info, args=('in a thread %s', 'x')); thread.start(); thread.join()",
    "handler.setLevel(0); log.info('later'); log.info('later')",
]  # fmt: skip
"""What is said after a change."""
