"""Makes each service's schema once, by upstream's own migrations, and copies it for every region.

A schema is made in databases called `draft_*`, renamed `schema_*` when it is complete; the database
of a region is a copy of one, which PostgreSQL makes whole or not at all. So a database that has its
name is never half made, whenever `up` was interrupted. Nothing in a schema tells regions apart.
"""

from pathlib import Path

import configuration
import processes
from layout import Lab
from postgres import Postgres
from topology import PASSWORD, REGIONS

PROGRAM = Path(__file__).parent / "inside" / "make_schema.py"
# service -> its databases -> the schema they have. Nova's cells all have the same one.
DATABASES = {
    "keystone": {"keystone": "keystone"},
    "placement": {"placement": "placement"},
    "glance": {"glance": "glance"},
    "neutron": {"neutron": "neutron"},
    "nova": {"nova_api": "nova_api", "nova": "nova", "nova_cell0": "nova"},
}


def make(lab: Lab, postgres: Postgres, service: str) -> bool:
    """Make a service's schema; whether there was anything to do."""
    schemas = set(DATABASES[service].values())
    if {f"schema_{schema}" for schema in schemas} <= postgres.names():
        return False
    for schema in schemas:
        postgres.sql(f"DROP DATABASE IF EXISTS schema_{schema}")
        postgres.sql(f"DROP DATABASE IF EXISTS draft_{schema}")
        postgres.sql(f"CREATE DATABASE draft_{schema}")
    state = lab.state / "draft"
    file = configuration.write(lab, service, REGIONS[0], state, postgres.url("draft"))
    processes.run([lab.python, PROGRAM, service, file], {"OS_BOOTSTRAP_PASSWORD": PASSWORD})
    for schema in schemas:
        postgres.sql(f"ALTER DATABASE draft_{schema} RENAME TO schema_{schema}")
    return True


def copy(postgres: Postgres, service: str, prefix: str) -> None:
    """Make the databases of one Keystone, or of one region's service, if they are not there."""
    have = postgres.names()
    for database, schema in DATABASES[service].items():
        if f"{prefix}_{database}" not in have:
            postgres.sql(f"CREATE DATABASE {prefix}_{database} TEMPLATE schema_{schema}")
