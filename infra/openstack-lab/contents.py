"""Fills the providers through their own APIs. It adds what is missing: safe to repeat."""

from layout import Lab
from rest import Collection, Session
from topology import PASSWORD, SERVICE_PORT_OFFSETS, Network, Region, regions_of

DOMAIN = "default"
# The type that clients look for in the catalog -> the service, and the path of its API.
CATALOG = {
    "compute": ("nova", "/v2.1"),
    "placement": ("placement", ""),
    "image": ("glance", ""),
    "network": ("neutron", ""),
}
INTERFACES = ("public", "internal", "admin")
IMAGE_FORMAT = {"disk_format": "raw", "container_format": "bare", "visibility": "public"}
# The fake driver reads no image.
IMAGE_CONTENT = b"not a disk image\n"


def fill_keystone(lab: Lab, provider: str) -> None:
    """Users, projects and the catalog of one provider."""
    session = Session(lab, provider, "admin")
    fill_users(session, lab.keystone_url(provider))
    fill_catalog(session, lab, provider)


def fill_users(session: Session, url: str) -> None:
    """The services' users, and `ci`: the one whom tests and demo are."""
    roles = Collection(session, f"{url}/roles", "role")
    projects = Collection(session, f"{url}/projects", "project")
    users = Collection(session, f"{url}/users", "user")
    wanted: dict[str, tuple[str, tuple[str, ...]]] = {}
    for service in SERVICE_PORT_OFFSETS:
        wanted[service] = ("service", ("admin", "service"))
    wanted["ci"] = ("ci", ("member",))
    for name, (project_name, role_names) in wanted.items():
        project = projects.ensure(project_name, domain_id=DOMAIN)
        user = users.ensure(name, domain_id=DOMAIN, password=PASSWORD)
        for role in role_names:
            role_id = roles.ensure(role)
            session.ask("PUT", f"{url}/projects/{project}/users/{user}/roles/{role_id}")


def fill_catalog(session: Session, lab: Lab, provider: str) -> None:
    """Where clients find what, in every region of the provider."""
    url = lab.keystone_url(provider)
    services = Collection(session, f"{url}/services", "service")
    there = {member["id"] for member in session.ask("GET", f"{url}/regions")["regions"]}
    for region in regions_of(provider):
        if region.name not in there:
            session.ask("POST", f"{url}/regions", {"region": {"id": region.name}})
    have = {
        (member["service_id"], member["region_id"], member["interface"])
        for member in session.ask("GET", f"{url}/endpoints")["endpoints"]
    }
    for kind, name, region_name, target in endpoints(lab, provider):
        service = services.ensure(name, type=kind)
        for interface in INTERFACES:
            if (service, region_name, interface) not in have:
                endpoint = {"service_id": service, "region_id": region_name}
                endpoint |= {"interface": interface, "url": target}
                session.ask("POST", f"{url}/endpoints", {"endpoint": endpoint})


def endpoints(lab: Lab, provider: str) -> list[tuple[str, str, str, str]]:
    """The lines of a catalog: (type, service, region, URL)."""
    lines = []
    for region in regions_of(provider):
        lines.append(("identity", "keystone", region.name, lab.keystone_url(provider)))
        for kind, (service, path) in CATALOG.items():
            lines.append((kind, service, region.name, lab.service_url(region, service) + path))
    return lines


def fill_images(lab: Lab, region: Region) -> None:
    """The images of a region. One whose upload was cut short is made anew."""
    session = Session(lab, region.provider, "admin")
    url = f"{lab.service_url(region, 'glance')}/v2/images"
    have = session.ask("GET", f"{url}?limit=100")["images"]
    for image in have:
        if image["status"] != "active":
            session.ask("DELETE", f"{url}/{image['id']}")
    names = {image["name"] for image in have if image["status"] == "active"}
    for image in region.images:
        if image.name not in names:
            made = session.ask("POST", url, {**vars(image), **IMAGE_FORMAT})
            session.upload(f"{url}/{made['id']}/file", IMAGE_CONTENT)


def fill_networks(lab: Lab, region: Region) -> None:
    """The networks of a region, each with a subnet, and one to the outside."""
    session = Session(lab, region.provider, "admin")
    projects = Collection(session, f"{lab.keystone_url(region.provider)}/projects", "project")
    for network in region.networks:
        owner = projects.id_of("admin" if network.shared else "ci")
        ensure_network(lab, region, session, network, project_id=owner, shared=network.shared)
    outside = {
        "router:external": True,
        "provider:network_type": "flat",
        "provider:physical_network": "physnet1",
    }
    ensure_network(lab, region, session, Network("public", "192.0.2.0/24"), **outside)


def ensure_network(
    lab: Lab, region: Region, session: Session, network: Network, **attributes: object
) -> None:
    """One network and its subnet."""
    url = f"{lab.service_url(region, 'neutron')}/v2.0"
    networks = Collection(session, f"{url}/networks", "network")
    subnets = Collection(session, f"{url}/subnets", "subnet")
    network_id = networks.ensure(network.name, **attributes)
    owner = {"project_id": attributes["project_id"]} if "project_id" in attributes else {}
    subnets.ensure(
        f"{network.name}-v4", network_id=network_id, ip_version=4, cidr=network.cidr, **owner
    )


def fill_flavors(lab: Lab, region: Region) -> None:
    """The flavors of a region."""
    session = Session(lab, region.provider, "admin")
    url = f"{lab.service_url(region, 'nova')}/v2.1/flavors"
    flavors = Collection(session, url, "flavor")
    for flavor in region.flavors:
        attributes = {"vcpus": flavor.vcpus, "ram": flavor.ram, "disk": flavor.disk}
        flavors.ensure(flavor.name, **attributes)
