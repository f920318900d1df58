"""attach, detach and status, as somebody runs them, against a Lambda on loopback."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_server import ACCOUNT_ID, REGION
from botocore.exceptions import ClientError
from fleet_account import Fleet

pytest_plugins = ["fleet_account"]

ENDPOINT = "https://collectors.example.com/receiver/v1/http/ZaVnC4dhaV1dTOKEN"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:sumo-AbCdEf"
WRAPPER = "/opt/sumo_wrapper"
PLANNED, NOT_FOUND, SKIPPED, OF_AWS = 3, 4, 5, 6
"""Exit codes, as --help lists them."""


def test_attach_and_detach_again(fleet: Fleet) -> None:
    """Other layers and variables keep their place; twice is once; detaching leaves what was there, to the letter."""
    ours, other = fleet.layer(), fleet.layer("other")
    before = [other], {"TABLE": "orders", "MODE": "live"}
    fleet.function(Layers=before[0], Variables=before[1])
    attach = ("attach", "orders", "--endpoint", SECRET, "--set", "SUMO_FLUSH=next", "--yes")
    said = fleet.done(*attach)
    assert "+ layer sumo-internal-extension:1" in said and "1 to change" in said and "1 changed, 0 not" in said
    layers, variables = fleet.has()
    assert layers == [other, ours]
    assert variables == {
        **before[1],
        "AWS_LAMBDA_EXEC_WRAPPER": WRAPPER,
        "SUMO_HTTP_ENDPOINT": SECRET,
        "SUMO_FLUSH": "next",
        "SUMO_ATTACHED": "SUMO_HTTP_ENDPOINT,SUMO_FLUSH",
    }
    assert "0 to change, 1 with nothing to do" in fleet.done(*attach)
    assert len(fleet.journals) == 1
    fleet.done("detach", "orders", "--yes")
    assert fleet.has() == before


def test_without_a_yes_the_plan_is_all(fleet: Fleet) -> None:
    """In CI nobody can be asked: the plan, an exit code of its own, and no change."""
    fleet.layer()
    fleet.function()
    ended = fleet.run("attach", "*", "--endpoint", ENDPOINT)
    assert ended.returncode == PLANNED
    assert "+ AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper" in ended.stdout and "+ SUMO_HTTP_ENDPOINT" in ended.stdout
    assert fleet.has() == ([], {}) and fleet.journals == []


def test_a_token_is_given_and_not_shown(fleet: Fleet) -> None:
    """Beside an address without a code; the plan names the variable alone."""
    fleet.layer()
    fleet.function()
    address = "https://endpoint4.collection.eu.sumologic.com/receiver/v1/http"
    said = fleet.done("attach", "*", "--endpoint", address, "--token", "ZaVnC4dhaV0secret", "--yes")
    assert "+ SUMO_HTTP_TOKEN" in said and "ZaVnC4dhaV0secret" not in said
    _, variables = fleet.has()
    assert (variables["SUMO_HTTP_ENDPOINT"], variables["SUMO_HTTP_TOKEN"]) == (address, "ZaVnC4dhaV0secret")


def test_a_narrow_screen_cuts_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is folded where it is piped: values can be copied, and each function's name is whole in the status."""
    monkeypatch.setenv("COLUMNS", "50")
    fleet.layer()
    name = "a-function-with-a-name-of-sixty-four-characters-which-is-the-max"
    fleet.function(name)
    said = fleet.done("attach", "*", "--endpoint", SECRET, "--yes")
    assert "…" not in said and f"--rollback {Path(fleet.journals[0])}\n" in said
    assert f" {name} " in fleet.done("status")
    long = SECRET + "x" * 100
    said = fleet.run("attach", "*", "--endpoint", long, "--set", f"SUMO_FIELDS=a={'b' * 90}", "--dry-run").stdout
    assert len(said.splitlines()) == 5 and "SUMO_FIELDS" in said


def test_functions_are_chosen_by_pattern_and_tag_in_regions(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each region has its own layer; who fits only one of the conditions is left out."""
    regions = REGION, "us-east-1"
    layers = {region: fleet.layer(region=region) for region in regions}
    for region in regions:
        fleet.function("orders-in", region, Tags={"team": "shop"})
        fleet.function("orders-out", region, Tags={"team": "bank"})
        fleet.function("stock", region, Tags={"team": "shop"})
    options = [option for region in regions for option in ("--region", region)]
    monkeypatch.setenv("SUMO_HTTP_ENDPOINT", SECRET)
    fleet.done("attach", "orders-*", "--tag", "team=shop", *options, "--yes")
    has = {
        (name, region): fleet.has(name, region)[0]
        for name in ("orders-in", "orders-out", "stock")
        for region in regions
    }
    assert has == {(name, region): [layers[region]] if name == "orders-in" else [] for name, region in has}


def test_only_regions_with_functions_are_asked_for_the_layer(fleet: Fleet) -> None:
    """Of all regions most have no such function; and every client is of the command's one session.

    Guards against two requests for each region, and against a new session for each client, which costs as much.
    """
    fleet.layer()
    fleet.function()
    asked: list[str] = []
    boto3.setup_default_session()
    heard = boto3.DEFAULT_SESSION.events
    heard.register("before-call.lambda.ListLayerVersions", lambda context, **_: asked.append(context["client_region"]))
    made: list[str] = []
    heard.register("creating-client-class.lambda", lambda **_: made.append("lambda"))
    fleet.done("attach", "orders", "--region", "all", "--endpoint", SECRET, "--yes")
    assert asked == [REGION] and len(made) > 10


def test_a_layers_arn_is_for_its_region(fleet: Fleet) -> None:
    """Functions elsewhere are left alone: Lambda takes no layer from another region."""
    first = fleet.layer()
    fleet.layer()
    fleet.function()
    fleet.function("orders", "us-east-1")
    said = fleet.done(
        "attach", "*", "--layer", first, "--region", REGION, "--region", "us-east-1", "--endpoint", SECRET, "--yes"
    )
    assert "skipped: it is in us-east-1, where no such layer is" in said
    assert (fleet.has()[0], fleet.has(region="us-east-1")[0]) == ([first], [])


def test_under_another_name_it_is_the_same_layer(fleet: Fleet) -> None:
    """Published under a name of somebody's own, it is attached, shown and detached by that name."""
    layer = fleet.layer("acme-logs")
    fleet.function()
    fleet.done("attach", "orders", "--layer", "acme-logs", "--endpoint", SECRET, "--yes")
    assert fleet.has()[0] == [layer]
    assert "1 of 1 functions" in fleet.done("status", "--layer", "acme-logs")
    fleet.done("detach", "orders", "--layer", layer, "--yes")
    assert fleet.has() == ([], {})


def test_a_newer_layer_takes_the_place_of_the_older(fleet: Fleet) -> None:
    """An upgrade changes one ARN and nothing else; settings that attaching had added may change."""
    old, other = fleet.layer(), fleet.layer("other")
    fleet.function(Layers=[old, other])
    fleet.done("attach", "orders", "--endpoint", ENDPOINT, "--yes")
    new = fleet.layer()
    fleet.done("attach", "orders", "--endpoint", SECRET, "--yes")
    layers, variables = fleet.has()
    assert layers == [new, other] and variables["SUMO_HTTP_ENDPOINT"] == SECRET
    fleet.done("detach", "orders", "--yes")
    assert fleet.has() == ([other], {})


def test_a_functions_own_settings_stay(fleet: Fleet) -> None:
    """What attaching would give another value is shown and kept, and survives detaching."""
    fleet.layer()
    own = {"SUMO_FLUSH": "end", "SUMO_HTTP_ENDPOINT": ENDPOINT}
    fleet.function(Variables=own)
    said = fleet.done("attach", "orders", "--endpoint", SECRET, "--set", "SUMO_FLUSH=next", "--yes")
    assert "SUMO_FLUSH has another value, the function's own, and keeps it" in said
    assert fleet.has()[1] == {**own, "AWS_LAMBDA_EXEC_WRAPPER": WRAPPER}
    assert "SUMO_HTTP_ENDPOINT: not added by attaching, and left" in fleet.done("detach", "orders", "--yes")
    assert fleet.has() == ([], own)


def test_another_vendors_wrapper_goes_behind_ours_and_comes_back(fleet: Fleet) -> None:
    """The slot is one: its owner moves to SUMO_NEXT_WRAPPER, and has it again after detaching."""
    fleet.layer()
    before = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument", "OTEL_X": "1"}
    fleet.function(Variables=before)
    fleet.done("attach", "orders", "--endpoint", SECRET, "--yes")
    variables = fleet.has()[1]
    assert variables["AWS_LAMBDA_EXEC_WRAPPER"] == WRAPPER
    assert variables["SUMO_NEXT_WRAPPER"] == "/opt/otel-instrument"
    assert "ours, then /opt/otel-instrument" in fleet.done("status")
    fleet.done("detach", "orders", "--yes")
    assert fleet.has() == ([], before)


def test_migration_replaces_gos_layer_and_keeps_its_settings(fleet: Fleet) -> None:
    """Left alone without --migrate, since both would ship; what has no meaning goes; a rollback gives it back."""
    ours, go, other = fleet.layer(), fleet.layer("sumologic-extension-amd64"), fleet.layer("other")
    variables = {
        "SUMO_HTTP_ENDPOINT": ENDPOINT,
        "SUMO_ENABLE_FAILOVER": "true",
        "SUMO_S3_BUCKET_NAME": "b",
        "SUMO_S3_BUCKET_REGION": REGION,
        "SUMO_MAX_RETRY": "3",
        "SUMO_MAX_DATAQUEUE_LENGTH": "20",
        "TELEMETRY_TIMEOUT_MS": "1000",
    }
    fleet.function(Layers=[go, other], Variables=variables)
    ended = fleet.run("attach", "orders", "--yes")
    assert (ended.returncode, "has Sumo's Go extension" in ended.stdout) == (SKIPPED, True)
    fleet.done("attach", "orders", "--migrate", "--yes")
    layers, after = fleet.has()
    assert layers == [ours, other]
    kept = {
        name: value for name, value in variables.items() if name not in ("SUMO_MAX_RETRY", "SUMO_MAX_DATAQUEUE_LENGTH")
    }
    assert after == {**kept, "AWS_LAMBDA_EXEC_WRAPPER": WRAPPER}
    fleet.done("attach", "--rollback", *fleet.journals, "--yes")
    assert fleet.has() == ([go, other], variables)


def test_rollback_gives_back_only_what_is_still_ours(fleet: Fleet) -> None:
    """Over two commands to the state before the first; a function that somebody has changed since is left alone."""
    fleet.layer()
    fleet.function("orders", Variables={"A": "1"})
    fleet.function("stock")
    fleet.function("gone")
    fleet.done("attach", "*", "--endpoint", ENDPOINT, "--yes")
    fleet.done("attach", "*", "--endpoint", SECRET, "--yes")
    assert all(stat.S_IMODE(os.stat(path).st_mode) == 0o600 for path in fleet.journals)
    fleet.client().update_function_configuration(FunctionName="stock", Environment={"Variables": {"B": "2"}})
    fleet.client().delete_function(FunctionName="gone")
    ended = fleet.run("detach", "--rollback", *fleet.journals, "--yes")
    assert ended.returncode == SKIPPED
    assert "it has been changed since" in ended.stdout and "it is gone" in ended.stdout
    assert fleet.has() == ([], {"A": "1"}) and fleet.has("stock")[1] == {"B": "2"}
    assert "1 with nothing to do" in fleet.run("attach", "--rollback", *fleet.journals[:2], "--yes").stdout


def test_a_managed_instance_is_attached_as_any_other(fleet: Fleet) -> None:
    """Its runtime is Python 3.13 or later. What is invoked is what was published, which the plan says."""
    fleet.layer()
    provider = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:capacity-provider:shop"
    managed = {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": provider}}
    fleet.function("orders", Runtime="python3.13", CapacityProviderConfig=managed)
    said = fleet.done("attach", "orders", "--endpoint", ENDPOINT, "--yes")
    assert "only a version that is published after this has the layer" in " ".join(said.split())
    assert fleet.has()[1]["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/sumo_wrapper"


LEFT_ALONE: dict[str, tuple[dict[str, Any], str]] = {
    "node": ({"Runtime": "nodejs20.x"}, "runs on nodejs20.x"),
    "old": ({"Runtime": "python3.9"}, "runs on python3.9"),
    "unreadable": ({"Tags": {"behaves": "unreadable"}}, "has variables that you may not read (AccessDeniedException)"),
    "large": ({"Variables": {"X": "x" * 4_000}}, "bytes of variables; Lambda accepts 4,096"),
    "two": ({"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/a", "SUMO_NEXT_WRAPPER": "/opt/b"}}, "has /opt/a in the"),
}


def test_what_cannot_be_attached_is_left_alone_with_the_reason(fleet: Fleet) -> None:
    """Known before anything is asked for: nothing fails half way, and unreadable variables are not emptied."""
    fleet.layer()
    for name, (options, _) in LEFT_ALONE.items():
        fleet.function(name, **options)
    fleet.function("many", Layers=[fleet.layer(f"other{number}") for number in range(5)])
    image = {"PackageType": "Image", "Code": {"ImageUri": f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/app:1"}}
    fleet.client().create_function(FunctionName="image", Role=f"arn:aws:iam::{ACCOUNT_ID}:role/function", **image)
    ended = fleet.run("attach", "*", "--endpoint", SECRET, "--yes")
    said = ended.stdout
    assert ended.returncode == SKIPPED, "nothing at all was done"
    for _, reason in LEFT_ALONE.values():
        assert f"skipped: it {reason}" in said or reason in said, reason
    assert "would have 6 layers; Lambda accepts 5" in said
    assert "is a container image" in said
    assert "0 to change, 0 with nothing to do, 7 skipped" in said
    fleet.function("silent")
    assert "would have no SUMO_HTTP_ENDPOINT" in fleet.run("attach", "silent").stdout


def test_one_failure_stops_nobody_else(fleet: Fleet) -> None:
    """The others are changed, the exit code says that not all are, and the same command again does the rest."""
    fleet.layer()
    fleet.function("fails", Tags={"behaves": "fails"})
    fleet.function("restless", Tags={"behaves": "restless"})
    for number in range(3):
        fleet.function(f"orders-{number}")
    ended = fleet.run("attach", "*", "--endpoint", SECRET, "--yes")
    assert ended.returncode == 1
    assert "fails: Lambda could not: the role is gone" in ended.stderr
    assert "restless: was changed at this moment by somebody else" in ended.stderr
    assert "3 changed, 2 not" in ended.stderr
    assert all(fleet.has(f"orders-{number}")[0] for number in range(3))
    fleet.client().tag_resource(
        Resource=f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:restless", Tags={"behaves": ""}
    )
    assert "1 to change, 4 with nothing to do" in fleet.done("attach", "*", "--endpoint", SECRET, "--yes")


def test_an_update_under_way_is_waited_for(fleet: Fleet) -> None:
    """Taken up again while Lambda still works on the interrupted command's last request: no conflict."""
    fleet.layer()
    fleet.function()
    fleet.client().update_function_configuration(FunctionName="orders", Environment={"Variables": {"A": "1"}})
    fleet.done("attach", "orders", "--endpoint", SECRET, "--yes")
    assert fleet.has()[1]["A"] == "1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_ended_half_way_it_is_taken_up_again_and_undone(fleet: Fleet, number: int, code: int) -> None:
    """Killed, or Ctrl-C, while eight updates are under way: the same command does the rest; all can be undone."""
    fleet.layer()
    names = [f"orders-{number:02}" for number in range(12)]
    for name in names:
        fleet.function(name, Variables={"NAME": name})
    arguments = ["attach", "*", "--endpoint", SECRET, "--yes"]
    command = [sys.executable, "-m", "sumo_internal", *arguments]
    # A shell that runs the tests in the background has SIGINT ignored, and its children inherit that.
    hears_interrupts = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, preexec_fn=hears_interrupts, **quiet) as process:
        while not fleet.journals or len(Path(fleet.journals[0]).read_text().splitlines()) < 8:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
    assert process.returncode == code
    assert sum(bool(fleet.has(name)[0]) for name in names) <= 8
    fleet.done(*arguments)
    assert all(fleet.has(name)[0] for name in names)
    fleet.done("attach", "--rollback", *fleet.journals, "--yes")
    assert [fleet.has(name) for name in names] == [([], {"NAME": name}) for name in names]


@pytest.mark.parametrize(
    ("answer", "code", "outcome"),
    [("y\n", 0, "1 changed, 0 not"), ("n\n", PLANNED, "Nothing was changed"), ("\4", PLANNED, "Nothing was changed")],
    ids=["yes", "no", "Ctrl-D"],
)
def test_at_a_terminal_it_asks(fleet: Fleet, answer: str, code: int, outcome: str) -> None:
    """The plan stands above the question, and no is the answer of an empty line, or of none."""
    fleet.layer()
    fleet.function()
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "sumo_internal", "attach", "*", "--endpoint", SECRET]
    with open(ours, "w") as keyboard, open(theirs) as terminal:
        with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            keyboard.write(answer)
            keyboard.flush()
            assert process.stdout is not None
            said = process.stdout.read().decode()
    assert process.returncode == code, said
    assert said.index("1 to change") < said.index("Change them? [y/n] (n):") < said.index(outcome)


def test_status_says_who_has_what(fleet: Fleet) -> None:
    """For people and for programs; of an endpoint only what kind of value it is."""
    fleet.layer()
    fleet.function("new")
    fleet.done("attach", "new", "--endpoint", SECRET, "--yes")
    fleet.function("old", Layers=[fleet.layer("sumologic-extension-arm64")], Variables={"SUMO_HTTP_ENDPOINT": ENDPOINT})
    fleet.function("none", Runtime="nodejs20.x")
    rows = {row["function"]: row for row in json.loads(fleet.done("status", "--json"))}
    assert (rows["new"]["layerVersion"], rows["new"]["version"]) == ("1", "0.1.0")
    assert rows["new"]["hasWrapper"] and rows["new"]["endpoint"] == "Secrets Manager"
    assert rows["old"]["hasGoExtension"] and rows["old"]["endpoint"] == "in the clear"
    assert not rows["none"]["layer"]
    assert "1 of 3 functions have the layer" in fleet.done("status", "--region", "all")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["attach"], "which functions?"),
        (["attach", "x", "--set", "SUMO_FLUHS=end"], "SUMO_FLUHS is not a setting (is SUMO_FLUSH meant?)"),
        (["attach", "x", "--set", f"SUMO_HTTP_ENDPOINT={ENDPOINT}"], "--endpoint is for that"),
        (["attach", "x", "--set", "SUMO_HTTP_TOKEN=t"], "--token is for that"),
        (["attach", "x", "--endpoint", "hello"], "SUMO_HTTP_ENDPOINT is neither an http(s) address"),
        (["attach", "x", "--endpoint", SECRET, "--set", "SUMO_MASK_PATTERNS=("], "SUMO_MASK_PATTERNS"),
        (["attach", "x", "--endpoint", SECRET, "--set", "SUMO_EXCLUDE=("], "SUMO_EXCLUDE"),
        (["attach", "x", "--yes", "--dry-run"], "not allowed with"),
        (["detach", "x", "--rollback", "missing.jsonl"], "which functions?"),
        (["detach", "--rollback", "missing.jsonl"], "No such file"),
        (["detach", "--rollback", __file__], "is not a journal of this command"),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_what_is_wrong_is_one_line(fleet: Fleet, arguments: list[str], complaint: str) -> None:
    """Nothing is asked of AWS before the arguments make sense."""
    ended = fleet.run(*arguments)
    assert ended.returncode == 2 and complaint in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["attach", "detach", "status"])
@pytest.mark.parametrize(
    "asked", [["ordesr"], ["orders", "shop-*"], ["--tag", "team=none"], ["orders", "--tag", "a=b"]]
)
def test_a_name_that_no_function_has_is_an_error(fleet: Fleet, command: str, asked: list[str]) -> None:
    """Even beside one that there is: a misspelt name must not look like nothing to do. Near names are told."""
    fleet.layer()
    fleet.function()
    consent = [] if command == "status" else ["--yes"]
    ended = fleet.run(command, *asked, *consent)
    assert (ended.returncode, ended.stdout) == (NOT_FOUND, "") and ended.stderr.count("\n") == 1
    assert ("near it: orders" in ended.stderr) is (asked == ["ordesr"])
    assert fleet.has() == ([], {})


def test_a_function_is_named_by_its_arn(fleet: Fleet) -> None:
    """An ARN has its region in it, whatever the default one is; with an alias behind it, it is the same function."""
    fleet.layer(region="us-east-1")
    fleet.function(region="us-east-1")
    fleet.function()
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT_ID}:function:orders"
    fleet.done("attach", arn, "--endpoint", SECRET, "-y")
    assert fleet.has(region="us-east-1")[0] and fleet.has() == ([], {})
    assert "1 of 1 functions" in fleet.done("status", f"{arn}:live")
    assert fleet.run("status", arn.replace(ACCOUNT_ID, "210987654321")).returncode == NOT_FOUND


@pytest.mark.parametrize(
    ("named", "qualifier"),
    [("orders:live", "live"), ("orders:7", "7"), ("orders:$LATEST", ""), (f"{ACCOUNT_ID}:function:orders", "")],
)
def test_a_function_is_named_as_lambda_has_it(fleet: Fleet, named: str, qualifier: str) -> None:
    """With an alias or a version behind it, or its account before it. What is changed is $LATEST, which the plan says:
    guards against an alias that is thought to have the layer.
    """
    fleet.layer()
    fleet.function()
    said = fleet.done("attach", named, "--endpoint", SECRET, "-y")
    assert fleet.has()[0]
    assert (f"! {qualifier} stays as it is, because $LATEST is changed" in said) is bool(qualifier)
    assert "1 of 1 functions" in fleet.done("status", named)
    assert "error layer-missing" not in fleet.run("doctor", named.partition(":live")[0], "--offline").stdout
    assert fleet.run("status", f"210987654321:function:{named}").returncode == NOT_FOUND
    assert "near it: orders" in fleet.run("status", "ordesr:live").stderr


def test_without_a_home_there_is_no_journal_and_no_change(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have none; the message names the variable that helps."""
    fleet.layer()
    fleet.function()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    ended = fleet.run("attach", "orders", "--endpoint", SECRET, "--yes")
    assert ended.returncode == 2 and fleet.has() == ([], {})
    assert "no journal (XDG_STATE_HOME names its folder), so nothing was changed" in ended.stderr


def test_what_was_named_and_is_skipped_is_said_by_the_exit_code(fleet: Fleet) -> None:
    """The rest is done. By a pattern it is no error that some functions are none for the layer."""
    fleet.layer()
    fleet.function("orders")
    fleet.function("pages", Runtime="nodejs20.x")
    assert fleet.run("attach", "orders", "pages", "--endpoint", SECRET, "--yes").returncode == SKIPPED
    assert fleet.has()[0]
    fleet.done("detach", "orders", "-y")
    assert fleet.run("attach", "*", "--endpoint", SECRET, "--yes").returncode == 0


def test_what_the_doctor_calls_an_error_is_not_written(fleet: Fleet) -> None:
    """An address whose token nobody has given, a mask of the function's own that cannot be read: left as it was."""
    fleet.layer()
    own = {"SUMO_MASK_PATTERNS": "("}
    fleet.function("masked", Variables=own)
    fleet.function("plain")
    ended = fleet.run("attach", "masked", "--endpoint", SECRET, "--yes")
    assert ended.returncode == SKIPPED and "(variable-unsafe)" in ended.stdout
    ended = fleet.run("attach", "plain", "--endpoint", "https://x.sumologic.com/receiver/v1/http", "--yes")
    assert ended.returncode == SKIPPED and "(token-missing)" in ended.stdout
    assert fleet.has("masked") == ([], own) and fleet.has("plain") == ([], {})


def test_a_dry_run_is_the_plan(fleet: Fleet) -> None:
    """It was asked for and is there: exit code 0, where the question that nobody could be asked has another."""
    fleet.layer()
    fleet.function()
    assert "+ layer sumo-internal-extension:1" in fleet.done("attach", "*", "--endpoint", SECRET, "--dry-run")
    assert fleet.has() == ([], {}) and fleet.journals == []


def test_without_credentials_or_rights_aws_is_named(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit code of its own and one line, for each command that asks AWS; a profile that is not there, too."""
    commands = (["status"], ["attach", "x", "--endpoint", SECRET], ["doctor", "orders"], ["check", "orders"])
    for command in commands:
        assert fleet.run(*command, "--profile", "nobodys").returncode == OF_AWS
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for command in commands:
        ended = fleet.run(*command)
        assert (ended.returncode, ended.stderr.count("\n")) == (OF_AWS, 1) and "credentials" in ended.stderr


def test_a_profile_is_whose_account_is_asked(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins over keys in the environment, as in AWS's own command line: its region tells which one was used."""
    Path("config").write_text("[profile staging]\nregion = us-east-1\naws_access_key_id=a\naws_secret_access_key=b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", "config")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    fleet.function("there", "us-east-1")
    assert json.loads(fleet.done("status", "--json", "--profile", "staging"))[0]["function"] == "there"


def test_the_layers_bytecode_is_noted(fleet: Fleet) -> None:
    """Per function, in the plan and in the status; a layer of which it is not known is not suspected."""
    fleet.layer(description="sumo-internal-extension 0.1.0, bytecode for 3.10 3.11")
    fleet.function("new")
    fleet.function("old", Runtime="python3.11")
    said = fleet.done("attach", "*", "--endpoint", SECRET, "--yes")
    assert said.count("! the layer has no bytecode for python3.12: each cold start compiles it") == 1
    rows = {row["function"]: row["hasBytecode"] for row in json.loads(fleet.done("status", "--json"))}
    assert rows == {"new": False, "old": True}
    assert "layer-bytecode" in fleet.done("doctor", "new", "--offline")
    assert "layer-bytecode" not in fleet.done("doctor", "old", "--offline")


def test_the_doctor_names_filters_that_would_starve(fleet: Fleet) -> None:
    """Of the function's own log group, where SUMO_CLOUDWATCH spares it lines, and only there; and where somebody may
    not list them, the doctor does not say that all is well."""
    group, other = "/aws/lambda/orders", "/aws/lambda/stock"
    logs = fleet.client(service="logs")
    transformation = {"metricName": "errors", "metricNamespace": "orders", "metricValue": "1"}
    for name, where in (("errors", group), ("latency", group), ("of-another", other)):
        if name != "latency":
            logs.create_log_group(logGroupName=where)
        logs.put_metric_filter(
            logGroupName=where, filterName=name, filterPattern="ERROR", metricTransformations=[transformation]
        )
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": WRAPPER, "SUMO_HTTP_ENDPOINT": SECRET}
    fleet.function(Layers=[fleet.layer()], Variables={**variables, "SUMO_CLOUDWATCH": "errors"})
    fleet.function("all", Layers=[fleet.layer()], Variables=variables)
    fleet.function("absent", Layers=[fleet.layer()], Variables={**variables, "SUMO_CLOUDWATCH": "none"})

    def findings(name: str) -> dict[str, str]:
        said = json.loads(fleet.run("doctor", name, "--offline", "--json").stdout)
        return {each["name"]: each["what"] for each in said["findings"] if each["name"].startswith("cloudwatch")}

    found = findings("orders")
    assert found["cloudwatch-filters"].endswith("log group: errors, latency")
    assert found.keys() == {"cloudwatch-filters", "cloudwatch-platform"}
    assert findings("all") == {}
    assert findings("absent").keys() == {"cloudwatch-platform"}

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeMetricFilters")

    boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("before-call.cloudwatch-logs.DescribeMetricFilters", refuse)
    assert "(AccessDeniedException)" in findings("orders")["cloudwatch-filters-unseen"]


def test_the_doctor_asks_for_a_function_by_itself(fleet: Fleet) -> None:
    """Without AWS's command line: by name in a region, by ARN; of a name that nobody has, near ones."""
    fleet.function(Variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo-wrapper"})
    for asked in (["orders", "--region", REGION], [f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:orders"]):
        ended = fleet.run("doctor", *asked, "--offline")
        assert ended.returncode == 1 and "layer-missing" in ended.stdout and "wrapper-path" in ended.stdout
    ended = fleet.run("doctor", "order", "--offline")
    assert ended.returncode == NOT_FOUND and "near it: orders" in ended.stderr
