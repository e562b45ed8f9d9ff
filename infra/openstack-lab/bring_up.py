"""`lab.py up`: everything in its order, as far as it is not there yet. Safe to repeat.

Two things at a time are made here, beside the services' own starts: more would only wait for the
processors of a small machine.
"""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import clouds_files
import contents
import processes
import services
from install import install
from layout import Lab, record_port_base
from postgres import Postgres
from topology import KEYSTONE_PORT_OFFSETS, REGIONS

WORKERS = 2
# By their schemas, so that none is left to be made alone while a processor idles.
SLOWEST_FIRST = ("neutron", "nova", "glance", "placement")


class Progress:
    """Says what was reached, and after how many seconds."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", flush=True)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Threads for the work; after an error or Ctrl-C none of it is begun that was not yet."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def up(lab: Lab) -> None:
    """Bring the lab to where every service answers and has its contents.

    Raises:
        LabError: something failed; a repeated `up` goes on from there.
    """
    progress = Progress()
    if install(lab):
        progress.say("OpenStack is installed")
    record_port_base(lab)
    for process in processes.running(lab).values():
        process.signal(signal.SIGCONT)  # one that is paused would never answer
    with workers() as pool:
        postgres = Postgres(lab)
        pool.submit(postgres.start).result()
        progress.say("PostgreSQL answers")
        keystones = pool.submit(services.start_keystones, lab, postgres)
        regions = [pool.submit(services.prepare, lab, postgres, name) for name in SLOWEST_FIRST]
        fill_keystones(lab, keystones, progress)
        start_regions(lab, pool, regions, progress)
    clouds_files.write(lab)
    progress.say(f"ready: OS_CLIENT_CONFIG_FILE={lab.clouds_yaml}")


def fill_keystones(lab: Lab, keystones: Future[None], progress: Progress) -> None:
    """Wait for the Keystones and write their catalogs."""
    keystones.result()
    names = [services.keystone_process(provider) for provider in KEYSTONE_PORT_OFFSETS]
    processes.wait_until_listening(lab, names)
    for provider in KEYSTONE_PORT_OFFSETS:
        contents.fill_keystone(lab, provider)
    progress.say("Keystone answers, the catalogs are there")


def start_regions(
    lab: Lab,
    pool: ThreadPoolExecutor,
    prepared: list[Future[None]],
    progress: Progress,
) -> None:
    """Wait for the regions' services, start Nova last, give them their contents."""
    for job in prepared:
        job.result()
    progress.say("the schemas are there")
    names = [region.process(service) for region in REGIONS for service in services.BEFORE_NOVA]
    processes.wait_until_listening(lab, names)
    progress.say("Placement, Glance and Neutron answer")
    pool.submit(services.start_novas, lab).result()
    for region in REGIONS:
        contents.fill_images(lab, region)
        contents.fill_networks(lab, region)
    progress.say("images and networks are there")
    processes.wait_until_listening(lab, [region.process("nova") for region in REGIONS])
    for region in REGIONS:
        contents.fill_flavors(lab, region)
    progress.say("Nova answers, the flavors are there")
