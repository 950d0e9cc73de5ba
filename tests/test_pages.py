"""The pages: every link leads somewhere, the site has them all, commands that they name are accepted."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from occflow.command_line import compose_config
from occflow.commands import NAMES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FOLDERS = ("docs", "pretrained", "data/pandaset_002", "occflow", "studies", "viz", "tools")
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "data/README.md",
                *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
GUIDE = sorted(DOCS.glob("*.md"))
RESEARCH = sorted(path for path in (DOCS / "research").glob("*.md") if path.name != "README.md")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What headings are called in links, by GitHub's rule."""
    headings = re.findall(r"^#+ +(.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_the_site_has_every_page_once():
    text = (ROOT / "mkdocs.yml").read_text()
    there = re.findall(r"([\w./]+\.md)$", text[text.index("\nnav:"):], re.MULTILINE)
    outside = re.findall(r'"(\w+\.md)"', (DOCS / "site_pages.py").read_text())
    assert sorted(there) == sorted([*(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")), *outside])
    assert yaml.safe_load(text)["docs_dir"] == "docs"


def test_the_reference_names_what_there_is():
    for name in re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(), re.MULTILINE):
        module, _, thing = name.rpartition(".")
        assert hasattr(import_module(module), thing) or import_module(name), name


@pytest.mark.parametrize("page", GUIDE, ids=named)
def test_a_guide_says_what_is_and_names_no_commit(page):
    assert not re.search(r"\bcommits? +[0-9a-f]{7}", page.read_text())


@pytest.mark.parametrize("page", RESEARCH, ids=named)
def test_a_research_note_says_at_once_whether_its_networks_still_exist(page):
    title, _, first = page.read_text().split("\n", 3)[:3]
    assert title.startswith("# ") and first.startswith("*Of ") and first.endswith("*")
    assert f"[{page.name}]({page.name})" in (DOCS / "research/README.md").read_text()


@pytest.mark.parametrize("name", ["nuscenes", "adapting"])
def test_commands_of_a_guide_are_accepted(name):
    blocks = CODE.findall((DOCS / f"{name}.md").read_text().replace("\\\n", " "))
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()[1:-1]]
    tools = [next(place for place, word in enumerate(words) if word.startswith("tools/")) for words in lines]
    assert len(lines) > 4 and {Path(words[tool]).stem for words, tool in zip(lines, tools)} <= set(NAMES)
    for overrides in {tuple(words[tool + 1:]) for words, tool in zip(lines, tools)}:
        compose_config(overrides)
