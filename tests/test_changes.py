"""What attaching, detaching and rolling back make of a configuration: whatever it holds, nothing of it is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.cli.changes import (
    LAYERS_MAX,
    SETTINGS,
    VARIABLES_MAX_BYTES,
    Change,
    Skip,
    State,
    Wanted,
    attach,
    detach,
    differences,
    state,
    status,
)
from sumo_internal.cli.journal import entry, joined, restored
from sumo_internal.config import WITHOUT_MEANING

ARN = "arn:aws:lambda:eu-west-1:123456789012:layer:{}:{}"
OURS = ARN.format("sumo-internal-extension", 7)
GO = ARN.format("sumologic-extension-arm64", 11)
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:sumo-AbCdEf"
WANTED = Wanted(OURS, {"SUMO_HTTP_ENDPOINT": SECRET, "SUMO_FLUSH": "next"})


def function(layers: tuple[str, ...] = (), variables: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A configuration as Lambda's API has it."""
    found: dict[str, Any] = {"FunctionName": "orders", "Runtime": "python3.12", "PackageType": "Zip"}
    found["Layers"] = [{"Arn": layer, "CodeSize": 1} for layer in layers]
    if variables is not None:
        found["Environment"] = {"Variables": variables}
    return found | more


def changed(decision: Change | Skip) -> dict[str, Any]:
    """The configuration that a change leads to."""
    assert isinstance(decision, Change)
    return function(decision.after.layers, dict(decision.after.variables))


NAMES = st.sampled_from(["TABLE", "A", "ß", "SUMO_FLUSH", "SUMO_FIELDS", "KMS_KEY_ID", "TELEMETRY_MAX_ITEMS"])
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
LAYERS = st.lists(st.integers(1, 9).map(lambda number: ARN.format(f"layer{number}", number)), unique=True, max_size=4)
OTHERS = st.sampled_from(
    [{}, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap"}]
)


@given(LAYERS, st.dictionaries(NAMES, VALUES, max_size=6), OTHERS)
def test_detaching_gives_back_what_attaching_found(
    layers: list[str], own: dict[str, str], other: dict[str, str]
) -> None:
    """Layers and variables with their order, another wrapper in its slot, settings of the function's own."""
    before = State(tuple(layers), {**own, **other})
    attached = changed(attach(function(before.layers, dict(before.variables)), WANTED))
    once_more = attach(attached, WANTED)
    assert isinstance(once_more, Change) and once_more.is_none
    again = detach(attached)
    assert isinstance(again, Change) and again.after == before
    assert list(again.after.variables) == list(before.variables)


def test_a_function_without_anything_is_like_one_with_nothing() -> None:
    """Lambda leaves out Environment and Layers where there are none."""
    bare = {"FunctionName": "orders", "Runtime": "python3.12"}
    decision = attach(bare, WANTED)
    assert isinstance(decision, Change) and decision.before == State((), {})
    assert detach(bare) == Change(State((), {}), State((), {}))


@pytest.mark.parametrize("count", [LAYERS_MAX - 1, LAYERS_MAX])
def test_layers_up_to_lambdas_limit(count: int) -> None:
    """The fifth is possible, the sixth is not; one that takes another's place is no sixth."""
    layers = tuple(ARN.format(f"layer{number}", 1) for number in range(count))
    assert isinstance(attach(function(layers), WANTED), Skip) is (count == LAYERS_MAX)
    replaced = (*layers[: LAYERS_MAX - 1], ARN.format("sumo-internal-extension", 1))
    assert isinstance(attach(function(replaced), WANTED), Change)


@pytest.mark.parametrize("filling", ["x", '"', "ß"])
def test_variables_up_to_lambdas_limit(filling: str) -> None:
    """Measured as Lambda does: one JSON object in UTF-8, quotes escaped. One byte more is refused."""
    bytes_each = len(filling.encode()) + (filling == '"')

    def decide(size: int) -> Change | Skip:
        return attach(function((), {"FILLED": filling * (size // bytes_each) + "x" * (size % bytes_each)}), WANTED)

    sizes = range(3_600, VARIABLES_MAX_BYTES)
    most = max(size for size in sizes if isinstance(decide(size), Change))
    refused = decide(most + 1)
    assert isinstance(refused, Skip) and f"{VARIABLES_MAX_BYTES + 1:,} bytes" in refused.reason


def test_a_setting_that_attaching_added_may_change_and_goes_with_it() -> None:
    """Names once added stay noted, even where a later command does not mention them."""
    first = changed(attach(function((), {"A": "1"}), WANTED))
    second = changed(attach(first, Wanted(OURS, {"SUMO_FLUSH": "end", "SUMO_NUM_RETRIES": "5"})))
    assert state(second).variables["SUMO_FLUSH"] == "end"
    assert state(second).variables["SUMO_ATTACHED"] == "SUMO_HTTP_ENDPOINT,SUMO_FLUSH,SUMO_NUM_RETRIES"
    assert state(changed(detach(second))) == State((), {"A": "1"})


def test_a_next_wrapper_that_attaching_added_does_not_get_the_slot() -> None:
    """Nobody had the slot before."""
    wanted = Wanted(OURS, {**WANTED.settings, "SUMO_NEXT_WRAPPER": "/opt/other"})
    assert state(changed(detach(changed(attach(function(), wanted))))) == State((), {})


def test_a_wrapper_that_starts_a_program_of_its_own_keeps_the_slot() -> None:
    """The AWS Lambda Web Adapter's runs the handler and not what it is given: ours in front of it is never called."""
    before = State((), {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap"})
    decision = attach(function((), dict(before.variables)), WANTED)
    assert isinstance(decision, Change)
    assert decision.after.variables["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/bootstrap"
    assert "SUMO_NEXT_WRAPPER" not in decision.after.variables
    assert len(decision.notes) == 1 and "its run.sh starts Python by /opt/sumo_wrapper" in decision.notes[0]
    assert state(changed(detach(changed(decision)))) == before


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"SnapStart": {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}}, "uses SnapStart"),
        ({"CapacityProviderConfig": {"x": 1}}, "Managed Instances"),
        ({"DurableConfig": {"ExecutionTimeout": 60}}, "is durable"),
        ({"SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"}}, ""),
    ],
)
def test_published_versions_take_what_is_published_later(kind: dict[str, Any], words: str) -> None:
    """The plan says so: a published version is not changed, whatever Lambda answers."""
    decision = attach({"Runtime": "python3.13", **kind}, WANTED)
    assert isinstance(decision, Change)
    notes = [note for note in decision.notes if "only a version that is published after this" in note]
    assert [words in note for note in notes] == ([True] if words else [])


def test_what_was_attached_by_hand_is_taken_off_too() -> None:
    """A wrapper without its layer would fail every start; the settings are not ours to remove."""
    by_hand = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": SECRET}
    assert state(changed(detach(function((OURS,), by_hand)))) == State((), {"SUMO_HTTP_ENDPOINT": SECRET})


def test_migration_keeps_every_setting_that_means_something() -> None:
    """All of Go's that are settings here too, and each of the others goes."""
    variables = {name: "1" for name in (*SETTINGS, *WITHOUT_MEANING) if name != "SUMO_NEXT_WRAPPER"}
    after = state(changed(attach(function((GO,), variables), Wanted(OURS, {}, migrates=True))))
    assert after.layers == (OURS,)
    assert set(after.variables) == {*variables, "AWS_LAMBDA_EXEC_WRAPPER"} - set(WITHOUT_MEANING)


def test_a_wrong_setting_is_said_in_the_plan() -> None:
    """As the extension would say it at each cold start; the endpoint is not repeated."""
    decision = attach(function(), Wanted(OURS, {"SUMO_HTTP_ENDPOINT": "htps://x/TOKEN", "SUMO_NUM_RETRIES": "many"}))
    assert isinstance(decision, Change)
    assert any("SUMO_NUM_RETRIES='many' is not a number" in note for note in decision.notes)
    assert "TOKEN" not in "\n".join(differences(decision))


def test_a_rollback_changes_what_is_as_it_was_left_and_nothing_else() -> None:
    """As the change left it, as it was before, and neither; what somebody else has added meanwhile stays."""
    before, after = State((), {"A": "1", "C": "old"}), State((OURS,), {"A": "1", "B": "2", "C": "new"})
    noted = entry("eu-west-1", "orders", Change(before, after))
    assert restored(after, noted) == Change(after, before)
    assert restored(before, noted) == Change(before, before)
    busy = State((OURS,), {**after.variables, "A": "3", "D": "4"})
    assert restored(busy, noted) == Change(busy, State((), {"A": "3", "C": "old", "D": "4"}))
    for other in (State((OURS,), {**after.variables, "B": "3"}), State((OURS, OURS), after.variables)):
        assert isinstance(restored(other, noted), Skip)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=3, max_size=3))
def test_two_changes_are_taken_back_as_one(states: list[dict[str, str]]) -> None:
    """Journals of several commands give back what was there before the first, whatever each of them changed."""
    first, second, third = (State((str(number),), each) for number, each in enumerate(states))
    both = joined(entry("r", "f", Change(first, second)), entry("r", "f", Change(second, third)))
    assert restored(third, both) == Change(third, first)


def test_a_journal_has_no_secret_of_the_functions() -> None:
    """Only what changes is noted, and of what it becomes a digest: a file in a home folder outlives its purpose."""
    configuration = function(variables={"DB_PASSWORD": "hunter2", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"})
    decision = attach(configuration, Wanted(OURS, {"SUMO_HTTP_ENDPOINT": "https://x.org/receiver/v1/http/TOKEN"}))
    assert isinstance(decision, Change)
    noted = str(entry("eu-west-1", "orders", decision))
    assert "/opt/otel-instrument" in noted and "hunter2" not in noted and "TOKEN" not in noted


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, ""),
        ({"SUMO_HTTP_ENDPOINT": "https://x/TOKEN"}, "in the clear"),
        ({"SUMO_HTTP_ENDPOINT": SECRET}, "Secrets Manager"),
        ({"SUMO_HTTP_ENDPOINT": "arn:aws:ssm:eu-west-1:123456789012:parameter/sumo"}, "SSM"),
        ({"SUMO_HTTP_ENDPOINT": "AQICAHg=", "KMS_KEY_ID": "k"}, "KMS"),
        ({"SUMO_HTTP_ENDPOINT": "https://x/receiver/v1/http", "SUMO_HTTP_TOKEN": "TOKEN"}, "in the clear"),
        ({"SUMO_HTTP_ENDPOINT": "https://x/receiver/v1/http", "SUMO_HTTP_TOKEN": SECRET}, "Secrets Manager"),
    ],
    ids=str,
)
def test_status_says_of_an_endpoint_only_what_it_is(variables: dict[str, str], kind: str) -> None:
    """Each form that the extension takes."""
    row = status(function((OURS,), variables))
    assert row["endpoint"] == kind and "TOKEN" not in str(row)
