"""clouds.yaml and fleet.yaml change on a real OpenStack while instances run: nothing is lost."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml

from openmultistack.ledger import UNREACHABLE
from tests.support.product import Product

Json = dict[str, Any]

ROOT = Path(__file__).parent.parent.parent
ONE, TWO, BETA = REGIONS = ("alpha/RegionOne", "alpha/RegionTwo", "beta/RegionOne")
QUOTA = 20
# A second project of alpha's, with a user of its own.
OTHER = "other"

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]


class Changing:
    """A stack whose files change, and what runs in the laboratory meanwhile."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.clouds_file = Path(product.environment["CLOUDS"])
        self.fleet_file = Path(product.environment["FLEET"])
        self.clouds: Json = yaml.safe_load(product.clouds_file.read_text())["clouds"]
        fleet = ROOT / "infra" / "local" / "fleet.yaml"
        self.fleet: Json = yaml.safe_load(fleet.read_text())
        # What is asked beside the laboratory's own three regions, by name.
        self.beside: dict[str, openstack.connection.Connection] = {}

    def servers(self, region: str) -> dict[str, Any]:
        """Return what runs in a region, by id, asked of Nova itself."""
        if region in self.beside:
            return {it.id: it for it in self.beside[region].compute.servers()}
        return dict(self.product.servers(region))

    def use(self, clouds: Json, fleet: Json | None = None) -> str:
        """Have the stack run with these files; return what `up` said."""
        self.clouds_file.write_text(yaml.safe_dump({"clouds": clouds}, sort_keys=False))
        self.fleet_file.write_text(yaml.safe_dump(fleet or self.fleet, sort_keys=False))
        return str(self.product.stack("up"))

    def fleet_with(self, **rules: Json) -> Json:
        """Return the fleet with more said of regions."""
        regions: Json = dict(self.fleet["regions"])
        for region, rule in rules.items():
            regions[region] = regions.get(region, {}) | rule
        return self.fleet | {"regions": regions}

    def files(self) -> list[str]:
        """Return how `oms doctor` is told of the files."""
        return ["--clouds", str(self.clouds_file), "--fleet", str(self.fleet_file)]

    def reap(self, times: int = 2) -> dict[str, Json]:
        """Sweep by the command line, each region each time; return what the last one did."""
        swept: dict[str, Json] = {}
        for _ in range(times):
            done = json.loads(self.product.oms("reap", "--json").stdout)
            swept = {it["region"]: it for it in done["regions"]}
            assert "busy" not in {it["outcome"] for it in swept.values()}
        return swept

    def create(self, count: int, **more: Any) -> list[Json]:
        """Create instances and return them once they are ACTIVE."""
        ids = [it["id"] for it in self.product.create(count, **more)]
        self.product.until_active(ids)
        return [self.product.show(it) for it in ids]

    def assert_live(self, made: Iterable[Json], at: Mapping[str, str] = {}) -> dict[str, Json]:
        """Each is listed ACTIVE, with its server of before, which its cloud shows ACTIVE.

        `at`: of names of now the laboratory's regions; all others are named as those are.
        """
        listed = {it["id"]: it for it in self.product.instances()}
        clouds = {it: self.servers(it) for it in (*REGIONS, *self.beside)}
        now = {it["id"]: listed[it["id"]] for it in made}
        for it in made:
            shown = now[it["id"]]
            assert (shown["status"], shown["error"]) == ("ACTIVE", None)
            assert shown["server_id"] == it["server_id"]
            server = clouds[at.get(shown["region"], shown["region"])][it["server_id"]]
            assert server.status == "ACTIVE"
            assert shown["address"] == it["address"]
        return now

    def assert_counts(self, at: Mapping[str, str], taking_no_part: Iterable[str] = ()) -> None:
        """Each region of now holds as many as run there, and there is no other region."""
        states = self.product.regions()
        assert set(states) == {*at, *taking_no_part}
        for name, region in at.items():
            ours = len(self.servers(region))
            counts = [states[name][it] for it in ("held", "foreign", "free")]
            assert counts == [ours, 0, QUOTA - ours], name
        for name in taking_no_part:
            assert (states[name]["held"], states[name]["free"]) == (0, 0), name

    def destroy_all(self) -> None:
        """Destroy everything of ours; two sweeps later it is gone, from the clouds too."""
        self.product.oms("destroy", "--all", "--yes")
        self.product.until(lambda: self.reap(1) and not self.product.instances())
        assert not any(self.servers(it) for it in REGIONS)


@pytest.fixture
def changing(running_changed: Product) -> Changing:
    """The stack with the laboratory's own files, and nothing in it."""
    it = Changing(running_changed)
    it.use(it.clouds)
    running_changed.wipe()
    assert set(running_changed.regions()) == set(REGIONS)
    return it


def as_itself() -> dict[str, str]:
    """Return the laboratory's regions under their own names."""
    return {it: it for it in REGIONS}


@pytest.fixture
def application_credential(changing: Changing) -> Iterator[Json]:
    """The auth of an entry that leads to alpha's same project by an application credential."""
    cloud = changing.product.cloud(ONE)
    made = cloud.identity.create_application_credential(cloud.current_user_id, "changed-clouds")
    yield {
        "auth_url": changing.clouds["alpha"]["auth"]["auth_url"],
        "application_credential_id": made.id,
        "application_credential_secret": made.secret,
    }
    cloud.identity.delete_application_credential(cloud.current_user_id, made)


def test_a_second_name_for_a_project_is_refused_and_loses_nothing(
    changing: Changing, application_credential: Json
) -> None:
    """By the same password, and by an application credential; whichever line comes first."""
    made = changing.create(6)
    assert {it["region"] for it in made} == set(REGIONS)
    credential = changing.clouds["alpha"] | {"auth": application_credential}
    credential["auth_type"] = "v3applicationcredential"
    said = changing.use({"again": changing.clouds["beta"], **changing.clouds, "robot": credential})
    twins = {
        "again/RegionOne": BETA,
        "robot/RegionOne": ONE,
        "robot/RegionTwo": TWO,
    }
    for _ in range(2):
        swept = changing.reap(1)
        changing.assert_live(made)
        changing.assert_counts(as_itself(), twins)
    shown = changing.product.oms("regions").stdout
    examined = changing.product.oms("doctor", *changing.files(), check=False)
    assert examined.returncode == 1
    doctor = " ".join(examined.stdout.split())
    for twin, first in twins.items():
        why = f"repeats {first}: the same project at the same endpoint"
        state = changing.product.regions()[twin]
        assert (state["state"], state["last_error"]) == ("duplicate", why)
        assert swept[twin]["outcome"] == "refused"
        assert f"{twin} is duplicate: {why}" in said
        assert why in " ".join(shown.split())
    # It knows the files alone, and not what runs where: by these the earlier line stays.
    for later, earlier in (twins | {BETA: "again/RegionOne"}).items():
        if later != "again/RegionOne":
            assert f"{later} repeats {earlier}: the same project" in doctor
    # Each place counts once: there is room for 54 more, not for 55.
    too_many = {"count": 3 * QUOTA - len(made) + 1, "image": "debian-12", "size": "tiny"}
    refused = changing.product.call("POST", "/instances", json=too_many)
    assert refused.status_code == 503
    assert refused.json()["type"].endswith(":capacity-exhausted")
    changing.destroy_all()
    changing.assert_counts(as_itself(), twins)


def test_a_renamed_provider_keeps_what_runs_there(changing: Changing) -> None:
    """Its instances are found under the new name, and can be destroyed by it."""
    made = changing.create(6)
    clouds = {
        "alpha": changing.clouds["alpha"],
        "beta-prod": changing.clouds["beta"],
    }
    renamed = {"beta-prod/RegionOne": BETA}
    said = changing.use(clouds)
    assert "beta-prod/RegionOne is up" in said
    for _ in range(2):
        changing.reap(1)
        now = changing.assert_live(made, renamed)
        changing.assert_counts({ONE: ONE, TWO: TWO} | renamed)
    there = [it["id"] for it in made if it["region"] == BETA]
    assert there
    assert {now[it]["region"] for it in there} == set(renamed)
    listed = changing.product.oms("list").stdout
    assert "beta-prod/RegionOne" in listed
    assert " beta/" not in listed
    assert "beta-prod/RegionOne" in changing.product.oms("show", there[0]).stdout
    story = changing.product.call("GET", f"/instances/{there[0]}/events").json()["events"]
    assert "stranded" not in {it["what"] for it in story}
    assert changing.product.regions()["beta-prod/RegionOne"]["last_error"] is None
    (new,) = changing.create(1, regions=["beta-prod/*"])
    changing.assert_live([*made, new], renamed)
    changing.destroy_all()
    changing.assert_counts({ONE: ONE, TWO: TWO} | renamed)


def test_a_disabled_region_is_swept_until_it_is_empty(changing: Changing) -> None:
    """It takes nothing new; what runs there goes on until it is destroyed, and then it is gone."""
    made = changing.create(6)
    there = [it["id"] for it in made if it["region"] == TWO]
    changing.use(changing.clouds, changing.fleet_with(**{TWO: {"enabled": False}}))
    changing.reap()
    changing.assert_live(made)
    state = changing.product.regions()[TWO]
    assert (state["state"], state["held"], state["free"]) == ("retiring", len(there), 0)
    assert "retiring" in changing.product.oms("regions").stdout
    made += changing.create(4)
    assert len([it for it in made if it["region"] == TWO]) == len(there)
    wanted = {"image": "debian-12", "size": "tiny", "regions": [TWO]}
    refused = changing.product.call("POST", "/instances", json=wanted)
    assert refused.status_code == 422
    changing.product.oms("destroy", *there)
    changing.product.until(lambda: changing.reap(1) and TWO not in changing.product.regions())
    assert not changing.servers(TWO)
    left = [it for it in made if it["id"] not in there]
    changing.reap()
    changing.assert_live(left)
    changing.assert_counts({ONE: ONE, BETA: BETA})
    changing.use(changing.clouds)
    changing.assert_live(left)
    changing.assert_counts(as_itself())


def test_a_provider_that_was_taken_out_is_told_of_and_comes_back_under_another_name(
    changing: Changing,
) -> None:
    """Destroy is refused for what is there and done for the rest; put back, its word is kept."""
    made = changing.create(9, labels={"run": "out"})
    there = [it for it in made if it["region"] == BETA]
    ended, *kept = there
    elsewhere = next(it for it in made if it["region"] == ONE)
    assert kept
    changing.use({"alpha": changing.clouds["alpha"]})
    changing.reap()
    changing.assert_live(it for it in made if it["region"] != BETA)
    for it in there:
        now = changing.product.show(it["id"])
        assert (now["region"], now["status"], now["error"]) == (BETA, "ACTIVE", UNREACHABLE)
    state = changing.product.regions()[BETA]
    assert (state["state"], state["held"], state["free"]) == ("removed", len(there), 0)
    assert UNREACHABLE in changing.product.oms("show", ended["id"]).stdout
    assert changing.product.oms("list").stdout.count("ACTIVE (unreachable)") == len(there)
    assert f"oms regions forget {BETA}" in changing.product.oms("regions").stdout

    refused = changing.product.call("DELETE", f"/instances/{ended['id']}")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith(":provider-removed")
    assert refused.json()["unreachable"] == [ended["id"]]
    done = changing.product.oms("destroy", ended["id"], elsewhere["id"], check=False)
    assert done.returncode != 0
    assert "500" not in done.stderr
    changing.product.until(
        lambda: changing.reap(1) and elsewhere["server_id"] not in changing.servers(ONE)
    )
    running = changing.servers(BETA)
    assert {it["server_id"] for it in there} == set(running)

    back = {"beta-back/RegionOne": BETA}
    changing.use({"alpha": changing.clouds["alpha"], "beta-back": changing.clouds["beta"]})
    changing.product.until(
        lambda: changing.reap(1) and ended["server_id"] not in changing.servers(BETA)
    )
    changing.reap()
    gone = (ended["id"], elsewhere["id"])
    changing.assert_live([it for it in made if it["id"] not in gone], back)
    changing.assert_counts({ONE: ONE, TWO: TWO} | back)
    assert changing.product.show(ended["id"])["status"] == "DELETED"
    changing.destroy_all()


def test_a_removed_region_is_forgotten_by_name_and_adopted_when_it_is_back(
    changing: Changing,
) -> None:
    """Its servers run on meanwhile, and nobody is charged for them."""
    made = changing.create(6)
    there = [it for it in made if it["region"] == BETA]
    changing.use({"alpha": changing.clouds["alpha"]})
    changing.reap()
    assert BETA in changing.product.oms("regions", "forget", BETA, "--yes").stdout
    assert set(changing.product.regions()) == {ONE, TWO}
    assert len(changing.product.instances()) == len(made) - len(there)
    changing.reap()
    assert len(changing.servers(BETA)) == len(there)
    back = {"beta-back/RegionOne": BETA}
    changing.use({"beta-back": changing.clouds["beta"], "alpha": changing.clouds["alpha"]})
    for _ in range(2):
        changing.reap(1)
        changing.assert_live(made, back)
    changing.assert_counts({ONE: ONE, TWO: TWO} | back)
    changing.destroy_all()


@pytest.fixture
def other_project(changing: Changing) -> Iterator[Json]:
    """A second project of alpha's, with a user of its own; yields the auth of an entry for it."""
    admin = connect(
        changing.product.clouds_file.with_name("clouds-admin.yaml"), "alpha-admin", "RegionTwo"
    )
    auth = changing.clouds["alpha"]["auth"]
    project = admin.identity.create_project(name=OTHER, domain_id="default")
    user = admin.identity.create_user(
        name=OTHER, password=auth["password"], domain_id="default", default_project_id=project.id
    )
    member = admin.identity.find_role("member", ignore_missing=False)
    admin.identity.assign_project_role_to_user(project, user, member)
    its_file = changing.clouds_file.with_name("other.yaml")
    entry = changing.clouds["alpha"] | {"auth": auth | {"username": OTHER, "project_name": OTHER}}
    its_file.write_text(yaml.safe_dump({"clouds": {OTHER: entry}}))
    cloud = changing.beside[OTHER] = connect(its_file, OTHER, "RegionTwo")
    yield entry["auth"]
    for server_id in changing.servers(OTHER):
        cloud.compute.delete_server(server_id)
    changing.product.until(lambda: not changing.servers(OTHER))
    cloud.close()
    admin.identity.delete_user(user)
    admin.identity.delete_project(project)
    admin.close()


def connect(clouds_file: Path, cloud: str, region: str) -> openstack.connection.Connection:
    """Return a connection of our own, by an entry of a file."""
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_file)], load_envvars=False)
    return openstack.connection.Connection(config=config.get_one(cloud, region_name=region))


def test_each_region_has_its_own_auth_and_its_calls_go_there(
    changing: Changing, other_project: Json
) -> None:
    """One provider's regions lead to two Keystones and two projects; none is taken for another."""
    made = changing.create(6)
    beta = changing.clouds["beta"]
    own = {"RegionOne": beta["auth"], "RegionTwo": other_project}
    mixed = {name: value for name, value in beta.items() if name not in ("auth", "regions")}
    mixed["regions"] = [{"name": it, "values": {"auth": auth}} for it, auth in own.items()]
    rule = {"network": changing.fleet["regions"][TWO]["network"]}
    changing.use(
        {"alpha": changing.clouds["alpha"], "mixed": mixed},
        changing.fleet_with(**{"mixed/RegionTwo": rule}),
    )
    mixed_at = {"mixed/RegionOne": BETA, "mixed/RegionTwo": OTHER}
    for _ in range(2):
        changing.reap(1)
        changing.assert_live(made, mixed_at)
        changing.assert_counts({ONE: ONE, TWO: TWO} | mixed_at)
    for name, region in mixed_at.items():
        before = changing.servers(region)
        made += (new := changing.create(2, regions=[name]))
        assert set(changing.servers(region)) - set(before) == {it["server_id"] for it in new}
    changing.reap()
    changing.assert_live(made, mixed_at)
    changing.assert_counts({ONE: ONE, TWO: TWO} | mixed_at)
    changing.destroy_all()
    assert not changing.servers(OTHER)
