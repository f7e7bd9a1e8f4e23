"""The commands in a document, read out of its fenced blocks and typed in order, as a reader would.

A block that cannot be run here has `<!-- not run: why -->` on the line before it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

DOCS = ROOT / "docs"
SHELLS = {"bash", "sh", "console"}

_NOT_RUN = re.compile(r"^\s*<!-- not run: (.+) -->$")
#: these go on until they are told to stop
_STAYS = re.compile(r"\bpathlane (up|gateway|worker|listen)\b")
_SETS = re.compile(r"^(?:export )?[A-Z][A-Z_0-9]*=")
_ID = re.compile(r"\b((?:job|msg|key|ep)_[0-9A-HJKMNP-TV-Z]{26})\b")
#: how a page writes an id that is another one for each reader
_ID_ON_PAGE = re.compile(r"\b(job|msg|key|ep)_01[0-9A-Z]*(?:\.\.\.)?")


@dataclass(frozen=True, kw_only=True)
class Block:
    page: str
    line: int
    heading: str
    language: str
    text: str
    #: why it is not run, where it is not
    not_run: str = ""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    heading, reason, inside, begun, language = "", "", None, 0, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r"^\s*```\s*([\w{}-]*)", line)
        if inside is not None:
            if fence:
                text = textwrap.dedent("\n".join(inside))
                name = str(page.relative_to(ROOT))
                found.append(
                    Block(
                        page=name, line=begun, heading=heading, language=language, text=text, not_run=reason
                    )
                )
                inside, reason = None, ""
            else:
                inside.append(line)
        elif fence:
            inside, begun, language = [], number, fence[1]
        elif line.startswith("#"):
            heading = line.lstrip("# ")
        elif told := _NOT_RUN.match(line):
            reason = told[1]
        elif line.strip():
            reason = ""
    return found


def commands(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in SHELLS]


@dataclass
class Reader:
    """Somebody who types what stands on a page, in one folder.

    `instead` is what must be another one here than on the page: a pattern, and what is typed in its place.
    """

    folder: Path
    instead: dict[str, str | Callable[[re.Match[str]], str]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / ".venv").symlink_to(sys.prefix)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ids: dict[str, str] = {}
        self._set: list[str] = []

    def read(self, page: Path, heading: str = "") -> list[str]:
        """Type all commands of a page, or of one section of it; what each block printed."""
        self.new_shell()
        wanted = [one for one in commands(page) if heading in ("", one.heading) and not one.not_run]
        assert wanted, f"nothing to type on {page.name}"
        return [self.type(block.text, block.where) for block in wanted]

    def new_shell(self) -> None:
        """What was exported counts no longer."""
        self._set.clear()

    def type(self, text: str, where: str) -> str:
        """Raises AssertionError, with what was said, unless every command succeeds."""
        said = ""
        one_by_one = _STAYS.search(text) or _ID_ON_PAGE.search(text)
        for command in _one_by_one(text) if one_by_one else [text]:
            stays = _STAYS.search(command)
            printed = self._start(command, stays[1], where) if stays else self._run(command, where)
            self._set += [line for line in command.splitlines() if _SETS.match(line)]
            self._ids |= {found.partition("_")[0]: found for found in _ID.findall(printed)}
            said += printed
        return said

    def until(self, condition, seconds: float = 400) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "".join(self.log(name) for name in self._running)
            time.sleep(0.2)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self, *names: str) -> None:
        for name in names or list(self._running):
            process = self._running.pop(name, None)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(120)

    def _run(self, command: str, where: str) -> str:
        typed = "\n".join([*map(self._as_here, self._set), self._as_here(command)])
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", typed], cwd=self.folder, env=self._environment(),
            capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert ended.returncode == 0, f"{where}\n{typed}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def _start(self, command: str, name: str, where: str) -> str:
        """In a terminal of its own. What runs already is not started again."""
        if name in self._running:
            return ""
        typed = "\n".join([*map(self._as_here, self._set), f"exec {self._as_here(command)}"])
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                ["bash", "-c", typed], cwd=self.folder, env=self._environment(), stdout=log, stderr=log
            )
        self._running[name] = process
        if name == "up":
            self.until(lambda: "Ctrl-C stops it" in self.log("up") or process.poll() is not None)
        assert process.poll() is None, f"{where}\n{typed}\n{self.log(name)}"
        return ""

    def _as_here(self, command: str) -> str:
        for pattern, here in self.instead.items():
            command = re.sub(pattern, here, command, flags=re.MULTILINE)
        return _ID_ON_PAGE.sub(lambda found: self._ids.get(found[1], found[0]), command)

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path} | self.settings


def _one_by_one(text: str) -> list[str]:
    return [line for line in re.split(r"(?<!\\)\n", text) if line.strip()]
