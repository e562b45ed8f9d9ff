"""Everything on one machine: `stack.py up`, `status`, `down`; what make calls.

`up` can be repeated at any time: it starts what does not run. Variables: PORT_BASE, OMS_HOME,
REPLICAS, CLOUDS, FLEET, REAP_EVERY_S, LEASE_S, OMS_FLEET (see layout.py). `status` and `down`
need only the first two.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import processes
import yaml
from layout import HOST, ROOT, Stack, StackError, stack_at, stack_of
from watchers import BIN, NAME_MARK, STACK_MARK, circus_configuration, upstreams, watched

from openmultistack.errors import ConfigurationError
from openmultistack.fleet import load_fleet
from openmultistack.principal import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    SCOPES,
    issue_token,
    make_signing_key,
)

sys.path.insert(0, str(ROOT / "infra" / "gateway"))  # a script's folder, not a package
from render import bootstrap

LAB = [sys.executable, str(ROOT / "infra" / "openstack-lab" / "lab.py")]
TOKEN_TTL_S = 7 * 24 * 3600
STARTED_WITHIN_S = 120
LOG_MAX_BYTES = 20_000_000
SWEPT_WITHIN_S = 90
BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", flush=True)


def up(stack: Stack) -> None:
    """Start what does not run, and wait until instances can be created."""
    for folder in ("run", "log", "valkey"):
        (stack.home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    _put_long_logs_aside(stack)
    _write_keys(stack)
    if stack.uses_lab:
        _up_lab(stack)
    load_fleet(stack.clouds_file, stack.fleet_file)  # says what is wrong before anything starts
    _supervise(stack)
    _write_env(stack)
    _first_sweep(stack)
    _say_what_next(stack)


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
    with subprocess.Popen(
        command, env=stack.lab_environment(), stdout=subprocess.PIPE, text=True
    ) as lab:
        for line in lab.stdout or ():
            say(f"OpenStack: {line.strip().rpartition('] ')[2]}")
    if lab.returncode:
        raise StackError("the laboratory did not come up; its last words are above")


def _configuration(stack: Stack) -> dict[Path, str]:
    """Return what the gateway, the supervisor and `status` read."""
    try:
        gateway = bootstrap(
            issuers_file=stack.issuers_file,
            listen=(HOST, stack.port_base),
            admin=(HOST, stack.admin_port),
            functions=upstreams(stack),
        )
    except (ValueError, OSError) as error:
        raise StackError(str(error)) from error
    return {
        stack.home / "run" / "envoy.json": json.dumps(gateway, indent=1),
        _circus_file(stack): circus_configuration(stack),
        stack.variables_file: json.dumps(stack.variables, indent=1),
    }


def _circus_file(stack: Stack) -> Path:
    return stack.home / "run" / "circus.ini"


def _content(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _supervise(stack: Stack) -> None:
    """Have circus run what is wanted; what runs with other settings is ended first."""
    files = _configuration(stack)
    changed = [path for path, text in files.items() if _content(path) != text]
    running = processes.running(stack)
    if changed or processes.SUPERVISOR not in running:
        if running:
            say("ending what runs with other settings, or without its supervisor")
            processes.stop(stack)
        _refuse_taken_ports(stack)
        # Only now: were they new before the old ones ended, a second `up` would miss the change.
        for path in changed:
            path.write_text(files[path])
        _start_circus(stack)
    ports = {it.name: it.port for it in watched(stack) if it.port}
    starting = [name for name, port in ports.items() if not processes.listens(port)]
    say(f"starting {', '.join(starting)}" if starting else "everything runs already")
    missing = processes.wait_for(ports, timeout_s=STARTED_WITHIN_S)
    if missing:
        raise StackError(f"{', '.join(missing)} did not start; see {stack.home / 'log'}")


def _refuse_taken_ports(stack: Stack) -> None:
    for it in watched(stack):
        if it.port and processes.listens(it.port):
            raise StackError(
                f"port {it.port} for {it.name} is taken by somebody else;"
                " choose another PORT_BASE, such as PORT_BASE=22000"
            )


def _start_circus(stack: Stack) -> None:
    environment = {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        STACK_MARK: str(stack.home),
        NAME_MARK: processes.SUPERVISOR,
    }
    with (stack.home / "log" / "circusd.log").open("ab") as log:
        subprocess.Popen(
            [str(BIN / "circusd"), "--log-level", "warning", str(_circus_file(stack))],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _write_env(stack: Stack) -> None:
    key = stack.keys / "signing.pem"
    token = issue_token(key, owner="dev", scopes=SCOPES, ttl_s=TOKEN_TTL_S)
    lines = {
        "OMS_URL": stack.url,
        "OMS_TOKEN": token,
        "OS_CLIENT_CONFIG_FILE": stack.clouds_file,
        "OMS_FLEET_FILE": stack.fleet_file or "",
        "OMS_FLEET": stack.fleet_name,
        "OMS_SIGNING_KEY": key,
        "OMS_ISSUERS_FILE": stack.issuers_file,
        "OMS_REDIS_URL": stack.redis_url,
    }
    path = stack.home / "env"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={shlex.quote(str(value))}\n" for name, value in lines.items()))


def _first_sweep(stack: Stack) -> None:
    """Wait until the reaper has looked at every region; one that is not well is named."""
    say("the reaper looks at the regions")
    wanted = set(load_fleet(stack.clouds_file, stack.fleet_file).regions)
    until = time.monotonic() + SWEPT_WITHIN_S
    # An earlier look, as before the last `down`, tells nothing of now.
    since = datetime.now(UTC).replace(microsecond=0)
    states: dict[str, str] = {}
    while time.monotonic() < until and not wanted <= set(states):
        _call(stack, "POST", "reap")
        regions = _call(stack, "GET", "regions").get("regions", [])
        states = {it["region"]: _state(it) for it in regions if _looked_at(it) >= since}
        time.sleep(0.5)
    for region in sorted(wanted):
        say(f"{region} is {states.get(region, 'not looked at yet')}")
    if any(states.get(region) != "up" for region in wanted):
        say("run `oms doctor` (see below) to hear what to mend")


def _state(region: dict[str, Any]) -> str:
    return region["state"] if region["state"] == "up" else f"down: {region['last_error']}"


def _looked_at(region: dict[str, Any]) -> datetime:
    """Return when a sweep last came to an end in a region, well or not."""
    times = [region["swept_at"], region["last_error_at"]]
    return max(datetime.fromisoformat(it or "1970-01-01T00:00:00Z") for it in times)


def _call(stack: Stack, method: str, path: str) -> dict[str, Any]:
    """Return what the API answers, or nothing while it does not answer well."""
    token = issue_token(stack.keys / "signing.pem", owner="reaper", scopes=SCOPES, ttl_s=300)
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{stack.url}/v1/{path}"
    try:
        answer = httpx.request(method, url, headers=headers, timeout=SWEPT_WITHIN_S)
        return answer.json() if answer.is_success else {}
    except httpx.HTTPError:
        return {}


def _say_what_next(stack: Stack) -> None:
    home = os.path.relpath(stack.home, ROOT)
    home = home if not home.startswith("..") else str(stack.home)
    say(f"READY at {stack.url}. Next:")
    print(
        f"""
    set -a; . {home}/env; set +a
    export PATH="$PWD/.venv/bin:$PATH"
    oms create --count 3 --image IMAGE --size SIZE --wait     (here: debian-12, small)
    oms regions
"""
        if stack.uses_lab
        else f"""
    set -a; . {home}/env; set +a
    export PATH="$PWD/.venv/bin:$PATH"
    oms doctor
    oms create --image IMAGE --size SIZE --wait
"""
    )


def down(stack: Stack) -> None:
    """End what `up` started; the data stays."""
    say(f"ended {processes.stop(stack)} processes")
    if (stack.home / "lab").exists():
        done = subprocess.run([*LAB, "down"], env=stack.lab_environment(), check=False)
        if done.returncode:
            raise StackError("the laboratory did not end in order")


def status(stack: Stack) -> int:
    """Print a line for each process; returns 0 if all run, 1 if one is down, 3 if nothing runs."""
    running = processes.running(stack)
    if not running:
        print("nothing runs; `make up` starts it")
        return 3
    wanted = {processes.SUPERVISOR: None} | {it.name: it.port for it in watched(stack)}
    bad = 0
    for name, port in wanted.items():
        process = running.get(name)
        answers = port is None or processes.listens(port)
        bad += process is None or not answers
        state = "down" if process is None else "up" if answers else "does not answer"
        where = f"pid {process.pid:<8}" if process else " " * 12
        memory = f"{processes.memory_mb(process):6.0f} MiB" if process else ""
        print(f"{name:<14}{where}port {port or '-':<7}{memory}  {state}")
    healthy = bool(_call(stack, "GET", "healthz"))
    bad += not healthy
    print(f"gateway: {stack.url} {'is well' if healthy else 'does not answer well'}")
    if stack.uses_lab:
        bad += subprocess.run([*LAB, "status"], env=stack.lab_environment(), check=False).returncode
    return 1 if bad else 0


def main() -> int:
    """Do what the command line says; what goes wrong is one sentence and exit 1."""
    commands = {"up": (up, stack_of), "down": (down, stack_at), "status": (status, stack_at)}
    parser = argparse.ArgumentParser(prog="stack.py", description=__doc__)
    parser.add_argument("command", choices=commands)
    command = parser.parse_args().command
    try:
        run, find = commands[command]
        return run(find(os.environ)) or 0
    except (StackError, ConfigurationError) as error:
        print(f"make {command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; `make {command}` again goes on, `make down` ends what runs")
        return 130


if __name__ == "__main__":
    sys.exit(main())
