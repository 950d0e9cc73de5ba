"""Tab completion of `occflow` in bash, zsh and fish: subcommands, their keys, the files of a group; else paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

WORDS = """\
_occflow_keys() {{
    case $1 in
{keys}
    esac
}}
_occflow_choices() {{
    case $1 in
{choices}
    esac
}}
"""
BASH = WORDS + """\
_occflow() {{
    local line=${{COMP_LINE:0:COMP_POINT}}
    local word=${{line##*[[:space:]]}}  # KEY=VALUE whole, which bash itself takes for three words
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "{names} --help --version" -- "$word"))
    elif [[ $word == *=* ]]; then
        local choices=$(_occflow_choices "${{word%%=*}}")
        if [ -n "$choices" ]; then
            COMPREPLY=($(compgen -W "$choices" -- "${{word#*=}}"))
        else
            COMPREPLY=($(compgen -f -- "${{word#*=}}"))
        fi
    else
        COMPREPLY=($(compgen -W "$(_occflow_keys "${{COMP_WORDS[1]}}") --help" -- "$word") $(compgen -f -- "$word"))
        compopt -o nospace 2>/dev/null
    fi
}}
complete -F _occflow occflow"""
ZSH = WORDS + """\
_occflow() {{
    local word=$words[CURRENT]
    if (( CURRENT == 2 )); then
        compadd -- {names} --help --version
    elif [[ $word == *=* ]]; then
        local choices=$(_occflow_choices "${{word%%=*}}")
        compset -P 1 '*='
        if [[ -n $choices ]]; then compadd -- ${{=choices}}; else _files; fi
    else
        compadd -S '' -- $(_occflow_keys "$words[2]") --help
        _files
    fi
}}
compdef _occflow occflow"""
FISH_FIRST = 'complete -c occflow -n __fish_use_subcommand -f -a "{names} --help --version"'
FISH = 'complete -c occflow -n "__fish_seen_subcommand_from {name}" -a "{words} --help"'


def completion(shell: str) -> str:
    """The script of one of occflow.commands.SHELLS, of the configuration as it is now."""
    from occflow.command_line import CONFIG_DIR, compose_config
    from occflow.commands import NAMES

    config = compose_config([])
    groups = sorted(path for path in CONFIG_DIR.iterdir() if path.is_dir())
    choices = {group.name: sorted(path.stem for path in group.glob("*.yaml")) for group in groups}
    keys = {}
    for name in NAMES:
        reads = import_module(f"occflow.commands.{name}").READS
        keys[name] = [word for key in reads for word in _settings(key, config[key])]
        keys[name] += [f"{group}=" for group in choices if reads and group in (*reads, "experiment")]
    if shell == "fish":  # which takes KEY=VALUE for one word
        whole = {name: " ".join(word + one for word in words for one in ("", *choices.get(word[:-1], ())))
                 for name, words in keys.items()}
        lines = [FISH.format(name=name, words=words) for name, words in whole.items()]
        return "\n".join([FISH_FIRST.format(names=" ".join(NAMES)), *lines])
    return {"bash": BASH, "zsh": ZSH}[shell].format(keys=_cases(keys), choices=_cases(choices), names=" ".join(NAMES))


def _settings(key: str, value: object) -> Iterator[str]:
    """KEY= of every value below a key."""
    if isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from _settings(f"{key}.{name}", entry)
    else:
        yield f"{key}="


def _cases(words: Mapping[str, list[str]]) -> str:
    return "\n".join(f'        {name}) echo "{" ".join(entries)}" ;;' for name, entries in words.items())
