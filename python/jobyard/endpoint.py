"""Where the broker is."""

from __future__ import annotations

import os
import stat

from jobyard.errors import JobyardError
from jobyard.words import Code


def broker_endpoint(given: str | None) -> str:
    """What was given, else $JOBYARD_BROKER, else the broker of this user on this machine."""
    return given or os.environ.get("JOBYARD_BROKER") or f"ipc://{_default_directory()}/broker"


def require_private(endpoint: str) -> None:
    """Nobody else may be able to listen at the default endpoint: its directory is made here if nobody has yet."""
    directory = _default_directory()
    if not endpoint.startswith(f"ipc://{directory}/"):
        return
    try:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        # lstat: a link would be somebody's way to put another directory in the place of ours.
        found = os.lstat(directory)
    except OSError as wrong:
        raise _refused(f"cannot use {directory}: {wrong.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(f"{directory} is not a directory; remove it")
    if found.st_uid != os.getuid():
        raise _refused(
            f"{directory} belongs to user {found.st_uid}, who could be listening there; name another endpoint"
        )
    if found.st_mode & 0o077:
        raise _refused(f"{directory} is open to other users; run: chmod 700 {directory}")


def _default_directory() -> str:
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return f"{runtime}/jobyard"
    return f"/tmp/jobyard-{os.getuid()}"


def _refused(text: str) -> JobyardError:
    return JobyardError(text, code=Code.not_allowed, field="broker")
