"""Pages of the site that lie outside of docs/: a hook of mkdocs (mkdocs.yml)."""

import posixpath
import re

from mkdocs.structure.files import File

PAGES = {"../data/README.md": "data.md", "../data/pandaset_002/README.md": "pandaset.md",
         "../pretrained/README.md": "pretrained.md", "../CHANGELOG.md": "changelog.md",
         "../CONTRIBUTING.md": "contributing.md"}  # where they lie, seen from docs/ -> their place in the site
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files, config):
    for source, place in PAGES.items():
        path = posixpath.normpath(posixpath.join(config["docs_dir"], source))
        files.append(File.generated(config, place, abs_src_path=path))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links are written for the files as they lie; here they lead from one page of the site to another."""
    origin = {place: source for source, place in PAGES.items()}.get(page.file.src_uri, page.file.src_uri)
    here, folder = posixpath.dirname(page.file.src_uri), posixpath.dirname(origin)

    def placed(link: re.Match) -> str:
        if "://" in link[2] or link[2].startswith("mailto:"):
            return link[0]
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        target = PAGES.get(target, target.removeprefix("../docs/"))
        return f"{link[1]}{posixpath.relpath(target, here or '.')}{link[3] or ''}{link[4]}"

    return LINK.sub(placed, markdown)
