"""What the environment variables say, checked: names, defaults and meaning of Sumo's Go extension, and ours.

Pure: :func:`read` takes a mapping and gives values and sentences; it says nothing and touches nothing. A wrong value
never stops anything: it gets one sentence that names the variable, what is wrong with it and what is done instead.
No sentence repeats the endpoint, whose path is a credential.

The class :class:`Config` is the one place where a setting is defined; the documentation is made from it.
"""

from __future__ import annotations

from sumo_internal import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

CLIENT = f"sumo-internal-extension:{__version__}"
"""X-Sumo-Client, and LayerVersion of each record."""

_REGION = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
"""What the name of an AWS region can have."""

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
"""What Go's strconv.ParseBool takes: users bring their settings from a Go program."""


SECRETS = ("endpoint", "token")
"""Settings that no sentence may repeat."""

LOG_TYPES = ("platform", "function", "extension")
"""What the Telemetry API has, and SUMO_LOG_TYPES names."""

ON_DEMAND, SNAP_START, MANAGED = "on-demand", "snap-start", "lambda-managed-instances"
"""Lambda's modes, as AWS_LAMBDA_INITIALIZATION_TYPE has them; whatever else stands there is like the first.

==================  ============================================  ======================================================
mode                what Lambda does                              what that switches here
==================  ============================================  ======================================================
on demand           one request at a time, a freeze between them  nothing
SnapStart           many environments are restored from one       all that tells one environment from another is drawn
                    snapshot, taken when the init is over         anew in each copy; no connection is in the snapshot
Managed Instances   requests at a time, a process for each; no    nothing is registered for INVOKE; a line's request is
                    freeze, and no event of an invocation         the one that its own process serves, which only
                                                                  writes: the extension ships
==================  ============================================  ======================================================
"""
MODE_NAMES = {SNAP_START: "SnapStart", MANAGED: "Managed Instances"}
"""The modes as people call them."""

WRAPPER = "sumo_wrapper"
"""The file name by which AWS_LAMBDA_EXEC_WRAPPER is known to be ours, wherever the layer lies."""


class InvalidSettingError(ValueError):
    """A value that a setting cannot take; its text completes the sentence "SUMO_X … ".

    ``instead`` is the value to be used; None where that is the setting's default.
    """

    def __init__(self, problem: str, instead: object = None) -> None:
        super().__init__(problem)
        self.instead = instead


class UnsafeSettingError(InvalidSettingError):
    """A value of a setting that keeps something from leaving: without it, no message may leave."""


class Setting:
    """One variable: how it is read, and what it means to a user. Its name in :class:`Config` is where its value is."""

    __slots__ = ("variable", "attribute", "parse", "default", "meaning")

    def __init__(self, variable: str, parse: Callable[[str], Any], default: Any, meaning: str) -> None:
        self.variable = variable
        self.parse = parse
        self.default = default
        self.meaning = meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name


def _setting(variable: str, parse: Callable[[str], Any], default: Any, meaning: str) -> Any:
    """A :class:`Setting`, for the type checker the value that an instance of :class:`Config` has in its place."""
    return Setting(variable, parse, default, meaning)


def _folder(text: str) -> str:
    return text.rstrip("/") or "/"  # behind a slash at its end a link would be followed


def _account(text: str) -> str:
    if len(text) == 12 and text.isascii() and text.isdigit():
        return text
    raise InvalidSettingError("is not an AWS account's number, of 12 digits")


def _bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidSettingError("is neither true nor false")


def _number(least: float, most: float, unit: str, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise InvalidSettingError("is not a number" if unit[0] == "(" else f"is not a number of {unit}") from None
        if not least <= value <= most:
            raise InvalidSettingError(f"is not between {least} and {most} {unit}")
        return value

    return parse


def _clamped(least: int, most: int, unit: str) -> Callable[[str], int]:
    """A whole number; beyond the limits, which are AWS's, the nearest one counts, as in the Go extension."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise InvalidSettingError(f"is not a number of {unit}") from None
        if not least <= value <= most:
            raise InvalidSettingError(f"is not between {least} and {most} {unit}", max(least, min(value, most)))
        return value

    return parse


def _log_types(text: str) -> tuple[str, ...]:
    types = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in types:
        if word not in LOG_TYPES:
            raise InvalidSettingError(f"has {word[:20]!r}, which is none of {', '.join(LOG_TYPES)}")
    return tuple(name for name in LOG_TYPES if name in types)


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise InvalidSettingError(f"is none of {', '.join(choices)}")
        return text.lower()

    return parse


def _endpoint(text: str) -> str:
    """An address or token, the ARN of a secret or a parameter, or a ciphertext: which of them is :func:`_check`'s
    question."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidSettingError("has characters that no address or token can have")
    return text


def _header(text: str) -> str:
    """A header's value: printable ASCII (what a header may carry), one line."""
    if not text.isascii() or not text.isprintable():
        raise InvalidSettingError("has characters that a request header cannot carry")
    return text


CONTEXT_KEYS = ("trace_id", "invoked_arn")
"""What SUMO_CONTEXT_KEYS adds to records."""

FIELDS_MAX, FIELD_KEY_MAX_CHARS, FIELD_VALUE_MAX_CHARS = 30, 255, 200
"""Of X-Sumo-Fields: Sumo Logic's limits."""

PLACEHOLDERS = ("{account}", "{region}", "{function}", "{version}", "{memory}")
"""What a value of SUMO_FIELDS may have in it; filled when a batch is sent."""


def _fields(text: str) -> str:
    """``k=v,k2=v2`` within Sumo's limits."""
    pairs = [pair.strip() for pair in _header(text).split(",") if pair.strip()]
    for pair in pairs:
        key, _, value = pair.partition("=")
        if not key or not value or "=" in value:
            raise InvalidSettingError(f"has {pair!r}, which is not key=value")
        if len(key) > FIELD_KEY_MAX_CHARS or len(value) > FIELD_VALUE_MAX_CHARS:
            limits = f"a key over {FIELD_KEY_MAX_CHARS} or a value over {FIELD_VALUE_MAX_CHARS} characters"
            raise InvalidSettingError(f"has {limits} ({key[:20]}…)")
    if len(pairs) > FIELDS_MAX:
        raise InvalidSettingError(f"has {len(pairs)} fields; Sumo Logic accepts {FIELDS_MAX}")
    known = [pair for pair in pairs if not _unknown_places(pair)]
    for pair in pairs:
        for place in _unknown_places(pair):
            raise InvalidSettingError(f"has {place}, which is none of {', '.join(PLACEHOLDERS)}", ",".join(known))
    return ",".join(pairs)


def _unknown_places(pair: str) -> list[str]:
    """What stands in braces in a pair and is no placeholder."""
    words = [piece.partition("}") for piece in pair.split("{")[1:]]
    return [f"{{{word[:20]}}}" for word, closed, _ in words if closed and f"{{{word}}}" not in PLACEHOLDERS]


def _context_keys(text: str) -> tuple[str, ...]:
    for word in _words(text):
        if word not in CONTEXT_KEYS:
            raise InvalidSettingError(f"has {word[:20]!r}, which is none of {', '.join(CONTEXT_KEYS)}")
    return _words(text)


def _level(text: str) -> str:
    level = text.lower()
    return _choice("trace", "debug", "info", "warn", "error", "fatal", "panic")("warn" if level == "warning" else level)


_LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50, "fatal": 50}


def _least_level(text: str) -> int:
    if text.lower() not in _LEVELS:
        raise InvalidSettingError(f"is none of {', '.join(_LEVELS)}")
    return _LEVELS[text.lower()]


def _loggers(text: str) -> tuple[tuple[str, int], ...]:
    """Names of loggers, and the level from which each is recorded."""
    found = []
    for word in _words(text):
        name, _, level = (each.strip() for each in word.partition(":"))
        if not name or (level and level.lower() not in _LEVELS):
            raise InvalidSettingError(f"has {word[:40]!r}, which is not NAME or NAME:LEVEL ({', '.join(_LEVELS)})")
        found.append((name, _LEVELS[level.lower() or "debug"]))
    return tuple(found)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _processors(text: str) -> tuple[str, ...]:
    for name in _words(text):
        if not all(part.isidentifier() for part in name.split(".")) or "." not in name:
            raise UnsafeSettingError(f"has {name[:40]!r}, which is not module.attribute")
    return _words(text)


def _expressions(text: str) -> tuple[str, ...]:
    from sumo_internal.expressions import checked  # a start without such settings is not to pay for it

    try:
        return tuple(checked.sources(text))
    except checked.ExpressionRefusedError as problem:
        raise InvalidSettingError(str(problem)) from None


def _keeping(text: str) -> tuple[str, ...]:
    try:
        return _expressions(text)
    except InvalidSettingError as problem:
        raise InvalidSettingError(str(problem), ("",)) from None  # which is found in every line


def _guarding(text: str) -> tuple[str, ...]:
    try:
        return _expressions(text)
    except InvalidSettingError as problem:
        raise UnsafeSettingError(str(problem)) from None


class Config:
    """The settings, each of which is defined here and nowhere else; an instance has their values and never changes."""

    endpoint: str = _setting(
        "SUMO_HTTP_ENDPOINT",
        _endpoint,
        "",
        "Address of the HTTP source, or where it is kept: the ARN of a Secrets Manager secret or of an SSM parameter, "
        "or, with KMS_KEY_ID, a ciphertext. Required; a secret, unless a token goes with it.",
    )
    token: str = _setting(
        "SUMO_HTTP_TOKEN",
        _endpoint,
        "",
        "Token of a source whose address has no code in its path: sent as x-sumo-token. A secret; accepts what "
        "SUMO_HTTP_ENDPOINT accepts.",
    )
    is_disabled: bool = _setting(
        "SUMO_DISABLED",
        _bool,
        False,
        "Switches everything off: the wrapper only starts the runtime, and the extension idles.",
    )
    next_wrapper: str = _setting(
        "SUMO_NEXT_WRAPPER",
        str,
        "",
        "Another vendor's wrapper, whose place AWS_LAMBDA_EXEC_WRAPPER was: it is started after ours.",
    )
    flush: str = _setting(
        "SUMO_FLUSH",
        _choice("auto", "end", "next"),
        "auto",
        "When lines are shipped: after the response and before the freeze (end); during a later invocation (next); "
        "auto is end where invocations are rare and next where they are dense. Without effect on Managed Instances, "
        "where nothing freezes.",
    )
    flush_max_age_s: float = _setting(
        "SUMO_FLUSH_MAX_AGE_S",
        _number(0.1, 900, "seconds", float),
        5.0,
        "While the environment runs, no line waits longer than this many seconds.",
    )
    compression: str = _setting(
        "SUMO_COMPRESSION",
        _choice("auto", "gzip", "zstd", "none"),
        "auto",
        "How requests are compressed: auto is gzip. zstd needs Python 3.14; where Sumo Logic rejects it, gzip is sent. "
        "Objects in the failover bucket are always gzip.",
    )
    num_retries: int = _setting(
        "SUMO_NUM_RETRIES", _number(0, 100, "attempts"), 3, "Attempts at a batch after the first."
    )
    retry_sleep_ms: int = _setting(
        "SUMO_RETRY_SLEEP_TIME_MS",
        _number(0, 60_000, "milliseconds"),
        300,
        "The pause before the first retry; doubled each time, with jitter.",
    )
    spool_max_mb: int = _setting(
        "SUMO_SPOOL_MAX_MB",
        _number(3, 10_240, "megabytes"),
        128,
        "Limit of what lines that are not delivered yet take in /tmp; a quarter more for what other processes begin.",
    )
    memory_max_mb: int = _setting(
        "SUMO_MEMORY_MAX_MB",
        _number(0, 1_024, "megabytes"),
        8,
        "Limit of what lines take in memory while no file can be made for them (/tmp is full).",
    )
    spool_dir: str = _setting("SUMO_SPOOL_DIR", _folder, "/tmp/sumo-internal", "Folder of the spool.")
    has_failover: bool = _setting(
        "SUMO_ENABLE_FAILOVER", _bool, False, "Lines that the source does not accept go to S3."
    )
    bucket_name: str = _setting("SUMO_S3_BUCKET_NAME", str, "", "The failover bucket.")
    bucket_region: str = _setting("SUMO_S3_BUCKET_REGION", str, "", "The failover bucket's region.")
    bucket_owner: str = _setting(
        "SUMO_S3_BUCKET_OWNER",
        _account,
        "",
        "The account that has to own the failover bucket (12 digits): S3 rejects a bucket of that name elsewhere.",
    )
    kms_key_id: str = _setting(
        "KMS_KEY_ID", str, "", "The KMS key with which SUMO_HTTP_ENDPOINT (and SUMO_HTTP_TOKEN) was encrypted."
    )
    secret_cache_s: int = _setting(
        "SUMO_SECRET_CACHE_SECONDS",
        _number(0, 86_400, "seconds"),
        3600,
        "How long an endpoint fetched from KMS, Secrets Manager or SSM is kept, unless Sumo Logic rejects it.",
    )
    kms_cache_s: int | None = _setting(
        "KMS_CACHE_SECONDS",
        _number(0, 86_400, "seconds"),
        None,
        "The Go extension's name for SUMO_SECRET_CACHE_SECONDS: where it is set, it counts for what KMS decrypts.",
    )
    log_level: str = _setting("SUMO_LOG_LEVEL", _level, "info", "How much the extension says of itself on stderr.")
    processors: tuple[str, ...] = _setting(
        "SUMO_PROCESSORS",
        _processors,
        (),
        "structlog processors that every record of the function passes in order: module.attribute, comma separated.",
    )
    mask_keys: tuple[str, ...] = _setting(
        "SUMO_MASK_KEYS",
        _words,
        (),
        "Keys whose values become ***, at any depth, in JSON messages and in fields: comma separated, with * and ?.",
    )
    mask_patterns: tuple[str, ...] = _setting(
        "SUMO_MASK_PATTERNS",
        _guarding,
        (),
        "What becomes ***: a regular expression, or a JSON list of them; its groups, or the match where it has none.",
    )
    hash_patterns: tuple[str, ...] = _setting(
        "SUMO_HASH_PATTERNS", _guarding, (), "Likewise, for what becomes 16 hexadecimal digits, equal for equal values."
    )
    hash_salt: str = _setting("SUMO_HASH_SALT", str, "", "The key of these digests; required for them, and a secret.")
    exclude: tuple[str, ...] = _setting(
        "SUMO_EXCLUDE", _expressions, (), "A message in which one of these expressions is found is not shipped."
    )
    include: tuple[str, ...] = _setting(
        "SUMO_INCLUDE", _expressions, (), "Only messages in which one of these expressions is found are shipped."
    )
    rules_max_ms: int = _setting(
        "SUMO_RULES_MAX_MS",
        _number(1, 10_000, "milliseconds"),
        50,
        "CPU time that masks, hashes, exclude and include may take for one record; beyond it its message is withheld.",
    )
    least_level: int = _setting(
        "SUMO_LEVEL",
        _least_level,
        0,
        "Lines below this level are not shipped. A line without a level is INFO.",
    )
    max_mb_per_hour: float = _setting(
        "SUMO_MAX_MB_PER_HOUR",
        _number(0, 1_000_000, "megabytes", float),
        0.0,
        "Limit of what an environment ships in an hour: beyond it only WARNING and above are shipped until the hour is "
        "over; 0: no limit.",
    )
    sample_rate: float = _setting(
        "SUMO_SAMPLE",
        _number(0, 1, "(a share of the invocations)", float),
        1.0,
        "Share of the invocations (durable: of the executions) whose lines below WARNING are shipped; those of one "
        "that fails always are.",
    )
    marks_replays: bool = _setting(
        "SUMO_MARK_REPLAYS",
        _bool,
        True,
        'Of a durable execution: lines that a resume writes once more have "replay":true.',
    )
    drops_replays: bool = _setting(
        "SUMO_DROP_REPLAYS",
        _bool,
        False,
        "Of a durable execution: lines that a resume writes once more are not shipped, but counted.",
    )
    has_summaries: bool = _setting(
        "SUMO_INVOCATION_SUMMARY",
        _bool,
        False,
        "One record of type sumo.invocation at each invocation's end: duration, outcome, lines by level.",
    )
    debug_loggers: tuple[tuple[str, int], ...] = _setting(
        "SUMO_DEBUG_ON_FAILURE",
        _loggers,
        (),
        "Loggers (NAME[:LEVEL], comma separated, * for all) whose lines below the function's own level are kept until "
        "the invocation's end, and shipped if it fails.",
    )
    debug_slower_ms: int = _setting(
        "SUMO_DEBUG_SLOWER_MS",
        _number(0, 900_000, "milliseconds"),
        0,
        "What SUMO_DEBUG_ON_FAILURE and SUMO_SAMPLE hold back is also shipped of an invocation that takes longer; 0: "
        "of none.",
    )
    debug_max_mb: int = _setting(
        "SUMO_DEBUG_MAX_MB",
        _number(1, 1_024, "megabytes"),
        8,
        "Limit of what lines of SUMO_DEBUG_ON_FAILURE take in /tmp, in addition to SUMO_SPOOL_MAX_MB; the oldest "
        "beyond it are forgotten.",
    )
    is_5xx_failure: bool = _setting(
        "SUMO_FAILURE_5XX", _bool, False, "A response with a statusCode of 500 to 599 counts as a failure."
    )
    cloudwatch: str = _setting(
        "SUMO_CLOUDWATCH",
        _choice("all", "errors", "none"),
        "all",
        "Which of the function's lines still go to CloudWatch: all of them (all), those of WARNING and above (errors), "
        "only those that are not safe in the spool (none).",
    )
    cloudwatch_fallback_s: float = _setting(
        "SUMO_CLOUDWATCH_FALLBACK_S",
        _number(0, 86_400, "seconds", float),
        60.0,
        "So long after the first failed attempt lines begin to go to CloudWatch too, until lines are accepted again.",
    )
    cloudwatch_keep: tuple[str, ...] = _setting(
        "SUMO_CLOUDWATCH_KEEP",
        _keeping,
        (),
        "Lines in which one of these expressions is found go to CloudWatch in any case.",
    )
    category: str = _setting("SOURCE_CATEGORY_OVERRIDE", _header, "", "X-Sumo-Category of every request.")
    source_name: str = _setting("SUMO_SOURCE_NAME", _header, "", "X-Sumo-Name instead of the log stream.")
    source_host: str = _setting("SUMO_SOURCE_HOST", _header, "", "X-Sumo-Host instead of /aws/lambda/<function>.")
    fields: str = _setting(
        "SUMO_FIELDS",
        _fields,
        "",
        "X-Sumo-Fields of every request: key=value pairs, comma separated, 30 at most; in values {account}, {region}, "
        "{function}, {version} and {memory} are filled.",
    )
    has_tags: bool = _setting(
        "SUMO_UNIFIED_TAGS",
        _bool,
        False,
        "Adds service, env and version to X-Sumo-Fields, from DD_SERVICE and the like, or OpenTelemetry's variables.",
    )
    context_keys: tuple[str, ...] = _setting(
        "SUMO_CONTEXT_KEYS",
        _context_keys,
        (),
        "More keys of records: trace_id (with span_id, as OpenTelemetry's), invoked_arn (invokedFunctionArn).",
    )
    log_types: tuple[str, ...] = _setting(
        "SUMO_LOG_TYPES",
        _log_types,
        ("platform", "function"),
        "What is shipped: the platform's events (START, REPORT, …), the function's lines, lines of extensions.",
    )
    function_logs: str = _setting(
        "SUMO_FUNCTION_LOGS",
        _choice("auto", "process", "telemetry"),
        "auto",
        "Where the function's lines are taken from: its own process, or Lambda's Telemetry API; auto: its own process "
        "where the wrapper or a SumoHandler runs in it.",
    )
    has_programs: bool = _setting(
        "SUMO_CHILDREN",
        _bool,
        False,
        "Other programs in Python that the function starts (subprocess) are heard too, where they inherit PYTHONPATH "
        "and write to the function's own stdout or stderr. Children of fork and multiprocessing always are.",
    )
    is_enhanced: bool = _setting(
        "SUMO_ENHANCE_JSON_LOGS",
        _bool,
        True,
        'Off: the function\'s texts are sent as {"message": …} and its objects as they are, without any key of ours. '
        "Without id, lines that came twice cannot be told from lines that were written twice.",
    )
    multiline: str = _setting(
        "SUMO_MULTILINE",
        _choice("join", "split"),
        "join",
        "join: a JSON value, a value of pprint, a traceback is one record with all its lines; split: each line is one.",
    )
    is_ansi_stripped: bool = _setting(
        "SUMO_STRIP_ANSI", _bool, False, "Escape sequences that colour a terminal are left out of the records."
    )
    is_span_dropped: bool = _setting("SUMO_SPAN_DROP", _bool, False, "platform.runtimeDone is sent without its spans.")
    telemetry_timeout_ms: int = _setting(
        "TELEMETRY_TIMEOUT_MS",
        _clamped(25, 30_000, "milliseconds"),
        1_000,
        "How long Lambda collects events of the Telemetry API before it delivers them.",
    )
    telemetry_max_bytes: int = _setting(
        "TELEMETRY_MAX_BYTES",
        _clamped(262_144, 1_048_576, "bytes"),
        262_144,
        "So many bytes of them Lambda delivers at once.",
    )
    telemetry_max_items: int = _setting(
        "TELEMETRY_MAX_ITEMS", _clamped(1_000, 10_000, "events"), 10_000, "So many of them Lambda delivers at once."
    )

    withheld: str
    """Why no message may leave: a setting that keeps something from leaving cannot be used. Mostly empty."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: settings are read once")


SETTINGS: tuple[Setting, ...] = tuple(each for each in vars(Config).values() if isinstance(each, Setting))
"""In the order in which the documentation has them."""

WITHOUT_MEANING = {
    "SUMO_MAX_DATAQUEUE_LENGTH": "there is no queue in memory; SUMO_SPOOL_MAX_MB limits what waits in /tmp",
    "SUMO_MAX_CONCURRENT_REQUESTS": "one request at a time is what Sumo Logic asks its senders for",
    "SUMO_MAX_RETRY": "the Go extension does not read it either; SUMO_NUM_RETRIES counts",
}
"""Settings of the Go extension that are taken and do nothing, and why."""

WITHOUT_MEANING_IN = {
    MANAGED: {"SUMO_FLUSH": "on Managed Instances nothing freezes, and the extension ships while requests run"}
}
"""The same for settings that do nothing in one of Lambda's modes."""


def keeper_address(environ: Mapping[str, str]) -> str:
    """The abstract socket of the extension that keeps segments without files; empty outside Lambda.

    An environment has one Runtime API, so that its address names the environment.
    """
    address = environ.get("AWS_LAMBDA_RUNTIME_API")
    return f"\0sumo-internal/{address}/memory" if address else ""


def read(environ: Mapping[str, str]) -> tuple[Config, list[str]]:
    """Read all settings.

    Args:
        environ: The process's environment.

    Returns:
        The settings, and one sentence per problem, to be said by the caller. An empty variable counts as not set.
    """
    values: dict[str, Any] = {"withheld": ""}
    problems = []
    given = dict(environ)  # ``os.environ`` encodes each name that it is asked for: a tenth of a millisecond
    for setting in SETTINGS:
        values[setting.attribute] = setting.default
        text = given.get(setting.variable, "").strip()
        if not text:
            continue
        try:
            values[setting.attribute] = setting.parse(text)
        except UnsafeSettingError as problem:
            values["withheld"] = f"{setting.variable} cannot be used"
            problems.append(f"{setting.variable} {problem}; messages are withheld")
        except InvalidSettingError as problem:
            if problem.instead is not None:
                values[setting.attribute] = problem.instead
            used = default_text(setting) if problem.instead is None else _written(problem.instead)
            instead = f"{used} is used instead" if used else "it is left out"
            if problem.instead == ("",):
                instead = "all lines go to CloudWatch"
            shown = "" if setting.attribute in SECRETS else f"={text[:40]!r}"
            problems.append(f"{setting.variable}{shown} {problem}; {instead}")
    problems += _check(values)
    return Config(values), problems


def default_text(setting: Setting) -> str:
    """A setting's default as it stands in a variable; empty where no text says the same as a variable that is not set.
    """
    text = _written(setting.default)
    try:
        return text if setting.parse(text) == setting.default else ""
    except InvalidSettingError:
        return ""


def _written(value: Any) -> str:
    """A value as users write it: they know neither Python's texts nor its lists."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check(values: dict[str, Any]) -> list[str]:
    """Contradictions between settings, which it mends in ``values``; a sentence each."""
    problems = _check_regions(values)
    scheme, _, rest = values["endpoint"].partition("://")
    is_address = scheme.lower() in ("https", "http") and rest.partition("/")[0] != ""
    is_arn = values["endpoint"].startswith("arn:") and values["endpoint"].count(":") >= 5
    if values["endpoint"] and not (is_address or is_arn or values["kms_key_id"]):
        values["endpoint"] = ""
        problems.append(
            "SUMO_HTTP_ENDPOINT is neither the address of a Sumo Logic HTTP source nor an ARN, and KMS_KEY_ID is not "
            "set; it is left out"
        )
    if is_address and not values["token"] and _is_without_code(rest.partition("/")[2].rstrip("/")):
        problems.append("SUMO_HTTP_ENDPOINT has no code in its path, and SUMO_HTTP_TOKEN is not set")
    for variable, attribute in (("SUMO_S3_BUCKET_NAME", "bucket_name"), ("SUMO_S3_BUCKET_REGION", "bucket_region")):
        if values["has_failover"] and not values[attribute]:
            values["has_failover"] = False
            problems.append(f"SUMO_ENABLE_FAILOVER is on, and {variable} is not set; there is no failover")
    if values["hash_patterns"] and not values["hash_salt"]:
        values["withheld"] = "SUMO_HASH_SALT is not set"
        problems.append("SUMO_HASH_PATTERNS is set, and SUMO_HASH_SALT is not; messages are withheld")
    if values["drops_replays"] and not values["marks_replays"]:
        values["drops_replays"] = False
        problems.append("SUMO_DROP_REPLAYS is on, and SUMO_MARK_REPLAYS is off; replays are shipped, without a mark")
    return problems


def _is_without_code(path: str) -> bool:
    """Is this only what the paths of all sources have in common? Most starts do not get to the import."""
    if path.count("/") != 2:
        return False
    from sumo_internal.own_secrets import RECEIVER

    return f"/{path}" == RECEIVER


def _check_regions(values: dict[str, Any]) -> list[str]:
    """A region becomes a part of a host's name: with other characters than AWS's, that would be anybody's host."""
    problems = []
    for variable, attribute in (
        ("SUMO_HTTP_ENDPOINT", "endpoint"),
        ("SUMO_HTTP_TOKEN", "token"),
        ("KMS_KEY_ID", "kms_key_id"),
        ("SUMO_S3_BUCKET_REGION", "bucket_region"),
    ):
        region = values[attribute]
        if attribute != "bucket_region":
            region = [*region.split(":"), "", "", ""][3] if region.startswith("arn:") else ""
        if not _REGION.issuperset(region):
            values[attribute] = ""
            problems.append(f"{variable} names a region that has other characters than a-z, 0-9 and -; it is left out")
    return problems


def is_processed(config: Config) -> bool:
    """Does any setting say that lines are to be processed before they leave?"""
    rules = (config.processors, config.mask_keys, config.mask_patterns, config.hash_patterns)
    selection = (config.exclude, config.include, config.withheld, config.least_level, config.max_mb_per_hour)
    return any(rules) or any(selection) or config.sample_rate < 1


def remarks(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each setting that is there and has no meaning here."""
    without_meaning = {**WITHOUT_MEANING, **WITHOUT_MEANING_IN.get(mode(environ), {})}
    return [f"{name} has no meaning here: {why}" for name, why in without_meaning.items() if environ.get(name)]


def mode(environ: Mapping[str, str]) -> str:
    """Which of Lambda's modes is this: :data:`ON_DEMAND`, :data:`SNAP_START` or :data:`MANAGED`?

    The extension has only the variable with the initialization's type, a worker of Managed Instances both.
    """
    kind = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "")
    if environ.get("AWS_LAMBDA_MAX_CONCURRENCY"):
        return MANAGED
    return kind if kind in (SNAP_START, MANAGED) else ON_DEMAND


def unheeded(config: Config) -> list[str]:
    """What is set and has no effect where the function's own process does not hear its lines."""
    return [
        *([f"SUMO_CLOUDWATCH={config.cloudwatch}"] if config.cloudwatch != "all" else ()),
        *(["SUMO_DEBUG_ON_FAILURE"] if config.debug_loggers else ()),
        *(["SUMO_INVOCATION_SUMMARY"] if config.has_summaries else ()),
    ]


def is_in_process(config: Config, environ: Mapping[str, str]) -> bool:
    """Are the function's lines taken in its own process, as far as its settings tell?"""
    if config.function_logs != "auto":
        return config.function_logs == "process"
    return is_wrapped(environ)


def is_wrapped(environ: Mapping[str, str]) -> bool:
    """Is our wrapper named?"""
    return environ.get("AWS_LAMBDA_EXEC_WRAPPER", "").rpartition("/")[2] == WRAPPER
