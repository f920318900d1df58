"""What attaching and detaching make of one function's configuration. Pure: nothing is asked or changed.

A configuration is what Lambda's API answers for a function. Of it two things are ours to change, the layers and the
variables, and Lambda replaces both as a whole: so each change says what was there and what shall be, and the command
that carries it out can see that nothing else has changed in between.

Rules:

* What a function has, it keeps, in its order: other layers, other variables, and our own settings where it already has
  them. A setting that attaching would give another value stays as it is, and the plan says so.
* So taking back is exact. The names of the variables that attaching adds are themselves one, SUMO_ATTACHED: it is part
  of the configuration that it describes, and no file that somebody has to keep.
* The wrapper's slot goes to us. The wrapper that had the slot becomes SUMO_NEXT_WRAPPER, and gets the slot back. A
  wrapper that does not run what it is given keeps the slot.
* No text made here has a variable's value in it, except a wrapper's path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sumo_internal import config

LAYER_NAME = "sumo-internal-extension"
"""Under which the layer is published."""

WRAPPER_PATH = "/opt/sumo_wrapper"
WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
NEXT_WRAPPER = "SUMO_NEXT_WRAPPER"
STARTS_ITS_OWN = frozenset(("/opt/bootstrap",))
"""Wrappers that start a program of the function's own and not what they are given: behind our wrapper, one would not
start what ours hands to it. The AWS Lambda Web Adapter's."""
ATTACHED = "SUMO_ATTACHED"
ENDPOINT = "SUMO_HTTP_ENDPOINT"
TOKEN = "SUMO_HTTP_TOKEN"

RUNTIMES = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "python3.15")
"""What the layer runs on."""

LAYERS_MAX = 5
VARIABLES_MAX_BYTES = 4_096
"""Lambda's limits. It measures all variables together, as one compact JSON object."""

GO_LAYER_PREFIX = "sumologic-extension-"
"""Sumo's Go extension is published as sumologic-extension-amd64 and -arm64."""

COMPILING = "each cold start compiles it, which takes about 0.15 s"
"""What a layer without a function's bytecode costs: with CPython 3.12 a start took 217 ms in place of 84."""

SETTINGS = tuple(setting.variable for setting in config.SETTINGS)


@dataclass(frozen=True)
class State:
    """Of a function's configuration, what is ours to change: its layers' ARNs, in order, and its variables."""

    layers: tuple[str, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """What is, and what shall be: the same, where there is nothing to do. Notes are for the person who decides."""

    before: State
    after: State
    notes: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """Is there nothing to do?"""
        return self.before == self.after


@dataclass(frozen=True)
class Skip:
    """The function is left alone; the reason completes the sentence "It … "."""

    reason: str


@dataclass(frozen=True)
class Wanted:
    """What attaching gives to a function: a layer's version (in its region), settings, and whether Go's is replaced."""

    layer: str
    settings: Mapping[str, str]
    migrates: bool = False
    bytecode: frozenset[str] | None = None
    """The runtimes whose bytecode the layer brings; None where that is not known."""


def state(configuration: Mapping[str, Any]) -> State:
    """Layers and variables of a configuration."""
    layers = tuple(layer["Arn"] for layer in configuration.get("Layers", ()))
    return State(layers, dict(configuration.get("Environment", {}).get("Variables", {})))


def attach(configuration: Mapping[str, Any], wanted: Wanted) -> Change | Skip:
    """Give a function layer, wrapper and settings."""
    reason = _unfit(configuration) or _unreadable(configuration)
    if reason:
        return Skip(reason)
    before = state(configuration)
    variables = dict(before.variables)
    if any(map(is_go, before.layers)):
        if not wanted.migrates:
            return Skip("has Sumo's Go extension, and both would ship each line (--migrate replaces it)")
        for name in config.WITHOUT_MEANING:
            variables.pop(name, None)
    slot = variables.get(WRAPPER) or WRAPPER_PATH
    if slot not in (WRAPPER_PATH, *STARTS_ITS_OWN):
        if variables.get(NEXT_WRAPPER) not in (None, "", slot):
            return Skip(f"has {slot} in the wrapper's slot and another one in {NEXT_WRAPPER}")
        variables[NEXT_WRAPPER] = slot
    variables[WRAPPER] = slot if slot in STARTS_ITS_OWN else WRAPPER_PATH
    notes = _settle(variables, wanted.settings)
    runtime = configuration.get("Runtime", "")
    if wanted.bytecode is not None and runtime not in wanted.bytecode:
        notes.append(f"{without_bytecode(runtime)} (`make layer` where that Python is, and publish)")
    if slot in STARTS_ITS_OWN:
        notes.append(
            f"{slot} stays in the wrapper's slot, because it starts a program of the function's own: lines come from "
            f"the Telemetry API, and with levels and fields where its run.sh starts Python by {WRAPPER_PATH}"
        )
    if reason := published_only(configuration, before.variables):
        notes.append(f"it {reason}: only a version that is published after this has the layer and the settings")
    after = State(_with_layer(before.layers, wanted.layer), variables)
    reason = _over_limit(after)
    if not variables.get(ENDPOINT):
        reason = f"would have no {ENDPOINT} (--endpoint)"
    return Skip(reason) if reason else Change(before, after, (*notes, *config.read(variables)[1]))


def mode_of(configuration: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """Which of Lambda's modes a function runs in: its configuration tells, or else its variables as Lambda has them."""
    if configuration.get("CapacityProviderConfig"):
        return config.MANAGED
    if (configuration.get("SnapStart") or {}).get("ApplyOn", "None") != "None":
        return config.SNAP_START
    return config.mode(variables)


def published_only(configuration: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """What it is about a function that what is invoked is a published version; empty where ``$LATEST`` mostly is."""
    mode = mode_of(configuration, variables)
    if mode == config.SNAP_START:
        return "uses SnapStart"
    if mode == config.MANAGED:
        return "runs on Managed Instances, where $LATEST is not invoked"
    if configuration.get("DurableConfig"):
        return "is durable, and an execution stays in the version that began it"
    return ""


def without_bytecode(runtime: str) -> str:
    """What a function on a runtime has to expect of a layer that does not bring its bytecode."""
    return f"the layer has no bytecode for {runtime}: {COMPILING}"


def detach(configuration: Mapping[str, Any], *given: str) -> Change | Skip:
    """Take from a function what attaching has added.

    Args:
        configuration: The function's.
        given: Names or ARNs of the layer, where it is published under another than the usual name.
    """
    reason = _unreadable(configuration)
    if reason:
        return Skip(reason)
    before = state(configuration)
    variables = dict(before.variables)
    for name in variables.pop(ATTACHED, "").split(","):
        variables.pop(name, None)
    if variables.get(WRAPPER) == WRAPPER_PATH:
        slot = variables.pop(NEXT_WRAPPER, "")
        # In place, so that a wrapper that was there before stands where it stood.
        variables = {n: slot if n == WRAPPER else v for n, v in variables.items() if n != WRAPPER or slot}
    layers = tuple(each for each in before.layers if not is_ours(each, *given))
    left = [name for name in variables if name in SETTINGS]
    notes = (f"{', '.join(left)}: not added by attaching, and left",) if left and layers != before.layers else ()
    return Change(before, State(layers, variables), notes)


def status(configuration: Mapping[str, Any], *given: str) -> dict[str, Any]:
    """What a function has, as ``status --json`` prints it; of the endpoint only the kind of its value."""
    has = state(configuration)
    layer = next((layer for layer in has.layers if is_ours(layer, *given)), "")
    slot = has.variables.get(WRAPPER, "")
    return {
        "function": configuration["FunctionName"],
        "runtime": configuration.get("Runtime", ""),
        "layer": layer,
        "layerVersion": version_of(layer),
        "hasGoExtension": any(map(is_go, has.layers)),
        "hasWrapper": slot == WRAPPER_PATH,
        "otherWrapper": has.variables.get(NEXT_WRAPPER, "") if slot == WRAPPER_PATH else slot,
        "endpoint": _kind(has.variables),
    }


def _kind(variables: Mapping[str, str]) -> str:
    """What the variable holds that has the credential: the token, or else the address with its code."""
    value = variables.get(TOKEN) or variables.get(ENDPOINT, "")
    if value.startswith("arn:"):
        return {"secretsmanager": "Secrets Manager", "ssm": "SSM"}.get(value.split(":")[2], "an ARN")
    if variables.get("KMS_KEY_ID"):
        return "KMS"
    return "in the clear" if value else ""


def is_go(layer: str) -> bool:
    """Is this a version of Sumo's Go extension?"""
    return name_of(layer).startswith(GO_LAYER_PREFIX)


def is_ours(layer: str, *given: str) -> bool:
    """Is this a version of our layer, under its usual name or one that is given (or an ARN)?"""
    return name_of(layer) in (LAYER_NAME, *map(name_of, given))


def name_of(layer: str) -> str:
    """The name in ``arn:aws:lambda:REGION:ACCOUNT:layer:NAME:VERSION``, or what is given, if it is a name."""
    return layer.split(":")[6] if layer.count(":") >= 6 else layer


def version_of(layer: str) -> str:
    """The version in it."""
    return [*layer.split(":"), *[""] * 8][7]


def differences(change: Change) -> Iterator[str]:
    """What changes, a line each, as a plan shows it."""
    yield from (f"- layer {_short(layer)}" for layer in change.before.layers if layer not in change.after.layers)
    yield from (f"+ layer {_short(layer)}" for layer in change.after.layers if layer not in change.before.layers)
    before, after = change.before.variables, change.after.variables
    for name in dict.fromkeys([*before, *after]):
        sign = "+" if name not in before else "-" if name not in after else "~" if before[name] != after[name] else ""
        value = f"={after[name]}" if name in (WRAPPER, NEXT_WRAPPER) and name in after else ""
        if sign:
            yield f"{sign} {name}{value}"
    yield from (f"! {note}" for note in change.notes)


def _short(layer: str) -> str:
    return f"{name_of(layer)}:{version_of(layer)}"


def _settle(variables: dict[str, str], settings: Mapping[str, str]) -> list[str]:
    """Add settings to variables, and note which; return what is to be said."""
    notes = []
    added = [name for name in variables.get(ATTACHED, "").split(",") if name]
    for name, value in settings.items():
        if name not in variables:
            added.append(name)
        elif name not in added:
            if variables[name] != value:
                notes.append(f"{name} has another value, the function's own, and keeps it")
            continue
        variables[name] = value
    if added:
        variables[ATTACHED] = ",".join(dict.fromkeys(added))
    return notes


def _with_layer(layers: tuple[str, ...], wanted: str) -> tuple[str, ...]:
    """Put our layer where an older one of it or Go's is, or last."""
    replaced = [layer for layer in layers if is_ours(layer, wanted) or is_go(layer)]
    if not replaced:
        return (*layers, wanted)
    place = layers.index(replaced[0])
    kept = [layer for layer in layers if layer not in replaced]
    return (*kept[:place], wanted, *kept[place:])


def _unfit(configuration: Mapping[str, Any]) -> str:
    """Why the layer is not for this function; empty if it is."""
    if configuration.get("PackageType") == "Image":
        return "is a container image, which has no layers (copy the layer in its Dockerfile: layer/examples/image)"
    runtime = configuration.get("Runtime", "")
    if runtime not in RUNTIMES:
        return f"runs on {runtime or 'no managed runtime'}; the layer is for {RUNTIMES[0]} to {RUNTIMES[-1]}"
    return ""


def _unreadable(configuration: Mapping[str, Any]) -> str:
    """Why the function's variables cannot be read; variables that are not known cannot be kept."""
    error = configuration.get("Environment", {}).get("Error")
    return f"has variables that you may not read ({error.get('ErrorCode', 'kms:Decrypt')})" if error else ""


def _over_limit(after: State) -> str:
    """Which of Lambda's limits a change would exceed; empty if none."""
    if len(after.layers) > LAYERS_MAX:
        return f"would have {len(after.layers)} layers; Lambda accepts {LAYERS_MAX}"
    size_bytes = len(json.dumps(dict(after.variables), ensure_ascii=False, separators=(",", ":")).encode())
    if size_bytes > VARIABLES_MAX_BYTES:
        return f"would have {size_bytes:,} bytes of variables; Lambda accepts {VARIABLES_MAX_BYTES:,}"
    return ""
