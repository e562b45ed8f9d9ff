"""One region's whole Nova in one process, in native threads.

usage: nova_region.py HOST:PORT THREADS      with OS_NOVA_CONFIG_DIR set

Conductor, scheduler, compute and API, all of upstream's own classes, joined by oslo.messaging's
in-process `fake://` driver: no message broker. Keystone, Placement, Glance and Neutron are the real
services, over HTTP.
"""
# ruff: noqa: E402  Nova wants its threading chosen before anything of it is imported

import os
import shlex
import sys
import traceback
from pathlib import Path

from nova import monkey_patch

monkey_patch.patch(backend="threading")

import lab_virt
import nova.conf
import os_brick
import os_vif
import serve
from nova import config, context, objects, service, utils
from nova.api.openstack import wsgi_app
from nova.compute import rpcapi as compute_rpcapi
from nova.conductor import rpcapi as conductor_rpcapi
from nova.objects import cell_mapping, host_mapping
from nova.scheduler import rpcapi as scheduler_rpcapi
from oslo_log import log
from oslo_privsep import priv_context
from oslo_service import _options as service_options
from paste import deploy

sys.modules["nova.virt.lab_virt"] = lab_virt  # where `compute_driver` is looked for

CONF = nova.conf.CONF
# binary -> topic, and the second topic that compute listens on
SERVICES = {
    "nova-conductor": (conductor_rpcapi.RPC_TOPIC, None),
    "nova-scheduler": (scheduler_rpcapi.RPC_TOPIC, None),
    "nova-compute": (compute_rpcapi.RPC_TOPIC, compute_rpcapi.RPC_TOPIC_ALT),
}


def configure() -> None:
    """What each of upstream's commands does before its service starts."""
    file = Path(os.environ["OS_NOVA_CONFIG_DIR"]) / "nova.conf"
    config.parse_args(["nova-region", "--config-file", str(file)])
    log.setup(CONF, "nova")
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    objects.register_all()
    os_brick.setup(CONF)
    os_vif.initialize()
    objects.Service.enable_min_version_cache()


def start_services() -> list[service.Service]:
    """Start conductor, scheduler and compute; their threads serve from here on."""
    started = []
    for binary, (topic, topic_alt) in SERVICES.items():
        one = service.Service.create(
            host=CONF.host, binary=binary, topic=topic, topic_alt=topic_alt
        )
        one.start()
        started.append(one)
    return started


def discover_hosts() -> None:
    """Do as `nova-manage cell_v2 discover_hosts`: no server goes to a host outside of a cell."""
    admin = context.get_admin_context()
    for cell in cell_mapping.CellMappingList.get_all(admin):
        if not cell.is_cell0():
            host_mapping.discover_hosts(admin, cell.uuid)


def load_api() -> serve.Application:
    """Do as wsgi_app.init_application, but for its first step: that parses the configuration."""
    CONF.register_opts(service_options.service_opts)
    wsgi_app._setup_service(CONF.host, "osapi_compute")  # noqa: SLF001  there is no public name
    return deploy.loadapp(f"config:{CONF.wsgi.api_paste_config}", name="osapi_compute")


def main() -> None:
    """Run the region's Nova until a signal ends it."""
    address, threads = sys.argv[1:]
    configure()
    services = start_services()  # noqa: F841  kept alive
    discover_hosts()
    serve.serve(load_api(), address, int(threads))


if __name__ == "__main__":
    try:
        main()
    except BaseException:  # noqa: BLE001  the services' threads would keep a failed process alive
        traceback.print_exc()
        os._exit(1)
