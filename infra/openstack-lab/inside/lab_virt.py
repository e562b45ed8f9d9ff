"""Nova's fake virt driver, with faults that can be set while it runs.

nova_region.py makes this importable as nova.virt.lab_virt: `compute_driver = lab_virt.LabDriver`.
`lab.py fault` writes faults.json into Nova's state directory; it is read at each operation.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

from nova import conf, exception
from nova.virt import fake

REASON = "a fault asked of the lab"


def fault(name: str) -> float:
    """A delay in seconds, or a share of operations that fail."""
    try:
        return float(json.loads(Path(conf.CONF.state_path, "faults.json").read_text())[name])
    except (OSError, KeyError):
        return 0.0


def strikes(name: str) -> bool:
    """Whether this operation is one of the share that fails."""
    return random.random() < fault(name)  # noqa: S311  no secret


class LabDriver(fake.FakeDriverWithoutFakeNodes):
    """A hypervisor that can be slow, and fail."""

    def spawn(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Nova's
        """Start a guest, or fail as one that cannot start anywhere."""
        time.sleep(fault("spawn_delay"))
        if strikes("spawn_fail"):
            raise exception.BuildAbortException(instance_uuid=instance.uuid, reason=REASON)
        super().spawn(context, instance, *args, **kwargs)

    def destroy(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Nova's
        """Remove a guest, or fail to."""
        time.sleep(fault("destroy_delay"))
        if strikes("destroy_fail"):
            raise exception.InstancePowerOffFailure(reason=REASON)
        super().destroy(context, instance, *args, **kwargs)
