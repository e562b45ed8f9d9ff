"""A burst by Nodepool: a launcher of its own, a ZooKeeper of its own, the same clouds."""

import json
import subprocess
import time
from pathlib import Path

import fetched
import stage
import yaml
from zookeeper import ZooKeeper, zookeeper

# What Nodepool imports and does not require: cachetools, and of setuptools what newer ones lack.
# An openstacksdk of its time: it does not know how newer ones say that there are no volumes.
REQUIREMENTS = ("nodepool==11.0.0", "openstacksdk<4.2", "cachetools", "setuptools<80")
SCRIPT = Path(__file__).parent / "burst_requests.py"
# Seconds between two calls to a region; by itself Nodepool makes one a second.
RATE_S = 0.001
# How long its launcher gets to start, before anything is asked of it.
STARTS_S = 6.0
STOPS_WITHIN_S = 60.0


class Nodepool:
    """A launcher that has nothing ready, and is asked for nodes."""

    def __init__(self, sim: stage.Sim, home: Path, *, slots: int) -> None:
        self._sim = sim
        self._slots = slots
        self._home = home / "nodepool"
        self._home.mkdir()
        self._bin = fetched.environment("nodepool", *REQUIREMENTS)

    def act(self, orders: int, each: int, within_s: float) -> list[float]:
        """Return when each node was seen to be ready, seconds from the first order."""
        with zookeeper(self._home) as keeper:
            configuration = self._home / "nodepool.yaml"
            configuration.write_text(yaml.safe_dump(self._configuration(keeper)))
            command = [str(self._bin / "nodepool-launcher"), "-f", "--no-webapp"]
            command += ["-c", str(configuration), "-p", str(self._home / "pid")]
            environment = {"OS_CLIENT_CONFIG_FILE": str(self._clouds_file())}
            with stage.running(command, environment, self._home / "launcher.log"):
                time.sleep(STARTS_S)
                return self._order(keeper, orders, each, within_s)

    def _order(self, keeper: ZooKeeper, orders: int, each: int, within_s: float) -> list[float]:
        command = [str(self._bin / "python"), str(SCRIPT), f"{stage.HOST}:{keeper.port}"]
        command += [str(keeper.certificate), str(keeper.key), str(orders), str(each)]
        done = subprocess.run(
            [*command, str(within_s)],
            capture_output=True,
            text=True,
            check=True,
            timeout=within_s + STOPS_WITHIN_S,
        )
        return [float(it) for it in json.loads(done.stdout)]

    def _clouds_file(self) -> Path:
        """Write a clouds.yaml by which servers are reached at the only address they have."""
        document = yaml.safe_load(self._sim.clouds_file.read_text())
        for cloud in document["clouds"].values():
            cloud["private"] = True
        path = self._home / "clouds.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def _configuration(self, keeper: ZooKeeper) -> dict[str, object]:
        clouds = yaml.safe_load(self._sim.clouds_file.read_text())["clouds"]
        regions = [(cloud, region) for cloud, it in clouds.items() for region in it["regions"]]
        files = {"cert": keeper.certificate, "key": keeper.key, "ca": keeper.certificate}
        return {
            "zookeeper-servers": [{"host": stage.HOST, "port": keeper.port}],
            "zookeeper-tls": {name: str(path) for name, path in files.items()},
            "labels": [{"name": "burst", "min-ready": 0}],
            "providers": [self._provider(*it) for it in regions],
        }

    def _provider(self, cloud: str, region: str) -> dict[str, object]:
        label = {"name": "burst", "cloud-image": stage.IMAGE, "flavor-name": stage.SIZE}
        pool = {
            "name": "main",
            "max-servers": self._slots,
            "networks": ["ci-net"],
            "ignore-provider-quota": True,  # max-servers says the same, and costs no calls
            "auto-floating-ip": False,
            "host-key-checking": False,
            "availability-zones": ["nova"],
            "labels": [label],
        }
        return {
            "name": f"{cloud}-{region}",
            "driver": "openstack",
            "cloud": cloud,
            "region-name": region,
            "rate": RATE_S,
            "port-cleanup-interval": 0,
            "cloud-images": [{"name": stage.IMAGE, "username": "ci"}],
            "pools": [pool],
        }
