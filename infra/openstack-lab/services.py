"""Starts the OpenStack services, each in the order and with the files that it needs."""

from pathlib import Path

import configuration
import processes
import schemas
from layout import Lab
from postgres import Postgres
from topology import HOST, KEYSTONE_PORT_OFFSETS, REGIONS, Region, regions_of

INSIDE = Path(__file__).parent / "inside"
# service -> the module of its WSGI application, how many threads, the variable for its directory
APPLICATIONS = {
    "keystone": ("keystone.wsgi.api", "4", "OS_KEYSTONE_CONFIG_DIR"),
    "placement": ("placement.wsgi.api", "4", "OS_PLACEMENT_CONFIG_DIR"),
    "glance": ("glance.wsgi.api", "4", "OS_GLANCE_CONFIG_DIR"),
    "neutron": ("neutron.wsgi.api", "6", "OS_NEUTRON_CONFIG_DIR"),
}
NOVA_THREADS = "16"
# What needs no other service at its start.
BEFORE_NOVA = ("neutron", "glance", "placement")


def start_keystones(lab: Lab, postgres: Postgres) -> None:
    """Start the Keystone of every provider."""
    schemas.make(lab, postgres, "keystone")
    for provider in KEYSTONE_PORT_OFFSETS:
        state = lab.state / provider
        schemas.copy(postgres, "keystone", provider)
        region = regions_of(provider)[0]
        configuration.write(lab, "keystone", region, state, postgres.url(provider))
        port = lab.keystone_port(provider)
        start_application(lab, keystone_process(provider), "keystone", state, port)


def prepare(lab: Lab, postgres: Postgres, service: str) -> None:
    """Make databases and configuration of a service in every region, and start all but Nova."""
    schemas.make(lab, postgres, service)
    for region in REGIONS:
        prefix = f"{region.provider}_{region.name}".lower()
        schemas.copy(postgres, service, prefix)
        configuration.write(lab, service, region, lab.scope(region), postgres.url(prefix))
        if service in BEFORE_NOVA:
            port = lab.service_port(region, service)
            start_application(lab, region.process(service), service, lab.scope(region), port)


def start_novas(lab: Lab) -> None:
    """Start Nova in every region. At its start it speaks with Placement and Keystone."""
    for region in REGIONS:
        start_nova(lab, region)


def start_nova(lab: Lab, region: Region) -> None:
    """Start a region's whole Nova: one process."""
    port = lab.service_port(region, "nova")
    argv: processes.Argv = [lab.python, INSIDE / "nova_region.py", f"{HOST}:{port}", NOVA_THREADS]
    env = {"OS_NOVA_CONFIG_DIR": str(lab.scope(region) / "conf")}
    processes.start(lab, region.process("nova"), argv, port, env)


def start_application(lab: Lab, name: str, service: str, state: Path, port: int) -> None:
    """Start the WSGI application of a service."""
    module, threads, variable = APPLICATIONS[service]
    program = INSIDE / "serve.py"
    argv: processes.Argv = [lab.python, program, service, f"{HOST}:{port}", module, threads]
    env = {variable: str(state / "conf")}
    if service == "neutron":
        env["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf"
    processes.start(lab, name, argv, port, env)


def keystone_process(provider: str) -> str:
    """How `status` and `kill` name a Keystone."""
    return f"{provider}-keystone"
