"""CURVE keys for a broker that has them. The files are those of `jobyard keygen` (the convention of czmq), or hold nothing
but the 40 characters of a key."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import zmq

from jobyard.errors import JobyardError
from jobyard.words import Code

_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_VALUE = re.compile(r"^\s+(public|secret)-key\s*=\s*[\"'](.*)[\"']\s*$", re.MULTILINE)


@dataclass(frozen=True)
class PeerKeys:
    server: bytes  # the broker's public key
    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"PeerKeys(server={self.server!r}, public={self.public!r})"  # never the secret


def keys_for(endpoint: str, server_key: str, key_file: str) -> PeerKeys | None:
    """Without them $JOBYARD_SERVER_KEY and $JOBYARD_KEY_FILE. None for ipc, where the system says who may connect."""
    if not endpoint.startswith("tcp://"):
        return None
    server_key = server_key or os.environ.get("JOBYARD_SERVER_KEY", "")
    key_file = key_file or os.environ.get("JOBYARD_KEY_FILE", "")
    if not server_key and not key_file:
        return None
    if not key_file:
        raise _wrong(
            "there is a key of the broker, and none of your own: name its file as key_file (or $JOBYARD_KEY_FILE)"
        )
    if not server_key:
        raise _wrong(
            "there is a key of your own, and none of the broker: give it as server_key (or $JOBYARD_SERVER_KEY)"
        )
    server = server_key if _KEY.fullmatch(server_key) else _read(server_key, "public")
    if os.path.exists(key_file) and os.stat(key_file).st_mode & 0o077:
        raise _wrong(f"the key file {key_file} can be used by others than its owner; run: chmod 600 {key_file}")
    secret = _read(key_file, "secret").encode()
    return PeerKeys(server.encode(), zmq.curve_public(secret), secret)


def _read(path: str, which: str) -> str:
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as wrong:
        raise _wrong(
            f"the key file {path} cannot be read: {getattr(wrong, 'strerror', None) or 'it is no text'}"
        ) from None
    bare = text.strip()
    key = bare if _KEY.fullmatch(bare) else dict(_VALUE.findall(text)).get(which, "")
    if not _KEY.fullmatch(key):
        raise _wrong(f"the key file {path} has no {which} key: a file that jobyard keygen wrote was expected")
    return key


def _wrong(text: str) -> JobyardError:
    return JobyardError(text, code=Code.bad_field, field="key_file")
