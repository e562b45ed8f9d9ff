"""`lab.py status`: what runs, what it takes, whether it answers."""

import time
from pathlib import Path

import processes
import rest
from errors import LabError
from layout import Lab
from services import keystone_process
from topology import HOST, KEYSTONE_PORT_OFFSETS, REGIONS, SERVICE_PORT_OFFSETS

ALL_WELL, SOME_DEAD, NOTHING_RUNS = 0, 1, 3


def status(lab: Lab) -> int:
    """Print a line for each recorded process; returns the command's exit status."""
    recorded = sorted(processes.recorded(lab).values(), key=lambda process: process.port)
    if not recorded:
        print("nothing runs")
        return NOTHING_RUNS
    for process in recorded:
        print(line(process))
    total_mb = sum(memory_mb(process) for process in recorded)
    print(f"{total_mb:.0f} MiB in all; clouds: {lab.clouds_yaml}")
    return ALL_WELL if all(process.is_alive() for process in recorded) else SOME_DEAD


def ports_wanted(lab: Lab) -> dict[str, int]:
    """The ports, by process, of what does not run yet."""
    ports = {processes.POSTGRES: lab.database_port}
    ports |= {keystone_process(it): lab.keystone_port(it) for it in KEYSTONE_PORT_OFFSETS}
    for region in REGIONS:
        for service in SERVICE_PORT_OFFSETS:
            ports[region.process(service)] = lab.service_port(region, service)
    return {name: port for name, port in ports.items() if name not in processes.running(lab)}


def line(process: processes.Process) -> str:
    """One process: its name, pid, port, memory and answer."""
    what = answer(process) if process.is_alive() else "dead"
    where = f"pid {process.pid:<8}port {process.port:<7}"
    return f"{process.name:<28}{where}{memory_mb(process):6.0f} MiB  {what}"


def answer(process: processes.Process) -> str:
    """What a service says to a plain request, and how fast."""
    if process.name == processes.POSTGRES:
        return "up"
    before = time.monotonic()
    try:
        got = rest.call("GET", f"http://{HOST}:{process.port}/", {}, timeout_s=5)
    except LabError:
        return "does not answer"
    return f"answers {got.status} in {(time.monotonic() - before) * 1000:.0f} ms"


def memory_mb(process: processes.Process) -> float:
    """Its proportional share of memory; PostgreSQL's with its processes for each connection."""
    if not process.is_alive():
        return 0
    return sum(share_mb(pid) for pid in process.family())


def share_mb(pid: int) -> float:
    """One pid's memory, with what it shares divided among those who share it."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(row.split()[1]) / 1024 for row in text.splitlines() if row.startswith("Pss:"))
