"""Commands of a page as a reader types them, and what the page says they print.

In a block ```` ```sh ```` each line is a command. In a block ```` ```console ```` a line that begins with ``$ `` is a
command, ``> `` continues it, and the other lines are what it prints. ``...`` stands for any lines, or for any part of a
line. Blanks count once. Numbers with decimals may differ a little, since the rounding of processors does; whole numbers
may not, unless they are seconds, milliseconds or megabytes.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(console|sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_ANY_UNIT = re.compile(r"\s?(s|ms|min|MB|Wh|kWh|GB)\b")
ELLIPSIS = "..."
_ABSOLUTE, _RELATIVE = 0.02, 0.05


@dataclass(frozen=True)
class Step:
    """A command, what it prints as the page shows it, and the heading above; Python where it is no shell command."""

    command: str
    shown: str
    heading: str
    python: bool = False


def steps_of(page: Path, heading: str | None = None) -> list[Step]:
    """The commands of a page in their order, or those below one heading."""
    text = page.read_text(encoding="utf-8")
    headings = [(match.start(), match[1]) for match in _HEADING.finditer(text)]
    steps = []
    for block in _BLOCK.finditer(text):
        above = next(name for at, name in reversed(headings) if at < block.start())
        if heading is not None and above != heading:
            continue
        if block[1] == "python":
            steps.append(Step(block[2], "", above, python=True))
        elif block[1] == "sh":
            steps += [Step(line, "", above) for line in block[2].splitlines() if line.strip()]
        else:
            steps += _commands(block[2], above)
    return steps


def _commands(block: str, heading: str) -> list[Step]:
    steps: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:], "", heading))
            continue
        assert steps, f"below {heading!r} a block begins with {line!r}, which no command printed"
        last = steps[-1]
        if line.startswith("> ") and not last.shown:
            steps[-1] = Step(f"{last.command}\n{line[2:]}", "", heading)
        else:
            steps[-1] = Step(last.command, f"{last.shown}{line}\n", heading)
    return steps


def difference(shown: str, printed: str) -> str | None:
    """What a page shows and a command did not print, as a sentence; None where all is as shown."""
    wanted, given = _lines(shown), _lines(printed)
    at, anywhere = 0, False
    for line in wanted:
        if line == ELLIPSIS:
            anywhere = True
            continue
        last = len(given) if anywhere else min(at + 1, len(given))
        place = next((number for number in range(at, last) if _same(line, given[number])), None)
        if place is None:
            near = given[at] if at < len(given) else "nothing more"
            return f"{line!r} is shown; printed was {near!r}" + (" and no such line after it" if anywhere else "")
        at, anywhere = place + 1, False
    if not anywhere and wanted and at < len(given):
        return f"{given[at]!r} was printed and is not shown"
    return None


def _lines(text: str) -> list[str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line]


def _same(shown: str, printed: str) -> bool:
    pattern, numbers = "", []
    for part in re.split(r"(\.\.\.)", shown):
        if part == ELLIPSIS:
            pattern += ".*?"
            continue
        at = 0
        for number in _NUMBER.finditer(part):
            pattern += re.escape(part[at : number.start()]) + rf"({_NUMBER.pattern})"
            numbers.append((number[0], bool(_ANY_UNIT.match(part, number.end()))))
            at = number.end()
        pattern += re.escape(part[at:])
    match = re.fullmatch(pattern, printed)
    return match is not None and all(
        free or _near(one, other) for (one, free), other in zip(numbers, match.groups(), strict=True)
    )


def _near(shown: str, printed: str) -> bool:
    if "." not in shown:
        return shown == printed
    one, other = float(shown.replace(",", "")), float(printed.replace(",", ""))
    return abs(one - other) <= max(_ABSOLUTE, _RELATIVE * abs(one))


class Shell:
    """A shell that stays where it is between commands: folder, variables, activated environment."""

    def __init__(self, folder: Path, state: Path, environment: Mapping[str, str]) -> None:
        self._state, self._environment, self._folder = state, dict(environment), folder
        state.write_text("", encoding="utf-8")

    def run(self, command: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command; both streams are in ``stdout``, as a terminal shows them."""
        keep = f"{{ declare -px; echo cd \"'$PWD'\"; }} > {self._state}"
        wrapped = f"source {self._state}\n{command}\ncode=$?\n{keep}\nexit $code"
        return subprocess.run(
            ["bash", "-c", wrapped],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )

    def start(self, command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start what does not end by itself, in a process group of its own."""
        with log.open("wb") as stream:
            return subprocess.Popen(
                ["bash", "-c", f"source {self._state}\n{command}"],
                cwd=self._folder,
                env=self._environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def without_comment(command: str) -> str:
    """A command without what a page says beside it."""
    return re.sub(r"\s+# .*$", "", command)


def commands(steps: Sequence[Step]) -> list[str]:
    return [without_comment(step.command) for step in steps if not step.python]
