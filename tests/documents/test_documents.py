"""The documents are true: see document.py for how they are read.

`python3 -m unittest test_documents.Words` looks at what stands in them; with `JOBYARD_DOCUMENT=PRODUCTION.md` in the environment
`test_documents.Commands` runs the commands of that one.
"""

from __future__ import annotations

import os
import re
import tempfile
import unittest
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from document import SOURCE, Block, blocks, documents, is_written, matches, parse, run, steps, unknown_words

PROGRAMS = Path(os.environ.get("JOBYARD_BIN_DIR", SOURCE / "build" / "bin"))
OUR_CODE = ("broker", "client", "program", "protocol", "service", "store", "worker")


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def quoted(path: Path) -> Iterator[str]:
    """What stands between back quotes, outside of blocks."""
    for span in re.findall(r"`([^`]+)`", prose(path)):
        yield " ".join(span.split())


@lru_cache
def what_the_programs_say() -> str:
    """Every literal text of the source, those that stand side by side as one."""
    token = re.compile(r"""//[^\n]*|'(?:[^'\\\n]|\\.)'|"(?P<text>(?:[^"\\\n]|\\.)*)"(?P<side_by_side>\s*(?="))?""")
    said = ""
    for folder in OUR_CODE:
        for file in sorted((SOURCE / folder).rglob("*.[ch]pp")):
            for found in token.finditer(file.read_text()):
                if found["text"] is not None:
                    said += found["text"] + ("" if found["side_by_side"] is not None else "\n")
    return said.replace('\\"', '"')


@lru_cache
def tests_there_are() -> frozenset[str]:
    found = set()
    for file in (SOURCE / "tests").rglob("*.cpp"):
        found |= {
            f"{suite}.{name}" for suite, name in re.findall(r"TEST(?:_[FP])?\((\w+),\s*(\w+)\)", file.read_text())
        }
    for file in (SOURCE / "tests").rglob("CMakeLists.txt"):
        found |= set(re.findall(r"add_test\(NAME (\w+\.\w*)", file.read_text()))
    return frozenset(found)


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Words(unittest.TestCase):
    """Each test gathers all that is wrong, so that it is mended at once."""

    def setUp(self) -> None:
        self.wrong: list[str] = []

    def tearDown(self) -> None:
        self.assertEqual(self.wrong, [], "\n".join(["", *self.wrong]))

    def test_every_block_is_of_a_kind_that_is_looked_at(self) -> None:
        for path in documents():
            for block in blocks(path.read_text()):
                if wrong := wrong_with(block):
                    self.wrong.append(f"{path.name}:{block.number}: {wrong}")

    def test_excerpts_in_the_readme_for_python_are_excerpts(self) -> None:
        path = SOURCE / "python" / "README.md"
        excerpts = [block for block in blocks(path.read_text()) if block.rest]
        self.assertGreater(len(excerpts), 0)
        for block in excerpts:
            if wrong := wrong_with(block):
                self.wrong.append(f"{path.name}:{block.number}: {wrong}")

    def test_commands_that_are_not_run_would_be_taken(self) -> None:
        for path in documents():
            for block in blocks(path.read_text()):
                for step in steps(block) if (block.kind, block.rest) == ("console", "parsed") else ():
                    if wrong := parse(step.command, PROGRAMS):
                        self.wrong.append(f"{path.name}:{step.number}: {step.command}: {wrong}")

    def test_commands_in_a_sentence_have_verbs_and_options_that_there_are(self) -> None:
        found = 0
        for path in documents():
            for span in quoted(path):
                if re.match(r"jobyard(-\w+)? \S", span):
                    found += 1
                    if wrong := unknown_words(span.split(), PROGRAMS):
                        self.wrong.append(f"{path.name}: {span}: {wrong}")
        self.assertGreater(found, 70)

    def test_tests_that_are_named_are_there(self) -> None:
        there = tests_there_are()
        found = 0
        for path in [*documents(), SOURCE / "DESIGN.md"]:
            for span in quoted(path):
                if not re.fullmatch(r"[A-Z]\w+\.(?:[A-Z]\w*…?|\*)", span) or span.endswith(".md"):
                    continue
                found += 1
                start = span.rstrip("…*")
                if not any(test.startswith(start) if start != span else test == span for test in there):
                    self.wrong.append(f"{path.name}: there is no test {span}")
        self.assertGreater(found, 100)

    def test_every_failure_names_its_test(self) -> None:
        rows = re.findall(r"^\|(?!---)(.+)\|$", (SOURCE / "docs" / "FAILURES.md").read_text(), re.MULTILINE)
        failures = [row.split("|") for row in rows if not row.startswith((" What fails", " What happens"))]
        self.assertGreater(len(failures), 40)
        for cells in failures:
            if len(cells) != 5 or not ("`" in cells[4] or "no test" in cells[4]):
                self.wrong.append("|".join(cells))

    def test_every_promise_says_what_it_means_and_does_not_and_names_its_tests(self) -> None:
        promise = re.compile(r"^\| (P\d+) \| \*\*([^*.]+)\.?\*\*(.+)\|$", re.MULTILINE)
        in_design = {number: name for number, name, _ in promise.findall((SOURCE / "DESIGN.md").read_text())}
        told = promise.findall((SOURCE / "docs" / "GUARANTEES.md").read_text())
        self.assertGreater(len(in_design), 10)
        self.assertEqual({number: name for number, name, _ in told}, in_design)
        for number, _, rest in told:
            cells = rest.split("|")
            if len(cells) != 3 or not cells[1].strip() or "`" not in cells[2]:
                self.wrong.append(f"{number}: {rest}")

    def test_messages_that_are_quoted_are_those_of_the_programs(self) -> None:
        said = what_the_programs_say()
        text = (SOURCE / "docs" / "TROUBLESHOOTING.md").read_text()
        messages = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
        self.assertEqual(
            len(messages), len(re.findall(r"^### ", text, re.MULTILINE)), "a message stands in back quotes"
        )
        self.assertGreater(len(messages), 40)
        for message in messages:
            parts = [part.strip() for part in message.split("…")]
            if max(map(len, parts)) < 12 or not all(part in said for part in parts):
                self.wrong.append(f"no program says this: {message}")

    def test_links_lead_somewhere(self) -> None:
        for path in [*documents(), SOURCE / "python" / "README.md"]:
            for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
                if "://" in target:
                    continue
                name, _, anchor = target.partition("#")
                file = (path.parent / name).resolve() if name else path
                if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                    self.wrong.append(f"{path.name}: {target}")

    def test_the_readme_names_every_document(self) -> None:
        readme = (SOURCE / "README.md").read_text()
        self.wrong = [path.name for path in (SOURCE / "docs").glob("*.md") if f"docs/{path.name}" not in readme]


def wrong_with(block: Block) -> str:
    if block.kind == "console" and block.rest in ("", "parsed"):
        return "" if block.lines else "it is empty"
    if block.kind == "text" and not block.rest:
        commands = [line for line in block.lines if re.match(r"([$#] |(scripts|bench)/|jobyard)", line)]
        return "".join(f"a command in a text: {line}" for line in commands)
    if is_written(block):
        return ""
    if block.kind in ("cpp", "c", "python", "cmake") and (SOURCE / block.rest).is_file():
        return not_in(SOURCE / block.rest, block.lines)
    return f"no kind that is known: {block.kind} {block.rest}"


def not_in(path: Path, lines: list[str]) -> str:
    """An excerpt may be indented otherwise, may pass over lines, and has the values of CMake's variables."""
    text = path.read_text()
    if path.name == "CMakeLists.txt":
        for name, value in re.findall(r"^set\((\w+) (\S+)", text, re.MULTILINE):
            text = text.replace("${" + name + "}", value)
    there = iter([line.strip() for line in text.splitlines()])
    missing = [line for line in lines if line.strip() and line.strip() not in there]
    return f"not in {path.name}, or not in this order: {missing[0]}" if missing else ""


class Expectations(unittest.TestCase):
    """What is taken for what was shown, and what is not."""

    def test_what_varies_may_be_otherwise_and_nothing_else(self) -> None:
        shown = "job  17\nat   2026-11-21T09:58:41.029Z, took 2ms of 5m …"
        self.assertTrue(matches(shown, "job    17\nat 2027-01-01T00:00:00Z, took 1h2m of 30s and\nmore\n"))
        for other in ("job  18\nat   2026-11-21T09:58:41.029Z, took 2ms of 5m ", "job  17\n", ""):
            self.assertFalse(matches(shown, other), other)
        self.assertFalse(matches("", "something"))
        self.assertFalse(matches("attempt 1", "attempt 2"))
        self.assertFalse(matches("x5m", "x6m"), "a part of a word is no duration")

    def test_a_command_that_says_something_else_or_fails_is_told(self) -> None:
        with tempfile.TemporaryDirectory(prefix="jd-") as directory:
            path = Path(directory) / "x.md"
            for command, shown, wrong in (
                ("echo one; cd /; x=5", "one", ""),
                ("echo one", "two", "not, as the document says"),
                ("false", "", "exits with 1"),
                ("true # > \n> echo two", "two", ""),
                ("exit 0", "", "never began"),
            ):
                path.write_text(f"```console\n$ {command}\n{shown}\n$ echo $x\n…\n```\n")
                session = Path(tempfile.mkdtemp(dir=directory))
                self.assertIn(wrong, run(path, PROGRAMS, session) or wrong * (wrong == ""), command)


class Commands(unittest.TestCase):
    def test_print_what_the_document_shows(self) -> None:
        name = os.environ["JOBYARD_DOCUMENT"]
        path = next(path for path in documents() if path.name == name)
        with tempfile.TemporaryDirectory(prefix="jd-", ignore_cleanup_errors=True) as directory:
            self.assertEqual(run(path, PROGRAMS, Path(directory)), "")
