"""What the documents show, and whether it is so.

A fenced block says by its first line what it is:

    ```console            commands, in order, and what they print: run, and compared
    ```console parsed     commands that take too long or too much for a test: they must only be ones that would be taken
    ```python submit.py   a file of that name, written where the commands of the document run
    ```cpp examples/x.cpp an excerpt (so too c, cmake, python) of that file of the source: its lines stand there in that order
    ```text               tables, figures and pictures: no commands

In `console` a line `$ …` is a command, and lines `> …` right after it are its next ones; what follows is what it prints, both
streams. In it … is anything; times of day, durations and the widths of columns may be others. A command must succeed; one that
fails shows its exit status (`; echo $?`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
# For all the commands of a document, within what ctest gives it: what is not there by then never comes.
LIMIT = int(os.environ.get("JOBYARD_TEST_SECONDS", "180")) - 30

# Where the documents say that things are. A test has all of it in a directory of its own.
OF_THE_MACHINE = re.compile(r"(?<![\w.$}-])/(?:var/lib/jobyard|var/backups/jobyard|run/jobyard|etc/jobyard|backup)\b")


@dataclass
class Block:
    kind: str
    rest: str
    section: str
    number: int  # the line of the document at which it begins
    lines: list[str] = field(default_factory=list)


@dataclass
class Step:
    """A command and what it prints. `#` is root's prompt, `$` anybody's."""

    section: str
    prompt: str
    number: int
    command: str
    output: str = ""


def documents() -> list[Path]:
    return [SOURCE / "README.md", *sorted((SOURCE / "docs").glob("*.md"))]


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    section, inside = "", False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = not inside
            if inside:
                kind, _, rest = line[3:].partition(" ")
                found.append(Block(kind, rest, section, number))
        elif inside:
            found[-1].lines.append(line)
        elif line.startswith("## "):
            section = line[3:]
    return found


def steps(block: Block, prompts: str = "$") -> list[Step]:
    found: list[Step] = []
    in_command = False
    for number, line in enumerate(block.lines, block.number + 1):
        if line[:1] in prompts and line[1:2] == " ":
            found.append(Step(block.section, line[0], number, line[2:]))
            in_command = True
        elif in_command and line.startswith("> "):
            found[-1].command += "\n" + line[2:]
        elif not found:
            raise ValueError(f"line {number}: a console begins with a command: {line}")
        else:
            in_command = False
            found[-1].output += line + "\n"
    return found


_VARIES = re.compile(
    r"(?P<anything>…)"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?)"
    r"|(?P<duration>(?<![\w.])(?:\d+(?:ms|[smhd]))+\b)"
    r"|(?P<space>[ ]{2,})"
)
_TAKEN = {
    "anything": r"(?s:.*?)",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?",
    "duration": r"(?:\d+(?:ms|[smhd]))+",
    "space": " +",
}


# Where nobody sits at a terminal bash tells of a process that was killed whenever it notices.
_REMARK_OF_THE_SHELL = re.compile(r"^bash: line \d+: +\d+ Killed .*\n", re.MULTILINE)


def matches(expected: str, printed: str) -> bool:
    pattern, at = "", 0
    expected = expected.strip()
    for varies in _VARIES.finditer(expected):
        pattern += re.escape(expected[at : varies.start()]) + _TAKEN[varies.lastgroup or ""]
        at = varies.end()
    return re.fullmatch(pattern + re.escape(expected[at:]), printed.strip()) is not None


def environment(programs: Path, directory: Path) -> dict[str, str]:
    """What a user has who has nothing yet, and what a sanitizer was told that the programs have (scripts/sanitize)."""
    for name in ("home", "run", "machine"):
        (directory / name).mkdir(mode=0o700)
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(directory / "home"),
        "XDG_RUNTIME_DIR": str(directory / "run"),
        "PYTHONPATH": str(SOURCE / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "USER": "alice",
        "LANG": "C.UTF-8",
        **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")},
    }


class Session:
    """One shell, in a directory of its own, for all commands of a document. They run in order until one fails."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._directory = directory
        self._machine = directory / "machine"
        self._environment = environment(programs, directory)
        for place in ("var/lib", "var/backups", "etc", "run/jobyard", "backup"):
            (self._machine / place).mkdir(parents=True)

    def _here(self, text: str) -> str:
        return OF_THE_MACHINE.sub(lambda found: str(self._machine) + found.group(), text)

    def write_file(self, name: str, lines: list[str]) -> None:
        (self._directory / "home" / name).write_text(self._here("\n".join(lines) + "\n"))

    def run(self, all_steps: list[Step]) -> str:
        """What is not as it was shown; nothing if all is."""
        directory = self._directory
        script = ["ulimit -n 20000", "cd"]
        for index, step in enumerate(all_steps):
            (directory / f"{index}.command").write_text(self._here(step.command))
            script.append(
                f'eval "$(cat {directory}/{index}.command)" >{directory}/{index}.output 2>&1 </dev/null;'
                f" status=$?; echo $status >{directory}/{index}.status; [ $status = 0 ] || exit"
            )
        # The shell, and with it all that it has started, ends with this test, in whichever way that does.
        shell = subprocess.Popen(
            ["timeout", "--kill-after=1", str(LIMIT), "bash", "--norc", "-c", "\n".join(script)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            shell.wait(LIMIT + 10)
        finally:
            try:
                os.killpg(shell.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            shell.wait()
        return self._compare(all_steps)

    def _compare(self, all_steps: list[Step]) -> str:
        directory = self._directory
        for index, step in enumerate(all_steps):
            status = directory / f"{index}.status"
            output = directory / f"{index}.output"
            printed = output.read_text(errors="replace") if output.exists() else ""
            printed = _REMARK_OF_THE_SHELL.sub("", printed).replace(str(self._machine), "")
            what = f"line {step.number}: {step.command}\n"
            if not status.exists():
                return f"{what}has not ended, or never began, within {LIMIT} s; so far it says:\n{printed}"
            if (code := status.read_text().strip()) != "0":
                return f"{what}exits with {code}:\n{printed}"
            if not matches(step.output, printed):
                return f"{what}prints\n{printed}\nand not, as the document says,\n{step.output}"
        return ""


def run(document: Path, programs: Path, directory: Path) -> str:
    session = Session(programs, directory)
    all_steps: list[Step] = []
    for block in blocks(document.read_text()):
        if block.kind == "console" and not block.rest:
            all_steps += steps(block)
        elif is_written(block):
            session.write_file(block.rest, block.lines)
    return session.run(all_steps)


def is_written(block: Block) -> bool:
    """Whether it is a file that the commands of the document find."""
    return block.kind in ("python", "toml") and re.fullmatch(r"[\w-]+\.[a-z]+", block.rest) is not None


def parse(command: str, programs: Path) -> str:
    """What is wrong with a command that is not run; nothing if it would be taken."""
    checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
    if checked.returncode != 0:
        return checked.stderr
    words = re.sub(r"\s#.*", "", command).split()
    program = words[0]
    if "/" in program:
        file = SOURCE / program
        return "" if os.access(file, os.X_OK) else f"{program} is no program of the source"
    if program.startswith("jobyard"):
        return unknown_words(words, programs)
    return "" if shutil.which(program) or program in ("export", "cd", "source") else f"{program} is not installed"


_help: dict[tuple[str, ...], str | None] = {}


def _help_of(words: tuple[str, ...], programs: Path) -> str | None:
    if words not in _help:
        ran = subprocess.run(
            [str(programs / words[0]), *words[1:], "--help"], capture_output=True, text=True, timeout=LIMIT
        )
        _help[words] = ran.stdout if ran.returncode == 0 else None
    return _help[words]


def _verbs_of(text: str) -> set[str]:
    _, found, listed = text.partition("Subcommands:\n")
    return set(re.findall(r"^  ([a-z][\w-]*)", listed, re.MULTILINE)) if found else set()


def unknown_words(words: list[str], programs: Path) -> str:
    """Of a command line of ours: the verb or the option that the program does not know; nothing if it knows all."""
    if not (programs / words[0]).exists():
        return f"there is no program {words[0]}"
    verbs = [words[0]]
    texts = [_help_of(tuple(verbs), programs) or ""]
    for word in words[1:]:
        if word == "--":
            break
        if word.startswith("-"):
            option = word.rstrip(",;:.").split("=")[0]
            if not any(re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) for text in texts):
                return f"{' '.join(verbs)} has no option {option}"
        elif known := _verbs_of(texts[-1]):
            if word not in known:
                if len(verbs) == 1:
                    return f"{verbs[0]} has no verb {word}"
                continue
            verbs.append(word)
            texts.append(_help_of(tuple(verbs), programs) or "")
    return ""
