"""The documentation says what there is: every verb, option, setting, make target and variable, and nothing else."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from modules.model import MODELS
from sqidflow.cli import app
from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import CHECKOUT, ENVIRONMENT_PREFIX, NOT_SETTINGS, Settings, known_keys

README = CHECKOUT / "README.md"
DOCS = CHECKOUT / "docs"
GENERATED = DOCS / "reference"
"""Pages that docs/hooks.py makes when the site is built."""
PAGES = [
    README,
    *sorted(DOCS.glob("*.md")),
    *sorted(DOCS.glob("start/*.md")),
    *sorted((CHECKOUT / "components").glob("*/README.md")),
]
PAGE_IDS = [page.relative_to(CHECKOUT).as_posix() for page in PAGES]

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VARIABLE = re.compile(rf"\b{ENVIRONMENT_PREFIX}[A-Z][A-Z_]*\b")
TARGET = re.compile(r"^([a-z][a-z-]*):.*?## (.+)$", re.MULTILINE)
SECTIONS = "|".join(sorted({key.split(".")[0] for key in known_keys()}))
SETTING = re.compile(rf"(?<![\w./-])((?:{SECTIONS})\.([a-z_]+))\b(?!\.\w)")
FILE_ENDINGS = {"csv", "db", "dvc", "json", "log", "lock", "md", "parquet", "py", "yaml"}
GLOBAL_OPTIONS = {"--help", "--debug", "--version"}
SHOWN_IN_COMMON = {"--workdir", "--set", "--json"}


def tracked_files() -> list[Path]:
    """The repository's files: git's where there is git, else all that no tool made."""
    if (CHECKOUT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT,
            capture_output=True,
            check=True,
        )
        files = [CHECKOUT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        made = {".venv", "data", "artifacts", "var", "__pycache__", "node_modules", "dist"}
        files = [
            file
            for file in CHECKOUT.rglob("*")
            if not any(part in made or part.startswith(".") for part in file.relative_to(CHECKOUT).parts[:-1])
        ]
    return [file for file in files if file.is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every file of the repository that is text."""
    for file in tracked_files():
        try:
            yield file.relative_to(CHECKOUT).as_posix(), file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def verbs(group: Any = None, path: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """``data sample`` -> its long options, for every verb that does something."""
    group = group or typer.main.get_command(app)
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            found |= verbs(command, (*path, name))
        if not getattr(command, "commands", None) or command.invoke_without_command:
            found[" ".join((*path, name))] = {
                option
                for parameter in command.params
                for option in (*parameter.opts, *parameter.secondary_opts)
                if option.startswith("--")
            }
    return found


def code_of(page: Path) -> list[str]:
    """Every line of code of a page: of its fenced blocks (continued lines joined) and its inline spans."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()[1:-1]]
    return lines + INLINE.findall(FENCE.sub("", text))


def commands_of(page: Path, program: str) -> list[str]:
    """What follows ``program`` wherever a page's code calls it: up to a comment, a pipe or the next command."""
    call = re.compile(rf"(?:^|&&|[;|,])\s*(?:[A-Z][A-Z_]*=\S*\s+|\$ )*(?:\.venv/bin/)?{program}\s+([^#;&|>,]+)")
    return [found.strip() for line in code_of(page) for found in call.findall(line)]


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next of its level."""
    text = page.read_text(encoding="utf-8")
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    level = heading.split(" ")[0]
    end = re.search(rf"^#{{1,{len(level)}}} ", text[start:], re.MULTILINE)
    return text[start : start + end.start()] if end else text[start:]


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def make_targets() -> set[str]:
    return {name for name, _ in TARGET.findall((CHECKOUT / "Makefile").read_text())}


def table_rows(text: str) -> list[list[str]]:
    """The cells of every line of a text's tables."""
    lines = (line.strip("|") for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


# --- what there is, is described --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_and_its_options_are_described(verb: str) -> None:
    page = DOCS / "cli.md"
    text = section(page, f"## `sqidflow {verb}`")
    missing = [option for option in sorted(verbs()[verb]) if f"`{option}" not in text]
    assert not missing, f"docs/cli.md does not describe {missing} of {verb}"


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_no_option_is_described_that_a_verb_does_not_have(verb: str) -> None:
    listed = re.findall(r"^- (.+)$", section(DOCS / "cli.md", f"## `sqidflow {verb}`"), re.MULTILINE)
    named = [span for line in listed for span in INLINE.findall(line.split(":")[0])]
    assert {option for span in named for option in OPTION.findall(span)} <= verbs()[verb] | GLOBAL_OPTIONS


def test_common_options_are_described() -> None:
    text = section(DOCS / "cli.md", "## Common to all")
    assert not [option for option in sorted(SHOWN_IN_COMMON | GLOBAL_OPTIONS - {"--help"}) if f"`{option}" not in text]


@pytest.mark.parametrize("key", known_keys())
def test_every_setting_stands_with_its_default(key: str) -> None:
    rows = {row[0]: row for row in table_rows((DOCS / "settings.md").read_text()) if len(row) > 2}
    assert f"`{key}`" in rows, f"docs/settings.md has no row of {key}"
    section_name, name = key.split(".")
    default = getattr(getattr(Settings(), section_name), name)
    shown = yaml.safe_load(INLINE.findall(rows[f"`{key}`"][1])[0])
    wanted = list(default) if isinstance(default, tuple) else default
    assert shown == wanted, f"docs/settings.md says {key} is {shown!r}, it is {wanted!r}"


def test_params_file_has_every_setting_at_its_default() -> None:
    params = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    given = {f"{section}.{key}": value for section, values in params.items() for key, value in values.items()}
    assert list(given) == known_keys()
    defaults = Settings().model_dump(mode="json")
    assert given == {key: defaults[key.split(".")[0]][key.split(".")[1]] for key in given}


def test_every_model_is_described() -> None:
    text = (DOCS / "cli.md").read_text() + (DOCS / "settings.md").read_text()
    assert not [name for name in MODELS if f"`{name}`" not in text]


def test_every_make_target_is_described() -> None:
    described = section(DOCS / "cli.md", "## `make`")
    assert make_targets() == set(re.findall(r"^\| `make ([a-z-]+)`", described, re.MULTILINE))


def test_every_environment_variable_is_described() -> None:
    read = {
        name
        for file, text in texts()
        if file.startswith(("pipeline/", "feature_repo/", "deploy/", "sqidflow/", "tests/conftest.py", "Makefile"))
        for name in VARIABLE.findall(text)
        if "__" not in name
    }
    assert read == NOT_SETTINGS, "sqidflow.core.settings.NOT_SETTINGS has to name every variable of ours"
    text = section(DOCS / "settings.md", "## Environment variables")
    assert not [name for name in sorted(read) if f"`{name}`" not in text]


def test_every_class_of_error_is_in_the_tree_of_errors() -> None:
    """sqidflow/core/errors.py shows the tree in its first docstring; the pages refer to it."""
    import sqidflow.core.errors as errors

    classes = [SqidflowError, *SqidflowError.__subclasses__()]
    assert not [c.__name__ for c in classes if c.__module__ == errors.__name__ and c.__name__ not in errors.__doc__]


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in (CHECKOUT / "components").glob("*/component.py")))
def test_every_component_has_its_page(folder: str) -> None:
    assert len((CHECKOUT / "components" / folder / "README.md").read_text()) > 100


def test_readme_names_the_two_commands_and_every_page() -> None:
    text = README.read_text()
    assert "make run" in text and "make test" in text
    assert not [page.name for page in sorted(DOCS.glob("*.md")) if f"docs/{page.name}" not in text]


# --- what is described, is there --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target.parent == GENERATED:  # the build of the site checks these
            continue
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        if anchor:
            anchors = {slug(heading) for heading in HEADING.findall(FENCE.sub("", target.read_text(encoding="utf-8")))}
            assert anchor in anchors, f"{page.name} links to {link}; {target.name} has {sorted(anchors)}"


def test_pages_that_code_refers_to_are_there() -> None:
    reference = re.compile(r"\bdocs/\w+\.md\b")
    named = {(file, page) for file, text in texts() for page in reference.findall(text)}
    assert not [(file, page) for file, page in sorted(named) if not (CHECKOUT / page).is_file()]


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_documented_commands_exist(page: Path) -> None:
    known = verbs()
    groups = {verb.split(" ")[0] for verb in known if " " in verb}
    for command in commands_of(page, "sqidflow"):
        words = command.split()
        while words and words[0].startswith("-"):
            assert words.pop(0) in GLOBAL_OPTIONS, f"{page.name}: `sqidflow {command}`"
        if not words or words[0].startswith("<"):
            continue
        # A group alone stands for its verbs: `sqidflow data ...`.
        if words[0] in groups and (len(words) == 1 or not re.match(r"[a-z]", words[1])):
            continue
        verb = next((" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in known), " ".join(words[:2]))
        assert verb in known, f"{page.name}: there is no `sqidflow {command}`"
        unknown = {option for option in OPTION.findall(command)} - known[verb] - GLOBAL_OPTIONS
        assert not unknown, f"{page.name}: `sqidflow {command}`: no option {sorted(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_documented_make_targets_exist(page: Path) -> None:
    for command in commands_of(page, "make"):
        named = {word for word in command.split() if re.fullmatch(r"[a-z][a-z-]*", word)}
        assert named <= make_targets(), f"{page.name}: `make {command}`"


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_documented_settings_exist(page: Path) -> None:
    for code in code_of(page):
        if "unknown setting" in code:  # an error message, shown as it is
            continue
        for key, name in SETTING.findall(code):
            assert key in known_keys() or name in FILE_ENDINGS, f"{page.name}: there is no setting {key} (in `{code}`)"


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_documented_variables_exist(page: Path) -> None:
    settings = {f"{ENVIRONMENT_PREFIX}{key.replace('.', '__').upper()}" for key in known_keys()}
    named = set(VARIABLE.findall(page.read_text(encoding="utf-8")))
    assert named <= NOT_SETTINGS | settings | {f"{ENVIRONMENT_PREFIX}SECTION__KEY", ENVIRONMENT_PREFIX}


def test_hints_name_verbs_that_exist() -> None:
    """What an error tells the user to type can be typed."""
    known = verbs()
    for file, text in texts():
        if not file.endswith(".py") or file.startswith("tests/"):
            continue
        for command in re.findall(r"`sqidflow ([a-z]+(?:[ -][a-z]+)*)", text):
            fits = any(f"{command} ".startswith(f"{verb} ") or verb.startswith(f"{command} ") for verb in known)
            assert fits, f"{file}: there is no `sqidflow {command}`"
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert target in make_targets(), f"{file}: there is no `make {target}`"


# --- the repository belongs to whoever clones it ----------------------------------------------------------------------


def test_no_file_names_a_place_of_one_machine() -> None:
    tops = "|".join(("work", "home", "root", "Users"))
    place = re.compile(rf"(?<![\w.~*)}}\]$-])/(?:{tops})/\w+")
    named = [f"{file}: {found.group()}" for file, text in texts() for found in place.finditer(text)]
    assert not named


def test_pages_are_finished() -> None:
    marks = re.compile(r"\b(?:TODO|TBD|FIXME|MEASURED|XXX)\b")
    assert not [(page.name, found) for page in PAGES for found in marks.findall(page.read_text(encoding="utf-8"))]
