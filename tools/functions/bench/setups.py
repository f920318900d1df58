"""How the measured function logs: as the runtime has it, or with a library that its owner could have chosen instead.

Each set-up does what the library's documentation asks for, no more, and sends to the address in ``BENCH_SINK``. It
returns the handler, wrapped where the library wants that. Nothing is imported that is not asked for.
"""

import logging
import os


def set_up(handler):
    return globals()[os.environ.get("BENCH_SETUP", "as_is")](handler)


def as_is(handler):
    return handler


def _replace(*handlers):
    logging.getLogger().handlers[:] = handlers


def null(handler):
    """The least that logging can do."""
    _replace(logging.NullHandler())
    return handler


def null_debug(handler):
    """The same, with lines of DEBUG."""
    logging.getLogger("orders").setLevel(logging.DEBUG)
    return null(handler)


def stream(handler):
    """The least that writes something."""
    _replace(logging.StreamHandler(open("/dev/null", "w")))
    return handler


def boto3(handler):
    """A function that uses AWS."""
    import boto3

    boto3.client("s3")
    return handler


def snap_start(handler):
    """A function that logs in its init, and in a hook before and after its snapshot."""
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    log = logging.getLogger("orders")
    log.setLevel(logging.INFO)
    log.info("loaded")
    register_before_snapshot(log.info, "before")
    register_after_restore(log.info, "after")
    return handler


def queue(handler):
    """The standard library's way out of the caller's thread."""
    import logging.handlers
    import queue

    lines = queue.SimpleQueue()
    logging.handlers.QueueListener(lines, logging.StreamHandler(open("/dev/null", "w"))).start()
    logging.getLogger().addHandler(logging.handlers.QueueHandler(lines))
    return handler


def powertools(handler):
    """Its Logger takes the place of the runtime's handler; here it is the one that ``getLogger("orders")`` returns."""
    from aws_lambda_powertools import Logger

    return Logger(service="orders").inject_lambda_context(handler)


def structlog_print(handler):
    """structlog as its documentation has it in production, without SumoProcessor and with it, and through logging."""
    return _structlog(handler)


def structlog_sumo(handler):
    from sumo_internal import SumoProcessor

    return _structlog(handler, SumoProcessor())


def structlog_bridge(handler):
    import structlog

    bridge = structlog.stdlib
    return _structlog(handler, logger_factory=bridge.LoggerFactory(), wrapper_class=bridge.BoundLogger)


def _structlog(handler, *before_renderer, **options):
    import structlog

    front = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    renderer = structlog.processors.JSONRenderer()
    structlog.configure([*front, *before_renderer, renderer], cache_logger_on_first_use=True, **options)
    return handler


def opentelemetry(handler):
    import warnings

    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    warnings.simplefilter("ignore", DeprecationWarning)
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{os.environ['BENCH_SINK']}/v1/logs")))
    logging.getLogger().addHandler(LoggingHandler(logger_provider=provider))
    return _then(handler, provider.force_flush)


def sentry(handler):
    import sentry_sdk
    from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration

    dsn = os.environ["BENCH_SINK"].replace("://", "://key@") + "/1"
    sentry_sdk.init(dsn, enable_logs=True, integrations=[AwsLambdaIntegration()])
    return handler


def datadog(handler):
    from datadog_lambda.wrapper import datadog_lambda_wrapper

    return datadog_lambda_wrapper(handler)


def newrelic(handler):
    import newrelic.agent
    from newrelic_lambda.lambda_handler import lambda_handler

    newrelic.agent.initialize()
    return lambda_handler()(handler)


def lumigo(handler):
    from lumigo_tracer import lumigo_tracer

    return lumigo_tracer(token="t_0123456789abcdef01234", edge_host=os.environ["BENCH_SINK"].partition("://")[2])(
        handler
    )


def watchtower(handler):
    import boto3
    import watchtower

    client = boto3.client("logs", endpoint_url=os.environ["BENCH_SINK"])
    shipper = watchtower.CloudWatchLogHandler("orders", boto3_client=client)
    logging.getLogger().addHandler(shipper)
    return _then(handler, shipper.flush)


def logzio(handler):
    from logzio.handler import LogzioHandler

    shipper = LogzioHandler("token", url=os.environ["BENCH_SINK"], backup_logs=False)
    logging.getLogger().addHandler(shipper)
    return _then(handler, shipper.flush)


def _then(handler, flush):
    """What these libraries ask of a function that is frozen after its response."""

    def flushing(event, context):
        try:
            return handler(event, context)
        finally:
            flush()

    return flushing
