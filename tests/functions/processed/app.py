"""A function with secrets in everything that it writes, and its processors beside its handler."""

import json
import logging
import os
import signal
import sys
import time
from urllib.parse import quote

import structlog

PASSWORD = "hunter2-é"
CARD = "4111111111111111"
SECRETS = {"password": PASSWORD, "user": {"api_token": 987654}, "card": int(CARD)}

log = logging.getLogger("orders")
log.setLevel(logging.INFO)
log.info("loading with %s", CARD)
structured = structlog.wrap_logger(
    structlog.WriteLogger(), processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
)


def tag(logger, name, event):
    event["team"] = "shop"
    return event


def drop_probes(logger, name, event):
    if "probe" in event["event"]:
        raise structlog.DropEvent
    return event


def breaks(logger, name, event):
    if "break" in event["event"]:
        raise ValueError(event["event"])
    return event


def handler(event, context):
    for step in event["steps"]:
        STEPS[step]()
    return event


def log_all():
    log.info("login with hunter2-é", extra=SECRETS)
    log.info("card %s", CARD)
    log.info(json.dumps({"body": json.dumps(SECRETS)}))
    log.warning("got %s", SECRETS)
    log.info("ordinary")


def print_all():
    print(json.dumps(SECRETS))
    print("told", SECRETS, file=sys.stderr)
    print("long", "x" * 61_430 + CARD + "y" * 61_430)
    print(json.dumps({"long": ["x" * 70_000, PASSWORD, CARD], "password": PASSWORD}))
    for bound in (1 << 16, 1 << 18):
        sys.stdout.write("z" * (bound - 8) + "87654321")
        sys.stdout.write("13579753\n")


def structured_all():
    structured.info("login", **SECRETS)
    structured.bind(card=CARD).warning("nested", body=json.dumps(SECRETS))


def traceback_all():
    try:
        raise ValueError(f"no user {PASSWORD} with {CARD}")
    except ValueError:
        log.exception("failed for %s", PASSWORD, extra=SECRETS)


def environ_all():
    everything = dict(os.environ)
    print(everything)
    print(json.dumps({"body": json.dumps(everything)}))
    log.info("started with %s", everything, extra={"env": everything})
    for name in ("AWS_SECRET_ACCESS_KEY", "SUMO_HTTP_ENDPOINT"):
        print(quote(everything[name], safe=""), file=sys.stderr)
        print("x" * 61_430 + everything[name] + "y" * 61_430)
        for written in range(1, len(everything[name]), 5):
            sys.stdout.write("z" * ((1 << 16) - written - 1) + " " + everything[name][:written])
            sys.stdout.write(everything[name][written:] + "\n")


def fail():
    raise KeyError(CARD)


STEPS = {
    "log": log_all,
    "print": print_all,
    "structlog": structured_all,
    "traceback": traceback_all,
    "fail": fail,
    "environ": environ_all,
    "probe": lambda: (log.info("probe"), print("probe"), log.info("health check")),
    "break": lambda: (log.info("break %s", CARD, extra=SECRETS), print("break", PASSWORD)),
    "lines": lambda: (log.debug("no"), log.info("info"), print("printed"), log.warning("warning")),
    "error": lambda: print(json.dumps({"level": "error", "event": "json"})),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "leave": lambda: sys.exit("left"),
    "sleep": lambda: time.sleep(60),
}
