"""The envelope of a batch: the request headers under which a writer's lines travel. Pure."""

from __future__ import annotations

from sumo_internal.config import CLIENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.config import Config


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
