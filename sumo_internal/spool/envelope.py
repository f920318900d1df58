"""The envelope of a batch: the request headers under which a writer's lines travel, and where to. Pure."""

from __future__ import annotations

import json

from sumo_internal.config import CLIENT, FIELD_VALUE_MAX_CHARS, FIELDS_MAX, PLACEHOLDERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sumo_internal.config import Config


DESTINATION = "destination"
"""Key of a segment's envelope that is no header: a digest of where its lines are to go. Two programs of one user have
one spool folder; each ships only the segments that say the same as its own settings."""

SPARED = "spared"
"""Another such key, of lines that may be nowhere else: CloudWatch was spared them (SUMO_CLOUDWATCH)."""


def addressed(headers: Mapping[str, str], config: Config, *, is_spared: bool = False) -> dict[str, str]:
    """The envelope of a process's segments.

    Args:
        headers: As :func:`request_headers` made them.
        config: The settings, which say where to.
        is_spared: CloudWatch does not get all lines.
    """
    return {**headers, DESTINATION: destination_id(config), **({SPARED: "yes"} if is_spared else {})}


def is_addressed(envelope: bytes, destination: str) -> bool:
    """Are a segment's lines to go where a process's go? Without an address, on either side, they are."""
    try:
        return not destination or json.loads(envelope).get(DESTINATION, destination) == destination
    except (ValueError, AttributeError, RecursionError):
        return True  # damaged: the drainer says so


def destination_id(config: Config) -> str:
    """64 bits that tell where lines go: the endpoint as the settings have it, its token, the failover bucket.

    FNV-1a, by hand: ``hashlib`` is a cost of each cold start, and this guards against a mix-up, not against an
    attacker. An endpoint's 100 random bits and more cannot be had from these 64.
    """
    digest = 0xCBF29CE484222325
    for byte in "\0".join((config.endpoint, config.token, config.bucket_name, config.bucket_region)).encode():
        digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"


_TAGS = {
    "service": ("DD_SERVICE", "OTEL_SERVICE_NAME", "service.name", "POWERTOOLS_SERVICE_NAME"),
    "env": ("DD_ENV", "deployment.environment.name", "deployment.environment"),
    "version": ("DD_VERSION", "service.version"),
}
"""The variables, and the attributes of OTEL_RESOURCE_ATTRIBUTES, in which each tag is looked for."""


def request_headers(config: Config, function_name: str, log_stream: str, version: str) -> dict[str, str]:
    """The request headers under which a function's lines travel, as Sumo's dashboards parse them.

    Their expressions are ``/aws/lambda/*`` for the host and ``*/[*]*`` for the name (Sumo's Lambda app, all queries),
    so a log stream of another form, which a custom log group gives, is rewritten.

    Args:
        config: The settings.
        function_name: AWS_LAMBDA_FUNCTION_NAME.
        log_stream: AWS_LAMBDA_LOG_STREAM_NAME.
        version: AWS_LAMBDA_FUNCTION_VERSION.
    """
    headers = {
        "X-Sumo-Host": config.source_host or f"/aws/lambda/{function_name}",
        "X-Sumo-Name": config.source_name or dashboard_stream(log_stream, version),
        "X-Sumo-Category": config.category,
        "X-Sumo-Fields": config.fields,
        "X-Sumo-Client": CLIENT,
    }
    return {name: value for name, value in headers.items() if value}


def filled(envelope: Mapping[str, str], values: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The envelope with the placeholders of SUMO_FIELDS filled.

    Args:
        envelope: Request headers.
        values: What stands for each of :data:`~sumo_internal.config.PLACEHOLDERS`, without its braces; empty where it
            is not known.

    Returns:
        The headers, without fields for which there is no value, and the placeholders of those.
    """
    fields = envelope.get("X-Sumo-Fields", "")
    if "{" not in fields:
        return dict(envelope), []
    kept, missing = [], []
    for pair in fields.split(","):
        places = [place for place in PLACEHOLDERS if place in pair]
        unknown = [place for place in places if not values.get(place[1:-1])]
        for place in places:
            pair = pair.replace(place, values.get(place[1:-1], ""))
        missing += unknown
        kept += [] if unknown else [pair]
    headers = {**envelope, "X-Sumo-Fields": ",".join(kept)}
    return {name: value for name, value in headers.items() if value}, missing


def values(environ: Mapping[str, str], account_id: str) -> dict[str, str]:
    """What stands for the placeholders in an environment."""
    return {
        "account": account_id,
        "region": environ.get("AWS_REGION", ""),
        "function": environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        "version": environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        "memory": environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", ""),
    }


def tags(environ: Mapping[str, str]) -> dict[str, str]:
    """``service``, ``env`` and ``version`` as other vendors' variables have them; what is not known, or no field's
    value, is left out."""
    pairs = [pair.partition("=") for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")]
    known = {**{name.strip(): value.strip() for name, _, value in pairs}, **environ}
    found = {tag: next(filter(None, (known.get(name) for name in names)), "") for tag, names in _TAGS.items()}
    return {tag: value for tag, value in found.items() if value and _is_field_value(value)}


def _is_field_value(text: str) -> bool:
    return len(text) <= FIELD_VALUE_MAX_CHARS and text.isascii() and text.isprintable() and not set(text) & set(",={}")


def tagged(envelope: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """The envelope with more fields, as far as there is room; one of the same name stays as it is."""
    pairs = [pair for pair in envelope.get("X-Sumo-Fields", "").split(",") if pair]
    names = {pair.partition("=")[0] for pair in pairs}
    pairs += [f"{name}={value}" for name, value in more.items() if name not in names]
    return {**envelope, "X-Sumo-Fields": ",".join(pairs[:FIELDS_MAX])} if pairs else dict(envelope)


def dashboard_stream(log_stream: str, version: str) -> str:
    """``YYYY/MM/DD/[version]id`` of a log stream.

    That is its form in a function's own log group. In a custom one it is ``YYYY/MM/DD/function[version][id]`` or
    ``YYYY/MM/DD/function[version]id``; a name of any other form becomes the id, without a date to show.
    """
    date, opened, rest = log_stream.partition("[")
    inner, closed, identity = rest.partition("]")
    parts = date.split("/")
    if opened and closed and len(parts) == 4 and all(part.isdigit() for part in parts[:3]):
        return f"{'/'.join(parts[:3])}/[{inner}]{identity.strip('[]')}"
    return f"/[{version}]{log_stream}" if log_stream else ""
