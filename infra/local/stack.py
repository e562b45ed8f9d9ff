"""Everything on one machine: `stack.py up`, `status`, `down`, `clean`; what make calls.

`up` can be repeated at any time: it starts what does not run, and anew what something changed for.
Variables: PORT_BASE, OMS_HOME, REPLICAS, CLOUDS, FLEET, REAP_EVERY_S, LEASE_S, OMS_FLEET (see
layout.py); the home remembers all but OMS_HOME.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import yaml

from infra.local import api, carried, homes, processes, sockets
from infra.local.layout import (
    LAB_OFFSET,
    ROOT,
    Stack,
    StackError,
    differences,
    remembered,
    stack_at,
    stack_to_start,
)
from infra.local.supervise import LAB, bring_about, refuse_bad_files, refuse_taken_ports
from infra.local.watchers import watched
from openmultistack.auth.own_issuer import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    issue_token,
    make_signing_key,
)
from openmultistack.auth.principal import SCOPES
from openmultistack.cli.failures import printable
from openmultistack.clouds.keyring import make_keyring
from openmultistack.domain.errors import ConfigurationError

TOKEN_TTL_S = 7 * 24 * 3600
LOG_MAX_BYTES = 20_000_000
BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {printable(text)}", flush=True)


def up(stack: Stack) -> None:
    """Start what does not run, anew what is not as it should be; wait until instances can be made.

    What is wrong is told before anything is ended.
    """
    _refuse_moved_lab(stack)
    refuse_taken_ports(stack)
    _close_home(stack)
    sockets.make_folder(stack.home)
    _put_long_logs_aside(stack)
    _write_keys(stack)
    if stack.uses_lab:
        _up_lab(stack)
    refuse_bad_files(stack)
    if remembered(stack.home):
        carried.keep_of_before(stack, stack_at({"OMS_HOME": str(stack.home)}))
    _remember(stack)
    # Only now: what was never in use may carry nothing, and `clean` need not keep it.
    make_keyring(stack.marks_keys_file)
    bring_about(stack, say)
    _write_env(stack)
    api.first_sweep(stack, say)
    _say_what_next(stack)


def _close_home(stack: Stack) -> None:
    """Let nobody else of this machine at keys, tokens and passwords, whoever made the files."""
    if not ROOT.is_relative_to(stack.home):
        stack.home.mkdir(parents=True, exist_ok=True)
        stack.home.chmod(_mode_of_home(stack))
    for name in ("run", "log", "valkey"):
        (stack.home / name).mkdir(parents=True, exist_ok=True)
        (stack.home / name).chmod(0o700)
    for path in (stack.home / "env", stack.issuers_file):
        if path.exists():
            path.chmod(0o600)


def _mode_of_home(stack: Stack) -> int:
    """Return 0700; what another user, the laboratory's PostgreSQL, has below it can be reached."""
    recorded = stack.lab / "state" / "postgres-dir"
    shared = recorded.exists() and Path(recorded.read_text()).is_relative_to(stack.home)
    return 0o711 if shared and os.getuid() == 0 else 0o700


def _remember(stack: Stack) -> None:
    """Keep the variables for later commands; say what is other than before."""
    for sentence in differences(remembered(stack.home), stack):
        say(sentence)
    stack.variables_file.write_text(json.dumps(stack.variables, indent=1))


def _refuse_moved_lab(stack: Stack) -> None:
    """The laboratory's catalogues hold its ports: it cannot move with the others."""
    wanted = stack.port_base + LAB_OFFSET
    if stack.uses_lab and stack.lab_port_base() != wanted:
        raise StackError(
            f"PORT_BASE={stack.port_base}: the laboratory in {stack.lab} has the ports of"
            f" PORT_BASE={stack.lab_port_base() - LAB_OFFSET}; keep that, choose another OMS_HOME,"
            " or `make clean` first"
        )


def _put_long_logs_aside(stack: Stack) -> None:
    """Keep one old log of each process beside the one it writes."""
    for log in (stack.home / "log").iterdir():
        if log.stat().st_size > LOG_MAX_BYTES and log.suffix in (".log", ".err"):
            log.rename(log.with_suffix(log.suffix + ".old"))


def _write_keys(stack: Stack) -> None:
    make_signing_key(stack.keys)
    if stack.issuers_file.exists():
        return
    issuer = {
        "issuer": LOCAL_ISSUER,
        "audience": LOCAL_AUDIENCE,
        "algorithms": ["ES256"],
        "jwks_file": "keys/jwks.json",
    }
    stack.issuers_file.write_text(yaml.safe_dump({"issuers": [issuer]}, sort_keys=False))


def _up_lab(stack: Stack) -> None:
    say("OpenStack: three regions of two providers (the first time takes minutes)")
    command = [*LAB, "up"]
    # It closes its own files, and has some that another user, its PostgreSQL's, must read.
    with subprocess.Popen(
        command, env=stack.lab_environment(), stdout=subprocess.PIPE, text=True, umask=0o022
    ) as lab:
        for line in lab.stdout or ():
            say(f"OpenStack: {line.strip().rpartition('] ')[2]}")
    if lab.returncode:
        refuse_taken_ports(stack)  # another `up` may have begun at the same moment
        raise StackError("the laboratory did not come up; its last words are above")


def _write_env(stack: Stack) -> None:
    key = stack.keys / "signing.pem"
    token = issue_token(key, owner="dev", scopes=SCOPES, ttl_s=TOKEN_TTL_S)
    lines = {
        "OMS_URL": stack.url,
        "OMS_TOKEN": token,
        "OS_CLIENT_CONFIG_FILE": stack.clouds_file,
        "OMS_FLEET_FILE": stack.fleet_file or "",
        "OMS_FLEET": stack.fleet_name,
        "OMS_MARKS_KEYS_FILE": stack.marks_keys_file,
        "OMS_SIGNING_KEY": key,
        "OMS_ISSUERS_FILE": stack.issuers_file,
        "OMS_REDIS_URL": stack.redis_url,
    }
    (stack.home / "env").write_text(
        "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in lines.items())
    )


def _say_what_next(stack: Stack) -> None:
    home = os.path.relpath(stack.home, ROOT)
    home = home if not home.startswith("..") else str(stack.home)
    tools = os.path.relpath(Path(sys.executable).parent, ROOT)
    say(f"READY at {stack.url}. Next:")
    print(
        f"""
    set -a; . {home}/env; set +a
    export PATH="$PWD/{tools}:$PATH"
    oms create --count 3 --image IMAGE --size SIZE --wait     (here: debian-12, small)
    oms regions
"""
        if stack.uses_lab
        else f"""
    set -a; . {home}/env; set +a
    export PATH="$PWD/{tools}:$PATH"
    oms doctor
    oms create --image IMAGE --size SIZE --wait
"""
    )


def down(stack: Stack) -> None:
    """End what `up` started; the data stays."""
    left = homes.going_on(stack)
    say(f"ended {homes.end(stack)} processes")
    if left:
        say(f"{left}, and nobody ends them when their time is up; `make up` again looks after them")


def clean(folder: Path) -> None:
    """End every stack below a folder, and forget its data."""
    stacks = homes.stacks_below(folder)
    left = [said for it in stacks if (said := homes.going_on(it))]
    if not os.environ.get("FORCE"):
        homes.refuse_to_leave(stacks)
    for it in stacks:
        say(f"ended {homes.end(it)} processes of {it.home}")
    for it in stacks:
        _forget(it)
    for said in left:
        say(f"{said}, and are forgotten")
    for path in homes.remove_leftovers(folder):
        say(f"{path.name} stays: git has it in its care")


def _forget(stack: Stack) -> None:
    """Forget the data of a stack that has ended, but not keys that servers may carry."""
    where = carried.carriers(stack)
    sockets.remove_folder(stack.home)  # as its ledger was asked
    if where is None:
        homes.forget(stack)
        return
    carried.keep(stack, where)  # first of all: it outlives an end in the midst of this
    homes.forget(stack, but_keys=True)
    say(
        f"{stack.marks_keys_file} stays, as servers may carry its signatures: with it `make up`"
        " knows them for its own; delete it by hand if there are none"
    )


def end_below(folder: Path) -> None:
    """End every stack whose home is below a folder; their data stays."""
    for it in homes.stacks_below(folder):
        say(f"ended {homes.end(it)} processes of {it.home}")


def status(stack: Stack) -> int:
    """Print a line for each process; returns 0 if all run, 1 if one is down, 3 if nothing runs."""
    running = processes.running(stack)
    if not running:
        print("nothing runs; `make up` starts it")
        return 3
    wanted = {processes.SUPERVISOR: None} | {it.name: it.at for it in watched(stack)}
    bad = 0
    for name, at in wanted.items():
        process = running.get(name)
        answers = at is None or processes.listens(at)
        bad += process is None or not answers
        state = "down" if process is None else "up" if answers else "does not answer"
        where = f"pid {process.pid:<8}" if process else " " * 12
        memory = f"{processes.memory_mb(process):6.0f} MiB" if process else ""
        door = f"port {at}" if isinstance(at, int) else "socket" if at else "-"
        print(f"{name:<14}{where}{door:<12}{memory}  {state}")
    healthy = bool(api.call(stack, "GET", "healthz"))
    bad += not healthy
    print(f"gateway: {stack.url} {'is well' if healthy else 'does not answer well'}")
    if stack.uses_lab:
        bad += subprocess.run([*LAB, "status"], env=stack.lab_environment(), check=False).returncode
    return 1 if bad else 0


def _commanded(given: argparse.Namespace) -> int:
    if given.command == "up":
        up(stack_to_start(os.environ))
    elif given.command == "clean":
        clean((given.below or ROOT).resolve())
    elif given.command == "status":
        return status(stack_at(os.environ))
    elif given.below:
        end_below(given.below.resolve())
    else:
        down(stack_at(os.environ))
    return 0


def main() -> int:
    """Do what the command line says; what goes wrong is one sentence and exit 1."""
    os.umask(0o077)  # of all that is started here, too
    parser = argparse.ArgumentParser(prog="stack.py", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status", "clean"))
    parser.add_argument(
        "--below", type=Path, help="of `down`, `clean`: each stack with a home there"
    )
    given = parser.parse_args()
    try:
        return _commanded(given)
    except (StackError, ConfigurationError) as error:
        print(printable(f"make {given.command}: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; `make {given.command}` again goes on, `make down` ends what runs")
        return 130


if __name__ == "__main__":
    sys.exit(main())
