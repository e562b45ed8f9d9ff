"""What the texts of Nova's refusals mean: upstream's own words, each with a class and an advice.

The texts are those of nova/exception.py, as `create` in servers.py and keypairs.py give them on.
The first rule whose words are in a text counts. docs/refusals.md is this table for people.
"""

import re
from typing import NamedTuple

from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CatalogueStale,
    CloudError,
    InDoubt,
    OrderRefused,
    RegionFull,
    Unsuitable,
)
from openmultistack.domain.identity import FEWER_ITEMS
from openmultistack.domain.models import ALL_OF_IT, About


class Rule(NamedTuple):
    """Words of refusals, their class, and for `Unsuitable` what of an order it is about."""

    words: re.Pattern[str]
    means: type[CloudError]
    about: About = ()
    # What the client or the operator can do about it.
    advice: str = ""


def _rule(words: str, means: type[CloudError], about: About = (), advice: str = "") -> Rule:
    return Rule(re.compile(words, re.IGNORECASE), means, about, advice)


FLAVOR: About = ("flavor",)
IMAGE: About = ("image",)
BOTH: About = ("flavor", "image")
NETWORK: About = ("network",)
GROUPS: About = ("groups",)
KEYED: About = ("keyed",)
_KEY_QUOTA = r"too many key ?pairs|server_key_pairs"
_NO_KEY = "without a key it goes there"
_OTHER_NETWORK = "fleet.yaml should name another network"
_OTHER_SIZE = "another size or image may be taken"

# Capacity of the whole project there: whoever asks next is answered alike.
QUOTA = re.compile(
    r"quota|exceeded for|over (a |the |its )?limit|number of ports exceeded"
    r"|number of security groups or rules exceeded|number of floating ips exceeded"
    r"|no fixed ip addresses available|no more ip addresses",
    re.IGNORECASE,
)
# Neutron's own word for it is 409.
QUOTA_STATUS = (403, 409, 413)

# Policy and quotas of one part of an order: whoever does without that part is served.
PARTS = (
    # An earlier POST of this very attempt made it: its name is nobody else's.
    _rule(r"instance .* already exists", InDoubt),
    _rule(r"policy doesn't allow \S*keypairs", Unsuitable, KEYED, _NO_KEY),
    _rule(r"policy doesn't allow \S*attach_network", Unsuitable, NETWORK, _OTHER_NETWORK),
    _rule(r"policy doesn't allow", AccountBroken),
    _rule(_KEY_QUOTA, Unsuitable, KEYED, _NO_KEY),
    _rule(
        r"number of metadata items exceeds|server_metadata_items",
        Unsuitable,
        ("metadata",),
        FEWER_ITEMS,
    ),
    _rule(r"server groups|servers in group|personality file", Unsuitable, ALL_OF_IT),
)

RULES = (
    # What a flavor and an image (and the disks that it defines) make of one another.
    _rule(
        r"volume-backed servers", Unsuitable, FLAVOR, "a size whose flavor has a disk is needed"
    ),
    _rule(
        r"flavor's (disk|memory)|disk would be too small|volume is smaller than the minimum",
        Unsuitable, BOTH, "a larger size is needed for this image",
    ),
    _rule(
        r"local devices|block device(?!.*failed to get)|ephemeral disks|swap drive|disk devices"
        r"|boot sequence",
        Unsuitable, BOTH, "the image defines disks that the flavor does not allow",
    ),
    _rule(
        r"not permitted to override|numa|cpu|memory page|page size|locked_memory|conflicting values"
        r"|serial port|'mixed' policy|machine type|video model|pci alias|stateless firmware"
        r"|accelerators|emulator|realtime",
        Unsuitable, BOTH, _OTHER_SIZE,
    ),
    _rule(
        r"image .* is unacceptable|request of image|signature certificate|automatic disk resize"
        r"|config drive",
        Unsuitable, IMAGE, "another image is needed",
    ),
    # Networks and what hangs on them.
    _rule(r"external network", Unsuitable, NETWORK, _OTHER_NETWORK),
    _rule(
        r"requires a subnet|port_security_enabled|possible networks? found|qos policy"
        r"|automatically allocate a network",
        Unsuitable, NETWORK, _OTHER_NETWORK,
    ),
    _rule(
        r"find security.?group|security.?groups? .*(not found|could not|found matching)",
        Unsuitable, GROUPS, "fleet.yaml names a security group that is not there, or is twice",
    ),
    # What the catalogue had is there no more, or means something else by now.
    _rule(
        r"flavor .*(could not be found|not found)|flavorref|can ?not find requested image|imageref"
        r"|image .*(could not be found|not active)|not authorized for image|failed to get image"
        r"|network .*could not be found",
        CatalogueStale,
    ),
    # What the client sent: another cloud may take it, and its own words are in no other order.
    _rule(
        r"user.?data|key_name|key ?pair|public_key|metadata|unicodeerror",
        OrderRefused,
    ),
)  # fmt: skip

# Refused for certain, and nobody knows for what: it holds for what is alike in everything.
_UNKNOWN = Rule(re.compile(""), Unsuitable, ALL_OF_IT)


def meaning_of(status: int, text: str) -> CloudError:
    """Return what a fault of Nova's means that says with certainty that nothing was made."""
    found = next((it for it in PARTS if it.words.search(text)), None)
    if found is None and status in QUOTA_STATUS and QUOTA.search(text):
        return RegionFull(text)
    found = found or next((it for it in RULES if it.words.search(text)), _UNKNOWN)
    if found.means is Unsuitable:
        said = f"{text} ({found.advice})" if found.advice else text
        return Unsuitable(said, about=found.about)
    return found.means(text)


def is_quota(text: str) -> bool:
    """Whether the fault of a server in ERROR says that its region's quota was used up."""
    return bool(QUOTA.search(text)) and not any(it.words.search(text) for it in PARTS)
