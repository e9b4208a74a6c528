"""The pages of the documentation: short sentences, links that lead somewhere, a place in the site."""

import re
import struct
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "experiments").rglob("*.md")),
]
MOST = 30  # words of a sentence
ENDS = re.compile(r"[.!?](?=\s|$)(?<!e\.g\.)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def shown(page: Path) -> str:
    """A page without its blocks of code and with each link as its text."""
    text = re.sub(r"^```.*?^```|^ {4}\S[^\n]*", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def sentences(text: str) -> list[str]:
    """Paragraphs, list entries and cells, cut at full stops and colons; code counts as one word."""
    text = re.sub(r"`[^`\n]+`|`[^`]+`", "X", text)
    parts: list[str] = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=[#|:])", text):
        cells = block.split("|") if block.lstrip().startswith("|") else [block]
        parts += [part.strip() for cell in cells for part in ENDS.split(cell) if part.strip()]
    return parts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_is_longer_than_thirty_words(page: Path):
    long = [each for each in sentences(shown(page)) if len(each.split()) > MOST]
    assert not long, "\n\n".join(long)


def test_sentences_are_counted():
    text = "One two three. Four\nfive! Six\n\n- seven `a b c` eight\n- nine\n\n| ten eleven | twelve |\n"
    assert [len(each.split()) for each in sentences(text)] == [3, 2, 1, 4, 2, 2, 1]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 700


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_checkout_lead_somewhere(page: Path):
    """On the site some targets are made (all settings, contributing); their links are checked by its build."""
    made = {"reference/settings.md", "contributing.md", "changelog.md", "experiments", "benchmarks"}
    for link in LINK.findall(page.read_text()):
        target = link.split("#")[0]
        if "://" in link or not target:
            continue
        path = (page.parent / target).resolve()
        of_site = path.is_relative_to(ROOT / "docs") and any(
            path.is_relative_to(ROOT / "docs" / name) for name in made
        )
        if of_site:
            name = path.relative_to(ROOT / "docs").as_posix()
            assert name.startswith("reference") or name in made or (ROOT / name).is_file(), f"{page}: {link}"
        else:
            assert path.exists(), f"{page}: {link}"


def test_each_page_has_its_place_in_the_site(tmp_path: Path):
    sys.path.insert(0, str(ROOT / "docs" / "_pages"))
    import site_pages

    site_pages.lay_out(tmp_path / "pages")
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = {
        page
        for part in nav
        for entry in part.values()
        for page in ([entry] if isinstance(entry, str) else entry)
    }
    assert named == {
        path.relative_to(tmp_path / "pages").as_posix() for path in (tmp_path / "pages").rglob("*.md")
    }


def test_pictures_of_the_readme_are_small():
    for link in LINK.findall((ROOT / "README.md").read_text()):
        if link.endswith((".png", ".svg")):
            content = (ROOT / link).read_bytes()
            assert len(content) < 300_000, link
            if link.endswith(".png"):
                width, _ = struct.unpack(">II", content[16:24])
                assert width >= 600, f"{link} is too small to be read"


def test_the_words_of_before_are_gone():
    """The field's terms: backbone, re-evaluation, workers, batch of heads, correct."""
    for page in PAGES:
        for word in (
            "trunk",
            "finalist",
            "crew",
            "company",
            "patient ",
            "mend",
            "answers rightly",
            "right answers",
        ):
            assert (
                word
                not in re.sub(
                    r"`[^`]*`|^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE
                ).lower()
            ), (page, word)


def test_each_public_name_is_on_the_page_of_the_api():
    import seedsweep

    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    for name in set(seedsweep.__all__) - {"stats"}:
        assert f"::: seedsweep.{name}\n" in page, name


def test_each_dependency_and_extra_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "reference" / "dependencies.md").read_text()
    core, extras = page.split("## Extras")
    named = [re.split(r"[\[<>=~! ]", each)[0] for each in project["dependencies"]]
    assert re.findall(r"^\| `([^`]+)` \|", core, re.MULTILINE) == named
    found = re.findall(r"^\| `([^`]+)` \|", extras, re.MULTILINE)
    assert sorted(found) == sorted(project["optional-dependencies"])
