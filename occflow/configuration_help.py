"""A composed configuration as YAML, with the comments of the files in configs/ that its keys come from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KEY = re.compile(r"(\s*)(\w+):")
COMMENT_COLUMN = 42


def annotated(config: Mapping, choices: Mapping[str, str], folder: Path, addition: Path | None = None) -> str:
    """Every group under the title of its chosen file and the names of the others, every key with its comment.

    Args:
        choices: the file that was chosen for each group.
        folder: that of the groups, with config.yaml, which the other keys are of.
        addition: the file of further keys.
    """
    lines, top, after_group = [], key_comments(folder / "config.yaml", folder), False
    if addition is not None:
        top |= key_comments(addition, folder)
    for name, value in config.items():
        group = isinstance(value, Mapping)
        lines += [""] * (group or after_group)
        after_group = group
        comments = {name: top[name]} if name in top else {}
        if name in choices:
            path = folder / name / f"{choices[name]}.yaml"
            comments = {f"{name}.{key}": comment for key, comment in key_comments(path, folder).items()}
            others = sorted(other.stem for other in path.parent.glob("*.yaml") if other != path)
            lines += [*_title(path), f"# {name}={choices[name]}" + (f"; or {', '.join(others)}" if others else "")]
        else:
            comments = {key: comment for key, comment in top.items() if key.partition(".")[0] == name}
        lines += _yaml_lines(name, value, comments, "")
    return "\n".join(lines).strip("\n")


def key_comments(path: Path, folder: Path) -> dict[str, str]:
    """The comments behind the keys of a file, and of those it builds upon, by dotted key."""
    import yaml

    text, comments = path.read_text(encoding="utf-8"), {}
    for base in (yaml.safe_load(text) or {}).get("defaults", []):
        if isinstance(base, str) and base != "_self_":
            name = f"{base.partition('@')[0]}.yaml"
            comments |= key_comments(folder / name[1:] if name.startswith("/") else path.parent / name, folder)
    above: list[tuple[int, str]] = []  # indent and name of the groups around a line
    for line in text.splitlines():
        code, _, comment = line.partition(" #")
        if found := KEY.match(code):
            above = [*((indent, name) for indent, name in above if indent < len(found[1])), (len(found[1]), found[2])]
            if comment:
                comments[".".join(name for _, name in above)] = comment.strip()
    return comments


def _title(path: Path) -> list[str]:
    """The lines at the head of a file that say what it is."""
    lines = path.read_text(encoding="utf-8").splitlines()
    count = next((count for count, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line for line in lines[:count] if not line.startswith("# @")]


def _yaml_lines(key: str, value: Any, comments: Mapping[str, str], indent: str) -> Iterator[str]:
    import yaml

    name = key.rpartition(".")[2]
    group = isinstance(value, Mapping) and bool(value)
    shown = "" if group else yaml.safe_dump(value, default_flow_style=True, width=1e9, allow_unicode=True)
    line = f"{indent}{name}: {shown.removesuffix('...' + chr(10)).strip()}".rstrip()
    yield f"{line:<{COMMENT_COLUMN}} # {comments[key]}" if key in comments else line
    for entry in value if group else ():
        yield from _yaml_lines(f"{key}.{entry}", value[entry], comments, f"{indent}  ")
