"""Which of Nova's microversions is spoken, and from which on it has what is used of them."""

# 2.47 puts the flavor's numbers into a server, 2.52 takes tags in a create; 2.90 is old enough
# (2021) to be common, and what a cloud does not know is left out.
MICROVERSION = "2.90"
TAGS_SINCE = (2, 52)
FLAVOR_NUMBERS_SINCE = (2, 47)
# The newest that takes a server without a word on networks.
NETWORKS_UNSAID = "2.36"
# The first that takes the type of a key.
KEY_TYPE_SINCE, KEY_TYPE_MICROVERSION = (2, 2), "2.2"


def supports(microversion: str | None, since: tuple[int, ...]) -> bool:
    """Whether a microversion has what came with another; None, which a cloud has, has nothing."""
    return microversion is not None and numbers_of(microversion) >= since


def numbers_of(microversion: str) -> tuple[int, ...]:
    """Return a microversion as numbers, which sort as it does."""
    return tuple(map(int, microversion.split(".")))
