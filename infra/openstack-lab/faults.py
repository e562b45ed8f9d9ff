"""What can go wrong on purpose: a service gone or hanging, a hypervisor slow or failing."""

import json
import signal

import processes
from errors import LabError
from layout import Lab, replace_text
from topology import region_labelled

# What the virt driver reads: delays in seconds, failures as a share from 0 to 1.
SHARES = ("spawn_fail", "destroy_fail")
DELAYS = ("spawn_delay", "destroy_delay")


def kill(lab: Lab, names: list[str]) -> None:
    """Make services be gone, connections refused; `up` starts them again."""
    signal_services(lab, names, signal.SIGKILL)


def pause(lab: Lab, names: list[str]) -> None:
    """Make services hang: connections are accepted, nothing answers."""
    signal_services(lab, names, signal.SIGSTOP)


def resume(lab: Lab, names: list[str]) -> None:
    """Let paused services go on."""
    signal_services(lab, names, signal.SIGCONT)


def signal_services(lab: Lab, names: list[str], number: signal.Signals) -> None:
    """Send a signal to each named service, or to none if one of them does not run."""
    running = processes.running(lab)
    for name in names:
        if name not in running:
            raise LabError(f"{name} does not run: `lab.py status` lists what does")
    for name in names:
        running[name].signal(number)


def set_virt_faults(lab: Lab, label: str, settings: list[str]) -> str:
    """Make a region's hypervisor slow or failing; with no settings, well again."""
    region = region_labelled(label)
    directory = lab.scope(region) / "nova"
    if not directory.is_dir():
        raise LabError(f"{label} is not there yet: `lab.py up` makes it")
    faults = dict(parse_setting(setting) for setting in settings)
    replace_text(directory / "faults.json", json.dumps(faults))
    return f"{label}: {' '.join(settings) or 'no faults'}"


def parse_setting(setting: str) -> tuple[str, float]:
    """Read `spawn_delay=5`.

    Raises:
        LabError: no such fault, or no such value of it.
    """
    name, _, text = setting.partition("=")
    if name not in SHARES + DELAYS:
        raise LabError(f"no fault {name!r}: there are {', '.join(DELAYS + SHARES)}")
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= (1 if name in SHARES else 3600):
        raise LabError(f"{setting!r}: a share is from 0 to 1, a delay from 0 to 3600 seconds")
    return name, value
