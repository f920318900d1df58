"""A durable order: each line that it writes has a text of its own, so that a repetition is known by its text.

The event's ``parts`` names what the execution consists of, in order: names in :data:`PARTS`, or a list of a name and
what that takes. Each part of an execution is a piece that suspends, so that another invocation resumes behind it.
"""

import json
import logging
import os
import signal
import threading
import time

from aws_durable_execution_sdk_python import durable_execution, durable_step, durable_with_child_context
from aws_durable_execution_sdk_python.config import CallbackConfig, Duration, MapConfig, StepConfig
from aws_durable_execution_sdk_python.retries import RetryDecision
from aws_durable_execution_sdk_python.waits import WaitForConditionConfig, WaitForConditionDecision

log = logging.getLogger("orders")
log.setLevel(logging.INFO)
ONE_SECOND = Duration.from_seconds(1)
SUSPENDED_S = 60


def say(what):
    """Write a line in each way; what is said once comes twice at Sumo Logic, as two texts."""
    print(f"{what}, printed", flush=True)
    log.info("%s, logged", what)


def wait(context, _):
    context.wait(ONE_SECOND, name="pause")


def step(context, name):
    context.step(lambda _: say(f"in step {name}"), name=name)


@durable_step
def charge(step_context, amount):
    step_context.logger.info("charging, said by the step's logger")
    say(f"charging {amount}")


def decorated(context, amount):
    context.step(charge(amount))


def _packed(context):
    say("child: begun")
    context.step(lambda _: say("child: packing"), name="pack")
    say("child: packed")
    context.wait(ONE_SECOND)
    say("child: picked up")


def child(context, _):
    context.run_in_child_context(_packed, name="pack")


@durable_with_child_context
def shipped(context, country):
    say(f"child in {country}: begun")
    context.wait(ONE_SECOND)
    say(f"child in {country}: gone")


def decorated_child(context, country):
    context.run_in_child_context(shipped(country))


def _item(context, item, index, items):
    say(f"item {item}: begun")
    if index % 2:  # the others go on without a pause: their branches are over when these resume
        context.wait(ONE_SECOND)
    say(f"item {item}: done")


def map_(context, items):
    context.map(items, _item, config=MapConfig(max_concurrency=2))


def _branch(name, seconds):
    def run(context):
        say(f"branch {name}: begun")
        context.wait(Duration.from_seconds(seconds))
        say(f"branch {name}: half")
        context.step(lambda _: say(f"branch {name}: in its step"), name=name)
        context.wait(ONE_SECOND)
        say(f"branch {name}: done")

    return run


def parallel(context, names):
    context.parallel([_branch(name, seconds) for seconds, name in enumerate(names, 1)])


def retry(context, fails):
    attempts = []

    def attempt(_):
        number = len(os.listdir(folder)) + 1
        open(f"{folder}/{number}", "w").close()
        say(f"attempt {number}")
        if number <= fails:
            raise ConnectionError(f"attempt {number}: the bank does not answer")

    folder = os.environ.get("SUMO_SPOOL_DIR", "/tmp") + "-attempts"
    os.makedirs(folder, exist_ok=True)
    strategy = StepConfig(retry_strategy=lambda error, made: RetryDecision(True, ONE_SECOND))
    context.step(attempt, name="pay", config=strategy)
    assert not attempts


def callback(context, _):
    waiting = context.create_callback(name="approval", config=CallbackConfig())
    say("approval asked for")
    print(json.dumps({"approval": waiting.callback_id}), flush=True)
    say(f"approved: {waiting.result()}")


def wait_for_callback(context, _):
    def ask(callback_id, _):
        say("in the submitter")
        print(json.dumps({"signature": callback_id}), flush=True)

    say(f"signed: {context.wait_for_callback(ask, name='signature')}")


def condition(context, rounds):
    def check(state, _):
        say(f"look {state + 1}")
        return state + 1

    def more(state, attempt):
        if state < rounds:
            return WaitForConditionDecision(should_continue=True, delay=ONE_SECOND)
        return WaitForConditionDecision(should_continue=False, delay=Duration())

    context.wait_for_condition(check, WaitForConditionConfig(more, initial_state=0), name="stock")


def thread(context, _):
    worker = threading.Thread(target=say, args=("in a thread of its own",))
    worker.start()
    worker.join()


def context_logger(context, _):
    context.logger.warning("said by the context's logger", extra={"order": 7})
    log.info("said with another arn", extra={"executionArn": "arn:other"})


def own_logger(context, kind):
    if kind == "powertools":
        from aws_lambda_powertools import Logger

        context.set_logger(Logger(service="orders"))
    context.logger.info("said by a logger of the function's", extra={"order": 8})


def deep(context, calls, left=None):
    if left == 0:
        say(f"from {calls} calls below")
    else:
        deep(context, calls, calls if left is None else left - 1)


def die(context, how):
    """Die once: the invocation that comes after it finds the file."""
    path = os.environ.get("SUMO_SPOOL_DIR", "/tmp") + "-dead"
    if not os.path.exists(path):
        open(path, "w").close()
        say("about to die")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(SUSPENDED_S)


def fail(context, _):
    raise ValueError("the order cannot be filled")


def size(context, kilobytes):
    context.step(lambda _: "x" * 1000 * kilobytes, name="large")


PARTS = {name.rstrip("_"): value for name, value in list(globals().items()) if callable(value)}


@durable_execution
def handler(event, context):
    say("order accepted")
    for number, part in enumerate(event["parts"]):
        name, given = part if isinstance(part, list) else (part, None)
        PARTS[name](context, given)
        say(f"part {number} done: {name}")
    return {"parts": len(event["parts"])}
