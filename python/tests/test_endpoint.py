"""Where a broker is looked for, and that nobody else can be listening there."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from jobyard import Client, JobyardError
from jobyard.endpoint import broker_endpoint, require_private


class Endpoint(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.runtime = Path(directory.name)
        environment = mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(self.runtime)})
        environment.start()
        self.addCleanup(environment.stop)
        os.environ.pop("JOBYARD_BROKER", None)

    def test_is_what_was_given_else_the_environments_else_the_users(self) -> None:
        self.assertEqual(broker_endpoint(None), f"ipc://{self.runtime}/jobyard/broker")
        os.environ["JOBYARD_BROKER"] = "tcp://there:7466"
        self.assertEqual(broker_endpoint(None), "tcp://there:7466")
        self.assertEqual(broker_endpoint("ipc:///given"), "ipc:///given")
        del os.environ["JOBYARD_BROKER"], os.environ["XDG_RUNTIME_DIR"]
        self.assertEqual(broker_endpoint(None), f"ipc:///tmp/jobyard-{os.getuid()}/broker")

    def test_the_default_directory_is_made_for_its_user_alone(self) -> None:
        require_private(broker_endpoint(None))
        self.assertEqual((self.runtime / "jobyard").stat().st_mode & 0o777, 0o700)
        require_private(broker_endpoint(None))

    def test_a_default_directory_that_others_can_use_is_refused(self) -> None:
        directory = self.runtime / "jobyard"
        directory.mkdir()
        directory.chmod(0o755)
        with Client() as client:
            with self.assertRaisesRegex(JobyardError, f"open to other users; run: chmod 700 {directory}"):
                client.submit("t").id()
        directory.rmdir()
        directory.symlink_to("/tmp")
        with self.assertRaisesRegex(JobyardError, "is not a directory"):
            require_private(broker_endpoint(None))

    def test_what_is_no_endpoint_is_refused_with_words(self) -> None:
        with Client("http://there") as client:
            with self.assertRaisesRegex(JobyardError, "tcp://HOST:PORT was expected"):
                client.submit("t").id()


if __name__ == "__main__":
    unittest.main()
