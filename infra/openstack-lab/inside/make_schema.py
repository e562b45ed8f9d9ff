"""Makes one service's schema, and the rows that every region has, by upstream's own code.

usage: make_schema.py keystone|placement|glance|neutron|nova CONFIGURATION_FILE

It runs in the lab's virtual environment. Where a service needs several of upstream's *-manage
commands they share one interpreter, as each would take seconds to import the service.
"""
# ruff: noqa: PLC0415  importing a service takes seconds: each part imports its own

import json
import os
import sys
import traceback
import uuid
from collections.abc import Callable
from configparser import RawConfigParser

# In Nova's own words: the databases of whoever reads this. The copies of it differ in nothing.
CELL_DATABASE = "{scheme}://{username}:{password}@{hostname}:{port}/{path}"


def main() -> None:
    """Make the schema that the command line names."""
    service, configuration = sys.argv[1:]
    MAKERS[service](configuration)


def give(command: Callable[[], object], *argv: str) -> None:
    """Give one of upstream's commands, and end if it fails.

    In a child, since a command's configuration is its process's for good.
    """
    pid = os.fork()
    if pid:
        if os.waitpid(pid, 0)[1]:
            sys.exit(f"failed: {' '.join(argv)}")
        return
    sys.argv = list(argv)
    failed: object = True
    try:
        failed = command()
    except SystemExit as end:
        failed = end.code
    except Exception:  # noqa: BLE001  shown, and told to the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(1 if failed else 0)


def keystone(configuration: str) -> None:
    """Schema, roles, and the user `admin` with $OS_BOOTSTRAP_PASSWORD; no catalog."""
    from keystone.cmd import manage

    for verb in ("db_sync", "bootstrap"):
        give(manage.main, "keystone-manage", "--config-file", configuration, verb)


def placement(configuration: str) -> None:
    """Only the schema."""
    from placement.cmd import manage

    give(manage.main, "placement-manage", "--config-file", configuration, "db", "sync")


def glance(configuration: str) -> None:
    """Only the schema."""
    from glance.cmd import manage

    give(manage.main, "glance-manage", "--config-file", configuration, "db", "sync")


def neutron(configuration: str) -> None:
    """The schema, and one L2 agent that always seems alive: ML2 binds ports where there is one."""
    from neutron.db.migration import cli

    leave_out_mysql_statements()
    give(cli.main, "neutron-db-manage", "--config-file", configuration, "upgrade", "heads")
    add_agent(configuration)


def leave_out_mysql_statements() -> None:
    """Skip two statements that PostgreSQL cannot understand and does not need.

    Revision d553edeb540f (2025.2) makes the collation of the tags' table case sensitive, in MySQL's
    words whatever the database. PostgreSQL's is so anyway.
    """
    from alembic import op

    execute = op.execute

    def careful(statement: object, *args: object, **kwargs: object) -> None:
        if "CONVERT TO CHARACTER SET" not in str(statement) and "utf8mb4" not in str(statement):
            execute(statement, *args, **kwargs)

    op.execute = careful


def add_agent(configuration: str) -> None:
    """Write the row of an Open vSwitch agent on the compute host, last heard of in 2100."""
    import sqlalchemy

    file = RawConfigParser()
    file.read(configuration)
    can = {
        "bridge_mappings": {"physnet1": "br-ex"},
        "tunnel_types": ["vxlan"],
        "tunneling_ip": "127.0.0.1",
        "datapath_type": "system",
        "ovs_hybrid_plug": False,
    }
    row = {
        "id": str(uuid.uuid4()),
        "host": file["DEFAULT"]["host"],
        "agent_type": "Open vSwitch agent",
        "binary": "neutron-openvswitch-agent",
        "topic": "N/A",
        "admin_state_up": True,
        "configurations": json.dumps(can),
        "load": 0,
        "availability_zone": "nova",
        "resource_versions": "{}",
        **dict.fromkeys(("created_at", "started_at", "heartbeat_timestamp"), "2100-01-01"),
    }
    engine = sqlalchemy.create_engine(file["database"]["connection"])
    agents = sqlalchemy.Table("agents", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.insert(agents).values(row))


def nova(configuration: str) -> None:
    """The API's schema, with cell0 and one cell; and the cells' schema, once for both."""
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")  # before any other import of Nova's

    from nova import config, objects
    from nova.cmd import manage

    config.parse_args(["nova-manage", "--config-file", configuration])
    objects.register_all()
    cells = manage.CellV2Commands()
    failed = (
        manage.ApiDbCommands().sync()
        or cells.map_cell0(f"{CELL_DATABASE}_cell0")
        or cells.create_cell("cell1", CELL_DATABASE, "fake:/")
        or manage.DbCommands().sync(local_cell=True)
    )
    sys.exit(failed)


MAKERS = {
    "keystone": keystone,
    "placement": placement,
    "glance": glance,
    "neutron": neutron,
    "nova": nova,
}

if __name__ == "__main__":
    main()
