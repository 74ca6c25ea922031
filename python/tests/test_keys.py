"""Keys: their files, and a broker that has them."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from yard import PATIENCE, PROGRAMS, Yard, eventually

from jobyard import Client, JobyardError, NotAllowed, Worker
from jobyard.keys import keys_for

TCP = "tcp://127.0.0.1:7466"


def make_key(directory: Path, name: str) -> str:
    """A pair, and its public key."""
    argv = [str(PROGRAMS / "jobyard"), "keygen", name, "--output", str(directory)]
    output = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    return output.split()[2]


class Files(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.files = Path(directory.name)
        self.key = make_key(self.files, "web")
        for name in ("JOBYARD_SERVER_KEY", "JOBYARD_KEY_FILE"):
            os.environ.pop(name, None)

    def test_what_keygen_writes_is_read(self) -> None:
        keys = keys_for(TCP, str(self.files / "web"), str(self.files / "web_secret"))
        assert keys is not None
        self.assertEqual(keys.server.decode(), self.key)
        self.assertEqual(keys.public.decode(), self.key)
        self.assertNotIn(keys.secret.decode(), repr(keys))

    def test_a_file_may_be_nothing_but_the_key(self) -> None:
        keys = keys_for(TCP, self.key, str(self.files / "web_secret"))
        assert keys is not None
        bare = self.files / "bare_secret"
        bare.touch(0o600)
        bare.write_bytes(keys.secret + b"\n")
        self.assertEqual(keys_for(TCP, self.key, str(bare)), keys)

    def test_both_are_needed_and_ipc_has_none(self) -> None:
        secret = str(self.files / "web_secret")
        self.assertIsNone(keys_for(TCP, "", ""))
        self.assertIsNone(keys_for("ipc:///x", self.key, secret))
        for server, own in (
            (self.key, ""),
            ("", secret),
            (self.key, "/nonexistent"),
            (self.key, str(self.files / "web")),
        ):
            with self.assertRaises(JobyardError):
                keys_for(TCP, server, own)

    def test_a_secret_that_others_can_read_is_refused(self) -> None:
        secret = self.files / "web_secret"
        secret.chmod(0o640)
        with self.assertRaisesRegex(JobyardError, "chmod 600"):
            keys_for(TCP, self.key, str(secret))


class WithKeys(Yard):
    def setUp(self) -> None:
        files = tempfile.TemporaryDirectory()
        self.addCleanup(files.cleanup)
        self.files = Path(files.name)
        make_key(self.files, "broker")
        make_key(self.files, "stranger")
        roles = {"web": '["submit"]', "arm": '["work"]'}
        text = "".join(
            f'[keys.{name}]\npublic_key = "{make_key(self.files, name)}"\nroles = {role}\nqueues = ["default"]\n'
            for name, role in roles.items()
        )
        access = self.files / "access.toml"
        access.write_text(text)
        access.chmod(0o600)
        self.listen = "tcp://127.0.0.1:0"
        self.flags = ("--key-file", str(self.files / "broker_secret"), "--access-file", str(access))
        super().setUp()

    def keyed(self, name: str, server: str = "broker") -> dict[str, Any]:
        return {"server_key": str(self.files / server), "key_file": str(self.files / f"{name}_secret")}

    def test_a_job_goes_through_and_rights_are_kept(self) -> None:
        program = (
            "from jobyard import Worker\n"
            f"worker = Worker({self.endpoint!r}, **{self.keyed('arm')!r})\n"
            "worker.job('echo')(lambda job: job.payload)\n"
            "worker.run()\n"
        )
        self.start([sys.executable, "-c", program])
        client = self.client(**self.keyed("web"))
        self.assertEqual(client.submit("echo", b"hello", watch=True).result(timeout=PATIENCE), b"hello")
        with self.assertRaises(NotAllowed):
            client.submit("echo", queue="other").id(PATIENCE)
        with self.assertRaises(NotAllowed):
            client.stats()

    def test_who_is_not_known_is_told_so(self) -> None:
        client = self.client(**self.keyed("stranger"))
        with self.assertRaisesRegex(NotAllowed, "refused this key"):
            client.submit("echo").id(PATIENCE)
        worker = Worker(self.endpoint, **self.keyed("stranger"))
        worker.job("echo")(lambda job: None)
        with self.assertRaisesRegex(NotAllowed, "refused this key"):
            worker.run(signals=False)

    def test_who_has_no_key_is_told_so(self) -> None:
        # Which of two things libzmq tells is a race: that one side has keys, or only that the connection was closed.
        with self.assertRaisesRegex(JobyardError, "wants? a key"):
            self.client(submit_limit=10.0).submit("echo").id(PATIENCE)

    def test_a_wrong_server_key_is_told(self) -> None:
        with self.assertLogs("jobyard", "WARNING") as logs:
            self.client(**self.keyed("web", "stranger"))
            eventually(lambda: any("is the server key right?" in line for line in logs.output), "it is told")


if __name__ == "__main__":
    unittest.main()
