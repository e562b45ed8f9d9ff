"""What of a stack is started, and what is started anew because something changed."""

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from infra.gateway import gate
from infra.gateway.render import bootstrap
from infra.local import gateway_admin, ports, processes, reload
from infra.local.layout import ROOT, Stack, StackError
from infra.local.ports import HOST, STACK_MARK
from infra.local.watchers import BIN, CIRCUSD, NAME_MARK, circus_configuration, upstreams, watched
from openmultistack.auth.issuers import load_issuers
from openmultistack.cli.clouds_entries import faults
from openmultistack.clouds.keyring import read_keyring
from openmultistack.domain.errors import ConfigurationError
from openmultistack.fleet.config import load_fleet

LAB = [sys.executable, str(ROOT / "infra" / "openstack-lab" / "lab.py")]
TAKEN_OVER_WITHIN_S = 60
# Under what `up` notes which gate it left, beside what processes have read.
GATE = "gate"
# Where `up` looks for ports to propose.
BASES = (22_000, 23_000, 24_000, 21_000, 25_000, 26_000)
Say = Callable[[str], None]
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"


def refuse_bad_files(stack: Stack) -> None:
    """Read every file as functions and gateway would, before anything is ended for them.

    Raises:
        ConfigurationError, StackError: one is no good; names it, the key and what was expected.
    """
    load_fleet(stack.clouds_file, stack.fleet_file)
    for where, what, mend in faults(stack.clouds_file):
        if mend:  # else it is only worth knowing, as `oms doctor` tells
            raise ConfigurationError(str(stack.clouds_file), where, f"{what}; {mend}")
    for issuer in load_issuers(stack.issuers_file).values():
        _ = issuer.keys
    if stack.marks_keys_file.exists():
        read_keyring(stack.marks_keys_file)
    _configuration(stack)


def bring_about(stack: Stack, say: Say) -> None:
    """Have circus run what is wanted, as it is wanted now; say what starts anew, and why.

    Raises:
        StackError: what is new is no good (nothing was ended), or something did not start.
    """
    files = _configuration(stack)
    changed = [path for path, text in files.items() if _content(path) != text]
    running = processes.running(stack)
    if set(changed) - {_in_place(stack), stack.gate_file} or processes.SUPERVISOR not in running:
        _start_all(stack, files, running, say)
    else:
        _start_what_is_stale(stack, running, say)
        _replace_listener(stack, files[_in_place(stack)], say)
        _wait_for_gate(stack, files[stack.gate_file], say)


def _start_all(stack: Stack, files: dict[Path, str], running: Iterable[str], say: Say) -> None:
    if running:
        reload.try_out(stack, reload.digests(stack))
        say("ending what runs with other settings, or without its supervisor")
        processes.stop(stack)
    refuse_taken_ports(stack)
    # Only now: were they new before the old ones ended, a second `up` would miss the change.
    for path, text in files.items():
        gate.put(path, text)
    reload.record(stack, reload.digests(stack) | _stamp(files[stack.gate_file]))
    _start_circus(stack)
    _wait_until_all_listen(stack, say)


def _start_what_is_stale(stack: Stack, running: Iterable[str], say: Say) -> None:
    now = reload.digests(stack)
    changed = reload.stale(reload.recorded(stack), now)
    if changed:
        reload.try_out(stack, changed)
        for sentence in reload.sentences(changed):
            say(sentence)
        missing = reload.start_anew(stack, [it for it in changed if it in running])
        _refuse_missing(stack, missing)
        reload.record(stack, {it: now[it] for it in changed if it not in running})
    _wait_until_all_listen(stack, say, nothing_new=not changed)


def _wait_until_all_listen(stack: Stack, say: Say, *, nothing_new: bool = True) -> None:
    listening = {it.name: it.at for it in watched(stack) if it.at}
    starting = [name for name, at in listening.items() if not processes.listens(at)]
    if starting:
        say(f"starting {', '.join(starting)}")
    elif nothing_new:
        say("everything runs already")
    missing = processes.wait_for(listening, timeout_s=processes.STARTED_WITHIN_S)
    _refuse_missing(stack, missing)


def _refuse_missing(stack: Stack, missing: list[str]) -> None:
    if missing:
        raise StackError(f"{', '.join(missing)} did not start; see {stack.home / 'log'}")


def refuse_taken_ports(stack: Stack) -> None:
    """Refuse to start on ports that somebody else has.

    Raises:
        StackError: names the port, what it is for, who has it, and ports that are free.
    """
    wanted = stack.ports() | (_lab_ports(stack) if stack.uses_lab else {})
    others = set(ports.taken(list(wanted.values()), besides=stack.home))
    name = next((it for it, port in wanted.items() if port in others), None)
    if name is None:
        return
    offsets = [port - stack.port_base for port in wanted.values()]
    base = ports.first_free(BASES, lambda base: [base + it for it in offsets])
    raise StackError(
        f"port {wanted[name]} for {name} is taken by {ports.describe_holder(wanted[name])};"
        f" choose another PORT_BASE, {f'such as PORT_BASE={base}' if base else 'with free ports'}"
    )


def _lab_ports(stack: Stack) -> dict[str, int]:
    """Return the ports of what the laboratory would start now."""
    done = subprocess.run(
        [*LAB, "ports"], env=stack.lab_environment(), check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise StackError(done.stderr.strip().removeprefix("lab.py: "))
    return {f"OpenStack's {name}": port for name, port in json.loads(done.stdout).items()}


def _configuration(stack: Stack) -> dict[Path, str]:
    """Return what the gateway and the supervisor read."""
    try:
        gateway = bootstrap(
            gate_file=stack.gate_file,
            listen=(HOST, stack.port_base),
            admin=stack.admin_socket,
            functions=upstreams(stack),
        )
    except ValueError as error:
        raise StackError(str(error)) from error
    listeners = gateway["static_resources"].pop("listeners")
    source = {"path_config_source": {"path": str(_in_place(stack))}, "resource_api_version": "V3"}
    gateway["dynamic_resources"] = {"lds_config": source}
    return {
        stack.home / "run" / "envoy.json": json.dumps(gateway, indent=1),
        _circus_file(stack): circus_configuration(stack),
        _in_place(stack): _listeners(listeners),
        stack.gate_file: gate.document(load_issuers(stack.issuers_file).values()),
    }


def _listeners(listeners: list[dict[str, Any]]) -> str:
    """Return the file of listeners, which Envoy reads again by itself."""
    typed = [{"@type": LISTENER, **it} for it in listeners]
    version = hashlib.sha256(json.dumps(typed).encode()).hexdigest()
    return json.dumps({"version_info": version, "resources": typed}, indent=1)


def _replace_listener(stack: Stack, text: str, say: Say) -> None:
    """Have Envoy take over a new listener while it runs: no connection ends in the midst.

    Raises:
        StackError: it did not; the old one goes on.
    """
    path = _in_place(stack)
    before = _content(path)
    if before == text:
        return
    say("the gateway's rules changed: the gateway takes them over as it runs")
    gate.put(path, text)
    if not _is_taken_over(_version_of_listeners, stack, text):
        gate.put(path, before or "")
        raise StackError(f"the gateway did not take them over; see {stack.home / 'log'}")


def _wait_for_gate(stack: Stack, text: str, say: Say) -> None:
    """Return when the gateway lets in whom the issuers' files say; the gatekeeper has seen to it.

    Raises:
        StackError: it does not; what it had goes on.
    """
    if reload.recorded(stack).get(GATE) != _stamp(text)[GATE]:
        say("issuers or their keys changed: the gateway takes them over as it runs")
    if not _is_taken_over(_version_of_gate, stack, text):
        raise StackError(f"the gateway did not take the issuers over; see {stack.home / 'log'}")
    reload.record(stack, _stamp(text))


def _stamp(text: str) -> reload.Digests:
    """Return what is noted of the gate that a stack had when `up` left it."""
    return {GATE: {"version": _version_of(text)}}


def _version_of(text: str) -> str:
    return str(json.loads(text)["version_info"])


def _is_taken_over(in_force: Callable[[Stack], str], stack: Stack, text: str) -> bool:
    """Wait until the gateway uses a file; return whether it did in time."""
    until = time.monotonic() + TAKEN_OVER_WITHIN_S
    while in_force(stack) != _version_of(text):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _version_of_gate(stack: Stack) -> str:
    """Return which version of the gate is in use."""
    name = f"extension_config_discovery.http_filter.{gate.NAME}.version_text"
    return gateway_admin.stats(stack, re.escape(name)).get(name, "").strip('"')


def _version_of_listeners(stack: Stack) -> str:
    """Return which version of the file is in use; nothing while a listener is still being made.

    A dump of the configuration keeps the old version of a listener that was changed in its place.
    """
    told = gateway_admin.stats(stack, r"lds\.version_text|total_listeners_warming")
    warming = told.get("listener_manager.total_listeners_warming")
    return told.get("listener_manager.lds.version_text", "").strip('"') if warming == "0" else ""


def _circus_file(stack: Stack) -> Path:
    return stack.home / "run" / "circus.ini"


def _in_place(stack: Stack) -> Path:
    return stack.home / "run" / "listeners.json"


def _content(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _start_circus(stack: Stack) -> None:
    environment = {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        STACK_MARK: str(stack.home),
        NAME_MARK: processes.SUPERVISOR,
    }
    with (stack.home / "log" / "circusd.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, str(CIRCUSD), str(_circus_file(stack))],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
