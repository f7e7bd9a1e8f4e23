"""The documents hang together: every link leads somewhere, and the site is built without a warning."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import ROOT, missing
from tests.documents import DOCS, commands

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def name(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """Of a page's headings, as forges and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken(page):
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def build(source, folder):
    if find_spec("furo") is None or find_spec("myst_parser") is None:
        missing("the extra `docs`")
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_document_leads_to_one(page):
    assert list(broken(page)) == []


def test_the_site_is_built_without_a_warning_and_calls_nobody(tmp_path):
    built = build(DOCS, tmp_path)
    assert (built.returncode, built.stderr) == (0, "")
    for page in PAGES[2:]:
        assert (tmp_path / page.relative_to(DOCS).with_suffix(".html")).is_file()
    fetched = r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=[\"'](?:https?:)?//"
    assert not [page for page in tmp_path.rglob("*.html") if re.search(fetched, page.read_text())]
    assert not [
        css for css in tmp_path.rglob("*.css") if re.search(r"url\([\"']?(?:https?:)?//", css.read_text())
    ]


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n[there](gone.md) and [here](#page), [not here](#elsewhere)\n")
    assert list(broken(page)) == ["gone.md", "#elsewhere"]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_a_page_says_why_a_command_is_not_run(page):
    assert all(len(block.not_run.split()) > 2 for block in commands(page) if block.not_run)


@pytest.mark.parametrize("page", PAGES[2:], ids=name)
def test_a_page_has_a_plain_name_and_one_title(page):
    assert re.fullmatch(r"[a-z0-9-]+\.md", page.name)
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
