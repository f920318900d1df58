"""``sumo-internal completions``: scripts by which bash, zsh and fish complete the commands, made of their arguments.

Separate from :mod:`sumo_internal.cli.arguments`, of which it reads what argparse knows: a new option is completed
without a line here.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

from sumo_internal.cli import EXIT_DONE
from sumo_internal.cli.arguments import PROGRAM, parser

BASH = """\
_{name}() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" command="" options="" values=""
    local number
    for ((number = 1; number < COMP_CWORD; number++)); do
        case "${{COMP_WORDS[number]}}" in -*) ;; *) command="${{COMP_WORDS[number]}}"; break ;; esac
    done
    case "$command" in
{cases}
        *) options="{commands}" ;;
    esac
    COMPREPLY=()
    case "$current" in
        -*)
            [ -n "$command" ] || options="--help --version"
            mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
            ;;
        *)
            [ -n "$command" ] && options=""
            mapfile -t COMPREPLY < <(compgen -W "$options $values" -- "$current")
            [ -z "$command" ] || mapfile -O "${{#COMPREPLY[@]}}" -t COMPREPLY < <(compgen -f -- "$current") ;;
    esac
}}
complete -o filenames -F _{name} {program}
"""

ZSH = """\
#compdef {program}
_{name}() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    case "${{words[2]}}" in
{cases}
    esac
}}
_{name} "$@"
"""


def run(arguments: argparse.Namespace) -> int:
    """Print a shell's script."""
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](), end="")
    return EXIT_DONE


def _commands() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Each command: its name, its line in the list of all, its arguments."""
    [subparsers] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    helps = {choice.dest: choice.help or "" for choice in subparsers._choices_actions}
    for name, command in subparsers.choices.items():
        yield name, helps[name], command


def _options(command: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in command._actions if action.option_strings]


def _values(command: argparse.ArgumentParser) -> list[str]:
    """What a command takes without a dash, where that is a choice."""
    return [str(value) for action in command._actions if not action.option_strings for value in action.choices or ()]


def _text(action: argparse.Action) -> str:
    """An option's help, with its default filled in."""
    return (action.help or "") % {"default": action.default}


def _bash() -> str:
    cases = []
    for name, _, command in _commands():
        options = " ".join(option for action in _options(command) for option in action.option_strings)
        cases.append(f'        {name}) options="{options}"; values="{" ".join(_values(command))}" ;;')
    names = " ".join(name for name, _, _ in _commands())
    return BASH.format(name=_name(), program=PROGRAM, cases="\n".join(cases), commands=names)


def _zsh() -> str:
    cases = []
    for name, _, command in _commands():
        specs = []
        for action in _options(command):
            text = _text(action).translate({ord("["): "(", ord("]"): ")", ord(":"): "\\:"})
            takes = "" if action.nargs == 0 else f":{action.metavar or action.dest}:_files"
            specs += [shlex.quote(f"*{option}[{text}]{takes}") for option in action.option_strings]
        rest = f"*: :({' '.join(_values(command))})" if _values(command) else "*: :_files"
        cases.append(
            f"        {name}) shift words; (( CURRENT-- )); _arguments {' '.join(specs)} {shlex.quote(rest)} ;;"
        )
    lines = [f"        {shlex.quote(f'{name}:{text}')}" for name, text, _ in _commands()]
    return ZSH.format(name=_name(), program=PROGRAM, commands="\n".join(lines), cases="\n".join(cases))


def _fish() -> str:
    lines = []
    for name, text, command in _commands():
        first = f"complete -c {PROGRAM} -n __fish_use_subcommand"
        lines.append(f"{first} -f -a {name} -d {shlex.quote(text)}")
        here = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {name}'"
        for action in _options(command):
            names = [f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in action.option_strings]
            takes = "" if action.nargs == 0 else " -r"
            lines.append(f"{here} {' '.join(names)}{takes} -d {shlex.quote(_text(action))}")
        if values := _values(command):
            lines.append(f"{here} -f -a {shlex.quote(' '.join(values))}")
    return "\n".join(lines) + "\n"


def _name() -> str:
    return PROGRAM.replace("-", "_")
