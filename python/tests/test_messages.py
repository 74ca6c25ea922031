"""The worked examples of PROTOCOL.md, section 11, read from the document itself; and what a codec must bear."""

import ast
import re
import unittest
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import]

from jobyard import messages as m
from jobyard.errors import BadMessage
from jobyard.words import MINOR, Code

DOCUMENT = (Path(__file__).resolve().parents[2] / "protocol" / "PROTOCOL.md").read_text()


def examples() -> list[dict[str, Any]]:
    found = []
    section = DOCUMENT.split("\n## 11. Worked examples\n")[1].split("\n## ")[0]
    for block in re.findall(r"```\n(.*?)```", section, re.S):
        fields = dict(re.findall(r"^(\w+): +((?:.*\n)(?: .*\n)*)", block, re.M))
        example: dict[str, Any] = {name: bytes.fromhex(text) for name, text in fields.items() if name != "means"}
        words = re.sub(r"bin\((\w*)\)", r"bytes.fromhex('\1')", fields["means"].strip())
        example["means"] = _literal(words)
        found.append(example)
    return found


def _literal(text: str) -> Any:
    """The notation of `means`: JSON with nil and bin(HEX)."""
    names = {"true": True, "false": False, "nil": None}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.List):
            return [value(each) for each in node.elts]
        if isinstance(node, ast.Dict):
            return {value(k): value(v) for k, v in zip(node.keys, node.values) if k is not None}
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.Call):
            return bytes.fromhex(ast.literal_eval(node.args[0]))
        return ast.literal_eval(node)

    return value(ast.parse(text, mode="eval").body)


class WorkedExamples(unittest.TestCase):
    def test_are_found(self) -> None:
        self.assertGreaterEqual(len(examples()), 29)

    def test_mean_what_they_say(self) -> None:
        for example in examples():
            self.assertEqual(m.unpack(example.get("header", example.get("payload"))), example["means"])

    def test_are_read_and_written_byte_by_byte(self) -> None:
        kinds = set()
        for example in examples():
            if "header" not in example:
                continue
            with self.subTest(example["means"]):
                session, request, message = m.decode(example["header"])
                assert message is not None
                self.assertEqual([session, request], example["means"][2:4])
                self.assertEqual(m.encode(message, session, request), example["header"])
                items = getattr(message, "items", [])
                if items and message[-1] is items and hasattr(items[0], "payload_length"):
                    self.assertEqual(
                        b"".join(m.payloads(items, example.get("payload", b""))), example.get("payload", b"")
                    )
                    packed = [m.encode_item(item) for item in items]
                    before = list(message)[:-1]
                    self.assertEqual(m.encode_list(type(message), packed, session, request, *before), example["header"])
                kinds.add(type(message))
        self.assertEqual(len(kinds), 40, "each message has an example")

    def test_minor_versions_are_those_of_the_table(self) -> None:
        rows = re.findall(r"^\| (\d+) \| (.*) \|$", DOCUMENT.split("\n| minor |")[1].split("\n\n")[0], re.M)
        self.assertEqual(int(rows[-1][0]), MINOR)
        numbers = {name: int(number) for number, name in re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", DOCUMENT, re.M)}
        since, appended = {}, {}
        for minor, brought in rows:
            for name, field in re.findall(r"([A-Z_]+)(?:: `(\w+)`)?", re.sub(r"`, `\w+", "", brought)):
                kind = m._CLASSES[numbers[name]]
                if field:
                    item = {m.Submit: m.SubmitItem, m.Dispatch: m.DispatchItem, m.Release: m.ReleaseItem}.get(
                        kind, kind
                    )
                    appended[item] = (field, int(minor))
                else:
                    since[kind] = int(minor)
        self.assertEqual((since, appended), (m._SINCE, m._APPENDED))

    def test_codes_are_those_of_the_table(self) -> None:
        table = re.findall(r"^\| (\d+) \| (\w+) \|", DOCUMENT.split("\n## 8. Codes\n")[1].split("\n## ")[0], re.M)
        self.assertEqual(
            [(int(number), word) for number, word in table], [(c.value, c.name) for c in Code if not 20 <= c < 26]
        )


class Reading(unittest.TestCase):
    def test_what_is_nil_or_left_out_has_its_default_and_what_is_beyond_is_ignored(self) -> None:
        header = msgpack.packb([1, 30, 7, 0, [[0, 2, 41, 99, 1, "q", "t", None, 5, 6, None, 0, "new"]], "newer"])
        self.assertEqual(m.decode(header), (7, 0, m.Dispatch([m.DispatchItem(0, 2, 41, 99, 1, "q", "t", 0, 5, 6)])))

    def test_a_message_of_a_later_minor_version_is_none(self) -> None:
        self.assertEqual(m.decode(msgpack.packb([1, 99, 7, 3, "?"])), (7, 3, None))

    def test_nonsense_is_refused_with_words(self) -> None:
        for header, words in (
            (b"\xc1", "not MessagePack"),
            (msgpack.packb([1, 11, 7, 3, []]) + b"x", "not MessagePack"),
            (msgpack.packb({"a": 1}), "begins version"),
            (msgpack.packb([1, "x", 7, 3]), "begins version"),
            (msgpack.packb([2, 11, 7, 3, []]), "version 2; 1 was expected"),
            (msgpack.packb([1, 14, 7, 0, "much"]), "Grant.total_bytes: int was expected"),
            (msgpack.packb([1, 12, 7, 3, ["x"]]), "Watch.jobs: each was expected to be int"),
            (msgpack.packb([1, 11, 7, 3, [5]]), "AnswerItem: an array was expected"),
        ):
            with self.assertRaisesRegex(BadMessage, words):
                m.decode(header)

    def test_payloads_must_fill_their_frame(self) -> None:
        items = [m.JobItem(0, 2, 0, 1), m.JobItem(0, 1, 0, 2)]
        self.assertEqual(m.payloads(items, b"abc"), [b"ab", b"c"])
        for frame in (b"ab", b"abcd"):
            with self.assertRaisesRegex(BadMessage, "its items say 3"):
                m.payloads(items, frame)
        with self.assertRaisesRegex(BadMessage, "payload_kind 1"):
            m.payloads([m.JobItem(1, 0, 0, 1)], b"")


if __name__ == "__main__":
    unittest.main()
