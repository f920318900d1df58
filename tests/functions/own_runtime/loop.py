"""A runtime of somebody's own, without AWS's client, as a web adapter or a custom image has one; and its function."""

import http.client
import logging
import os
import sys

sys.path.append(os.environ.get("_MODEL_OPT", "/opt") + "/python")
from sumo_internal import SumoHandler

logging.basicConfig(level=logging.INFO)
logging.getLogger().addHandler(SumoHandler())


def call(method, path, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, f"/2018-06-01/runtime/invocation/{path}", body)
    answer = connection.getresponse()
    answer.read()
    return answer


while True:
    request_id = call("GET", "next").getheader("Lambda-Runtime-Aws-Request-Id")
    logging.info("a line of %s", request_id)
    call("POST", f"{request_id}/response", b"{}")
