#!/usr/bin/env python3
"""A small real OpenStack on this machine: two providers, three regions, all on 127.0.0.1.

Everything is below $LAB_HOME (~/.cache/openstack-lab). $LAB_PORT_BASE (25000) moves the ports.
Only the standard library is needed to run this.
"""

import argparse
import json
import shlex
import shutil
import sys
from dataclasses import asdict

import bring_up
import faults
import postgres
import processes
import report
from errors import LabError
from layout import Lab, lab_of_environment
from lock import alone
from race import race
from topology import region_labelled

INTERRUPTED = 130


def up(lab: Lab, _args: argparse.Namespace) -> None:
    """Install and start whatever is missing; safe to repeat."""
    with alone(lab):
        bring_up.up(lab)


def down(lab: Lab, _args: argparse.Namespace) -> None:
    """Stop what `up` started and keep the data."""
    with alone(lab):
        print(f"stopped {processes.stop(lab)} processes")


def reset(lab: Lab, _args: argparse.Namespace) -> None:
    """Do `down` and forget the data; the installation stays."""
    with alone(lab):
        processes.stop(lab)
        postgres.remove(lab)
        shutil.rmtree(lab.state, ignore_errors=True)
        print("the data is gone")


def status(lab: Lab, _args: argparse.Namespace) -> int:
    """Say what runs: exit 0 if all does, 1 if something died, 3 if nothing was started."""
    return report.status(lab)


def kill(lab: Lab, args: argparse.Namespace) -> None:
    """Make services be gone; `up` mends."""
    faults.kill(lab, args.service)


def pause(lab: Lab, args: argparse.Namespace) -> None:
    """Make services hang."""
    faults.pause(lab, args.service)


def resume(lab: Lab, args: argparse.Namespace) -> None:
    """Let paused services go on."""
    faults.resume(lab, args.service)


def fault(lab: Lab, args: argparse.Namespace) -> None:
    """Make a region's hypervisor slow or failing; well again without settings."""
    print(faults.set_virt_faults(lab, args.region, args.setting))


def race_at_quota(lab: Lab, args: argparse.Namespace) -> None:
    """Race creates straight at Nova's quota, show what becomes of them, delete them."""
    outcome = race(lab, region_labelled(args.region), args.start, args.at_once)
    print(json.dumps(asdict(outcome)) if args.json else outcome.sentence())


def ports(lab: Lab, _args: argparse.Namespace) -> None:
    """Print what does not run yet, with the ports that it will need, as JSON."""
    print(json.dumps(report.ports_wanted(lab)))


def env(lab: Lab, args: argparse.Namespace) -> None:
    """Print lines for a shell to evaluate: the clouds and the `openstack` client."""
    clouds = lab.clouds_admin_yaml if args.admin else lab.clouds_yaml
    print(f"export OS_CLIENT_CONFIG_FILE={shlex.quote(str(clouds))}")
    print(f"export PATH={shlex.quote(str(lab.venv / 'bin'))}:$PATH")


COMMANDS = {
    "up": up,
    "status": status,
    "down": down,
    "reset": reset,
    "kill": kill,
    "pause": pause,
    "resume": resume,
    "fault": fault,
    "race": race_at_quota,
    "ports": ports,
    "env": env,
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(
        prog="lab.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = whole.add_subparsers(dest="command", required=True)
    of = {}
    for name, command in COMMANDS.items():
        of[name] = verbs.add_parser(name, help=command.__doc__, description=command.__doc__)
    for name in ("kill", "pause", "resume"):
        of[name].add_argument("service", nargs="+", help="a name from `status`")
    of["fault"].add_argument("region", help="such as alpha/RegionTwo")
    of["fault"].add_argument("setting", nargs="*", help="such as spawn_delay=5 or spawn_fail=0.3")
    add_race_arguments(of["race"])
    of["env"].add_argument("--admin", action="store_true", help="the administrators' clouds")
    return whole


def add_race_arguments(race_parser: argparse.ArgumentParser) -> None:
    """The command line of `race`."""
    race_parser.add_argument("region", nargs="?", default="alpha/RegionOne")
    race_parser.add_argument("--start", type=natural, default=15, help="made one by one before")
    race_parser.add_argument("--at-once", type=natural, default=20, help="asked for at once")
    race_parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def natural(text: str) -> int:
    """Read how many, 0 or more.

    Raises:
        ArgumentTypeError: it is no such number.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of servers")
    return int(text)


def main() -> int:
    """Do what the command line says; a LabError is one sentence and exit 1."""
    args = parser().parse_args()
    try:
        return COMMANDS[args.command](lab_of_environment(), args) or 0
    except LabError as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab.py: interrupted; the same command again goes on", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
