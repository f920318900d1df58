"""What can be wrong with a function's set-up. Pure: functions of what is known about one function.

:data:`CHECKS` is the list; each check takes a :class:`Subject` and yields what it finds. What only a request can tell
(does the source answer, does the bucket take an object) is asked by :mod:`sumo_internal.cli.doctor` and judged in
:mod:`sumo_internal.cli.answers`; the words are in :mod:`sumo_internal.cli.findings`.

Values are read by :mod:`sumo_internal.config` and by nothing else: what the doctor says is what the function does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sumo_internal import config as configuration
from sumo_internal.cli.changes import (
    ATTACHED,
    LAYER_NAME,
    NEXT_WRAPPER,
    RUNTIMES,
    STARTS_ITS_OWN,
    WRAPPER,
    WRAPPER_PATH,
    is_go,
    mode_of,
    name_of,
    published_only,
    without_bytecode,
)
from sumo_internal.cli.findings import LEVELS, Finding, find
from sumo_internal.destinations import endpoint, s3
from sumo_internal.own_secrets import RECEIVER
from sumo_internal.shipping import flush_strategy

EXTENSION = "/opt/extensions/sumo-internal-extension"
PACKAGE = "/opt/python/sumo_internal/start.py"
FILES = (WRAPPER_PATH, EXTENSION, PACKAGE)
"""What the layer has to put below /opt, the first two with a run bit."""

SMALL_MEMORY_MB = 128
"""With 7 % of a core; from twice that on, a first request over TLS is nothing to speak of."""
DISK_MB = 512
"""Of /tmp, where a configuration does not say."""

NAME_CUTOFF = 0.85
"""difflib's ratio above which a user's variable is taken for a misspelt setting; KMS_KEY_ARN and KMS_KEY_ID have
0.76."""
OWN_NAME_CUTOFF = 0.78
"""... where it begins with SUMO, and so is meant for Sumo Logic; SUMO_ACCESS_KEY, of its API, and SUMO_MASK_KEYS have
0.76."""
MEANT = {"SUMO_SOURCE_CATEGORY": "SOURCE_CATEGORY_OVERRIDE", "SUMO_CATEGORY": "SOURCE_CATEGORY_OVERRIDE"}
"""Names that look like another setting's name, or like no setting's, and the setting that was meant."""
PATH_CUTOFF = 0.8

NEED_THE_WRAPPER = {
    "SUMO_CHILDREN": "Lambda's Telemetry API has what other programs write anyway; a SumoHandler never has it.",
    "SUMO_DEBUG_ON_FAILURE": "Lines that the function does not show are nowhere else.",
}
"""Settings that act under the wrapper only, and what is so without it."""

VENDORS = {
    "/opt/otel-instrument": "OpenTelemetry's",
    "/opt/otel-handler": "OpenTelemetry's",
    "/opt/datadog_wrapper": "Datadog's",
    "/opt/dynatrace": "Dynatrace's",
    "/opt/bootstrap": "the Lambda Web Adapter's",
}


@dataclass(frozen=True)
class Subject:
    """What is known about a function.

    Attributes:
        variables: its environment variables.
        function: its configuration, as ``aws lambda get-function-configuration`` prints it; empty where only the
            variables are known.
        modes: permission bits of :data:`FILES`, None for one that is missing; empty where the files were not looked at.
        bytecode: the runtimes whose bytecode the layer brings; None where that is not known.
        filters: names of the metric and subscription filters on its log group; empty where that is not known.
        filters_problem: AWS's error where they may not be listed.
    """

    variables: Mapping[str, str]
    function: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, int | None] = field(default_factory=dict)
    bytecode: frozenset[str] | None = None
    filters: tuple[str, ...] = ()
    filters_problem: str = ""

    @property
    def config(self) -> configuration.Config:
        return configuration.read(self.variables)[0]

    @property
    def name(self) -> str:
        """The function's, or what stands for it in a command."""
        return str(self.function.get("FunctionName") or self.variables.get("AWS_LAMBDA_FUNCTION_NAME") or "FUNCTION")

    @property
    def log_group(self) -> str:
        """Where its lines are at CloudWatch."""
        return str((self.function.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{self.name}")

    @property
    def mode(self) -> str:
        """Which of Lambda's modes the function runs in."""
        return mode_of(self.function, self.variables)

    @property
    def is_image(self) -> bool:
        return self.function.get("PackageType") == "Image"


def check(subject: Subject) -> list[Finding]:
    """All findings, the worst first; of a function that the layer is not for, and that has none of it, that alone."""
    found = [finding for each in ((check_runtime,) if _is_foreign(subject) else CHECKS) for finding in each(subject)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _is_foreign(subject: Subject) -> bool:
    """Is the runtime none that the layer is for, and nothing of the layer there?"""
    runtime = subject.function.get("Runtime") or ""
    is_ours = subject.variables.get(WRAPPER) == WRAPPER_PATH or any(map(_is_ours, _layers(subject)))
    return bool(runtime) and runtime not in RUNTIMES and not is_ours


def _layers(subject: Subject) -> list[str]:
    """The ARNs of a function's layers."""
    return [layer["Arn"] for layer in subject.function.get("Layers") or []]


def _is_ours(layer: str) -> bool:
    """Is this our layer, also under a name that goes on behind the usual one?"""
    return name_of(layer).startswith(LAYER_NAME)


def check_names(subject: Subject) -> Iterator[Finding]:
    """Variables that nothing reads, though they were probably meant to be read."""
    settings = {setting.variable for setting in configuration.SETTINGS}
    known = {*settings, *configuration.WITHOUT_MEANING, WRAPPER, NEXT_WRAPPER, ATTACHED}
    for name in sorted(subject.variables.keys() - known):
        is_ours = name.upper().startswith("SUMO")
        cutoff = OWN_NAME_CUTOFF if is_ours else NAME_CUTOFF
        candidates = sorted(known - {ATTACHED} - subject.variables.keys())
        near = difflib.get_close_matches(MEANT.get(name, name).upper(), candidates, 1, cutoff)
        if near:
            yield find("variable-misspelt", name=name, near=near[0])
        elif is_ours:
            yield find("variable-unknown", name=name)
    for name, why in configuration.WITHOUT_MEANING.items():
        if name in subject.variables:
            yield find("variable-of-go", name=name, why=f"{why[0].upper()}{why[1:]}.")
    for name, why in configuration.WITHOUT_MEANING_IN.get(subject.mode, {}).items():
        if name in subject.variables:
            kind = configuration.MODE_NAMES[subject.mode]
            yield find("variable-of-other-modes", name=name, kind=kind, why=f"{why[0].upper()}{why[1:]}.")


def check_values(subject: Subject) -> Iterator[Finding]:
    """What the settings' own reader complains about, in its words."""
    defaults = {setting.variable: configuration.default_text(setting) for setting in configuration.SETTINGS}
    for problem in configuration.read(subject.variables)[1]:
        name = next(name for name in sorted(defaults, key=len, reverse=True) if problem.startswith(name))
        missing = [variable for variable in defaults if f"{variable} is not set" in problem]
        if "SUMO_HTTP_TOKEN" in missing:
            yield find("token-missing")
        elif name == "SUMO_HTTP_ENDPOINT":
            yield find("endpoint-value", problem=problem)
        elif name == "SUMO_ENABLE_FAILOVER" and missing:
            yield find("failover-incomplete", problem=problem, missing=missing[0])
        elif problem.endswith("messages are withheld"):
            yield find("variable-unsafe", problem=problem, name=name)
        else:
            yield find("variable-value", problem=problem, name=name, default=defaults[name] or "none")


def check_endpoint(subject: Subject) -> Iterator[Finding]:
    """Where lines are to go, as far as its form tells."""
    config = subject.config
    scheme, _, address = config.endpoint.partition("://")
    if config.is_disabled:
        yield find("disabled")
    if "function" not in config.log_types:
        yield find("log-types", types=",".join(config.log_types))
    if not subject.variables.get("SUMO_HTTP_ENDPOINT", "").strip():
        yield find("endpoint-missing")
    if config.endpoint.startswith("arn:") and config.endpoint.split(":")[2] not in ("secretsmanager", "ssm"):
        yield find("endpoint-arn")
    if address:
        if scheme.lower() == "http":
            yield find("endpoint-http")
        if RECEIVER not in address:
            yield find("endpoint-path")
        if RECEIVER not in address or endpoint.has_code(config.endpoint):
            yield find("endpoint-plain")
        if endpoint.has_code(config.endpoint) and config.token:
            yield find("token-unused")
    if config.token and not config.token.startswith("arn:") and not _is_encrypted(config):
        yield find("token-plain")


def check_secrets(subject: Subject) -> Iterator[Finding]:
    """Settings of secrets that do not go together."""
    config = subject.config
    if config.kms_key_id and config.endpoint and not (_is_ciphertext(config) or _is_encrypted(config)):
        yield find("kms-unused")
    if config.kms_cache_s is not None and not config.kms_key_id:
        yield find("kms-cache-unused")


def _is_ciphertext(config: configuration.Config) -> bool:
    return bool(config.endpoint) and not config.endpoint.startswith("arn:") and "://" not in config.endpoint


def _is_encrypted(config: configuration.Config) -> bool:
    """Is the token a ciphertext?"""
    return bool(config.kms_key_id) and endpoint.is_ciphertext(config.token)


def check_failover(subject: Subject) -> Iterator[Finding]:
    """Is there a bucket, where one is meant?"""
    config = subject.config
    is_asked_for = subject.variables.get("SUMO_ENABLE_FAILOVER", "").strip().lower() in ("1", "t", "true")
    if config.has_failover or is_asked_for:  # incomplete, it is a matter of values
        return
    yield find("failover-off" if config.bucket_name or config.bucket_region else "failover-none")


def check_wrapper(subject: Subject) -> Iterator[Finding]:
    """What is in Lambda's single slot for a wrapper."""
    slot, after = subject.variables.get(WRAPPER, ""), subject.variables.get(NEXT_WRAPPER, "")
    if after and slot != WRAPPER_PATH:
        yield find("wrapper-next")
    elif after == WRAPPER_PATH:
        yield find("wrapper-loop")
    if slot in STARTS_ITS_OWN or (slot == WRAPPER_PATH and after in STARTS_ITS_OWN):
        if subject.config.function_logs == "auto":
            its = slot if slot in STARTS_ITS_OWN else after
            yield find("wrapper-program", slot=its, whose=VENDORS.get(its, "another"))
        return
    if slot == WRAPPER_PATH or subject.is_image or subject.config.function_logs != "auto":
        return
    file_name = slot.rpartition("/")[2].replace("-", "_").lower()
    if not slot:
        yield find("wrapper-missing")
    elif difflib.get_close_matches(file_name, ["sumo_wrapper"], 1, PATH_CUTOFF):
        yield find("wrapper-path", slot=slot)
    else:
        yield find("wrapper-taken", slot=slot, whose=VENDORS.get(slot, "another"))


def check_files(subject: Subject) -> Iterator[Finding]:
    """The layer's files, where they were looked at."""
    for path, mode in subject.modes.items():
        if mode is None:
            yield find("file-missing", path=path)
        elif path != PACKAGE and not mode & 0o111:
            yield find("file-mode", path=path, mode=f"{mode & 0o777:03o}")


def check_runtime(subject: Subject) -> Iterator[Finding]:
    """What the function runs on, and what Lambda calls."""
    function = subject.function
    runtime = function.get("Runtime") or ""
    if runtime and runtime not in RUNTIMES:
        yield find("runtime", runtime=runtime, least=RUNTIMES[0], most=RUNTIMES[-1])
        return
    if subject.is_image and WRAPPER_PATH not in _entry_point(function):
        yield find("image")
    if reason := published_only(function, subject.variables):
        yield find("published-versions", reason=reason, function=subject.name)
    handler = function.get("Handler") or subject.variables.get("_HANDLER", "")
    if handler and not subject.is_image and ("." not in handler.strip(".") or handler.startswith("sumo_internal")):
        yield find("handler", handler=handler)


def _entry_point(function: Mapping[str, Any]) -> list[str]:
    image = (function.get("ImageConfigResponse") or {}).get("ImageConfig") or {}
    return list(image.get("EntryPoint") or [])


def check_durable(subject: Subject) -> Iterator[Finding]:
    """What a durable function needs, and what only such a one does."""
    is_durable = bool(subject.function.get("DurableConfig"))
    is_in_process = configuration.is_in_process(subject.config, subject.variables)
    if is_durable and not is_in_process and not subject.is_image and "function" in subject.config.log_types:
        yield find("durable-telemetry")
    for name in ("SUMO_DROP_REPLAYS", "SUMO_MARK_REPLAYS"):
        if subject.function and not is_durable and subject.variables.get(name):
            yield find("replays-unused", name=name)


def check_resources(subject: Subject) -> Iterator[Finding]:
    """Time, memory, disk and network against what the settings ask for."""
    config, function = subject.config, subject.function
    enough_s = flush_strategy.HOLD_MAX_S + flush_strategy.DEADLINE_MARGIN_S
    if config.flush != "next" and subject.mode != configuration.MANAGED:  # where nothing is held
        timeout_s, memory_mb = function.get("Timeout"), function.get("MemorySize")
        if timeout_s is not None and timeout_s < enough_s:
            margin_s = flush_strategy.DEADLINE_MARGIN_S
            ceiling_s = int(enough_s) + 1
            yield find("timeout", timeout_s=timeout_s, flush=config.flush, margin_s=margin_s, enough_s=ceiling_s)
        if memory_mb is not None and memory_mb <= SMALL_MEMORY_MB:
            yield find("memory", memory_mb=memory_mb, flush=config.flush)
    if not f"{config.spool_dir}/".startswith("/tmp/"):
        yield find("spool-folder", folder=config.spool_dir)
    disk_mb = (function.get("EphemeralStorage") or {}).get("Size", DISK_MB)
    if config.spool_max_mb > disk_mb:
        yield find("spool-size", spool_mb=config.spool_max_mb, disk_mb=disk_mb, half_mb=disk_mb // 2)
    if (function.get("VpcConfig") or {}).get("SubnetIds"):
        yield find("vpc")


def check_cloudwatch(subject: Subject) -> Iterator[Finding]:
    """SUMO_CLOUDWATCH acts, nothing starves of it, and what the platform writes agrees with it."""
    config = subject.config
    value = config.cloudwatch
    if value == "all":
        return
    if config.is_disabled or not _may_be_wrapped(subject) or subject.mode == configuration.MANAGED:
        yield find("cloudwatch-idle", value=value)
        return
    if config.mask_keys or config.mask_patterns or config.hash_patterns or config.processors:
        yield find("cloudwatch-unmasked", value=value)
    if subject.filters:
        yield find("cloudwatch-filters", value=value, filters=", ".join(subject.filters))
    if subject.filters_problem:
        yield find("cloudwatch-filters-unseen", value=value, code=subject.filters_problem)
    logging = subject.function.get("LoggingConfig") or {}
    if subject.function and logging.get("SystemLogLevel") != "WARN":
        yield find("cloudwatch-platform", value=value, function=subject.name)


def check_idle(subject: Subject) -> Iterator[Finding]:
    """Settings that act under the wrapper are set where it hears nothing."""
    config = subject.config
    asked_for = {"SUMO_CHILDREN": config.has_programs, "SUMO_DEBUG_ON_FAILURE": bool(config.debug_loggers)}
    if config.is_disabled or _may_be_wrapped(subject):  # that it is switched off is said
        return
    for name, why in NEED_THE_WRAPPER.items():
        if asked_for[name]:
            yield find("setting-idle", name=name, why=why)


def _may_be_wrapped(subject: Subject) -> bool:
    """May the wrapper hear the function's lines? An image, or a program behind another wrapper, may start it."""
    if subject.config.function_logs == "telemetry" or "function" not in subject.config.log_types:
        return False
    slot = subject.variables.get(WRAPPER, "")
    return slot == WRAPPER_PATH or slot in STARTS_ITS_OWN or subject.is_image


def check_layers(subject: Subject) -> Iterator[Finding]:
    """Our layer is there, once, and Sumo's other one is not."""
    if not subject.function or subject.is_image:
        return
    layers = _layers(subject)
    ours = [*filter(_is_ours, layers)]
    of_go = [*filter(is_go, layers)]
    if not ours:
        yield find("layer-unknown" if len(layers) > len(of_go) else "layer-missing", function=subject.name)
    if len(ours) > 1:
        yield find("layer-twice", count=len(ours), layers=", ".join(ours), surplus=", ".join(ours[:-1]))
    runtime = subject.function.get("Runtime") or ""
    if ours and subject.bytecode is not None and runtime in RUNTIMES and runtime not in subject.bytecode:
        yield find("layer-bytecode", runtime=runtime, without=without_bytecode(runtime))
    if of_go:
        yield find("layer-go", layers=", ".join(of_go), function=subject.name)


CHECKS = (
    check_names,
    check_values,
    check_endpoint,
    check_secrets,
    check_failover,
    check_wrapper,
    check_files,
    check_runtime,
    check_durable,
    check_resources,
    check_cloudwatch,
    check_idle,
    check_layers,
)


def permissions(subject: Subject) -> list[dict[str, Any]]:
    """What the function's role has to be allowed, as statements of a policy."""
    config = subject.config
    region = config.bucket_region or subject.variables.get("AWS_REGION", "")
    partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rpartition("-")[0].rpartition("-")[0], "aws")
    needed: list[dict[str, Any]] = []
    if config.has_failover:
        function = "*" if subject.name == "FUNCTION" else subject.name
        objects = f"arn:{partition}:s3:::{config.bucket_name}/{s3.PREFIX}/*/{function}/*"
        owner = {"StringEquals": {"aws:ResourceAccount": config.bucket_owner}} if config.bucket_owner else {}
        needed.append(_allow("s3:PutObject", objects, owner))
    for secret in dict.fromkeys((config.endpoint, config.token)):
        service = secret.split(":")[2] if secret.startswith("arn:") else ""
        if service in ("secretsmanager", "ssm"):
            action = {"secretsmanager": "secretsmanager:GetSecretValue", "ssm": "ssm:GetParameter"}[service]
            needed.append(_allow(action, secret))
    if config.kms_key_id and (_is_ciphertext(config) or _is_encrypted(config)):
        needed.append(_allow("kms:Decrypt", *_key(config.kms_key_id, partition)))
    return needed


def _allow(action: str, resource: str, condition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A statement of a policy."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, "Condition": dict(condition)} if condition else statement


def _key(given: str, partition: str) -> tuple[str, dict[str, Any]]:
    """KMS_KEY_ID as a policy's resource, and the condition that it needs: an alias is no name of a key there."""
    name = given if given.startswith("alias/") else f"key/{given}"
    arn = given if given.startswith("arn:") else f"arn:{partition}:kms:*:*:{name}"
    before, is_alias, alias = arn.partition(":alias/")
    if not is_alias:
        return arn, {}
    return f"{before}:key/*", {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{alias}"}}
