"""The `openstack` command line: what one server costs in a script's loop."""

import subprocess
import time

import fetched
import stage

REQUIREMENTS = ("python-openstackclient>=7,<11",)


class CommandLine:
    """The command of python-openstackclient, in an environment of its own."""

    def __init__(self, sim: stage.Sim) -> None:
        self._sim = sim
        self._bin = fetched.environment("openstackclient", *REQUIREMENTS)

    def act(self, servers: int) -> list[float]:
        """Make servers one after the other where there is room; return when each was accepted."""
        return [self._create(number) for number in range(servers)]

    def _create(self, number: int) -> float:
        command = [str(self._bin / "openstack"), "--os-cloud", "p1", "--os-region-name", "R01"]
        command += ["server", "create", "--image", stage.IMAGE, "--flavor", stage.SIZE]
        command += ["--network", "ci-net", f"line-{number}"]
        subprocess.run(
            command,
            env={"OS_CLIENT_CONFIG_FILE": str(self._sim.clouds_file)},
            check=True,
            capture_output=True,
            timeout=60,
        )
        return time.perf_counter()
