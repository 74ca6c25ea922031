"""Errors that differ only in numbers, addresses, quoted names or paths are the same error seen again."""

from __future__ import annotations

import re

_PART = re.compile(r""""[^"]*"|'[^']*'| +|.[^ "']*""", re.DOTALL)


def error_shape(error: str) -> str:
    """The first line, in which each word that has a digit or a slash in it, and each quoted text, is `#`."""
    shape = ""
    for part in _PART.findall(error.split("\n", 1)[0]):
        if part[0] == " ":
            shape += " " if shape and shape[-1] != " " else ""
        elif (part[0] in "\"'" and len(part) > 1 and part[-1] == part[0]) or re.search("[0-9/]", part):
            shape += "#"
        else:
            shape += part
    return shape


def fingerprint(type: str, error: str) -> str:
    """Of a type's error: what `start_task(error=…)` takes."""
    value = 0xCBF29CE484222325
    for byte in type.encode() + b"\0" + error_shape(error).encode():
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{value:016x}"
