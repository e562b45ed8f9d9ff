"""`oms doctor`: what is well, what is not, and what to mend."""

import json
import re

import pytest
import yaml

from openmultistack.cli import clouds_entries, doctor
from openmultistack.clouds import Claim, Marks, Server
from openmultistack.clouds.fake import FakeCloud
from openmultistack.clouds.keyring import Keyring, MarksKey
from openmultistack.clouds.names import name_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import AccountBroken, NoSuchRegion, Unreachable
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import (
    Address,
    Catalogue,
    Flavor,
    Image,
    Network,
    Resources,
    Status,
)
from openmultistack.fleet.config import Fleet, Region

CATALOGUE = Catalogue(
    flavors=(Flavor(id="1", name="m1.small", vcpus=1, ram_mb=2048, disk_gb=20),),
    images=(Image(id="2", name="Debian 12 generic"),),
    networks=(Network(id="3", name="private"),),
)
FLEET = {
    "images": {"debian-12": {"*": "Debian 12*"}},
    "sizes": {"small": {"vcpus": 1, "ram_mb": 1024}},
}


@pytest.fixture
def write(tmp_path):
    """Write a YAML file and return its path."""

    def write(name, document):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def clouds_file(write):
    """Two regions of one provider; nobody listens there."""
    auth = {
        "auth_url": "http://127.0.0.1:9/v3", "username": "oms", "password": "my-password",
        "project_name": "oms", "user_domain_id": "default", "project_domain_id": "default",
    }  # fmt: skip
    return write("clouds.yaml", {"clouds": {"alpha": {"auth": auth, "regions": ["One", "Two"]}}})


@pytest.fixture(autouse=True)
def clouds(monkeypatch):
    """The clouds of both regions, in memory."""
    quota = Resources(instances=20, vcpus=40, ram_mb=40960)
    made = {name: FakeCloud(CATALOGUE, quota) for name in ("alpha/One", "alpha/Two")}
    monkeypatch.setattr(doctor, "_clouds", lambda *_: made.__getitem__)
    return made


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    """Nothing of the machine's own stack takes part."""
    monkeypatch.delenv("OMS_MARKS_KEYS_FILE", raising=False)


@pytest.fixture
def examine(clouds_file, write, capsys):
    """Examine with a fleet.yaml; returns the exit code and the findings to mend by region."""

    def examine(fleet):
        code = doctor.examine(clouds_file, write("fleet.yaml", fleet), as_json=True)
        document = json.loads(capsys.readouterr().out)
        wrong = [(it["where"], it["what"], it["mend"]) for it in document["findings"] if it["mend"]]
        assert document["wrong"] == len(wrong)
        return code, wrong

    return examine


def test_all_is_well(examine):
    assert examine(FLEET) == (0, [])


def test_what_was_looked_at_is_said(clouds_file, write, capsys):
    assert doctor.examine(clouds_file, write("fleet.yaml", FLEET), as_json=False) == 0
    shown = capsys.readouterr().out
    for part in (
        "2 regions: alpha/One, alpha/Two", "login works: 0 of 20 instances", "network is private",
        "image debian-12 is Debian 12 generic", "size small is m1.small", "all is well",
    ):  # fmt: skip
        assert part in shown


def test_without_a_fleet_file_names_are_the_clouds_own(clouds_file, monkeypatch, capsys):
    monkeypatch.delenv("OMS_FLEET_FILE", raising=False)
    assert doctor.examine(clouds_file, None, as_json=False) == 0
    assert "images: 1, flavors: 1" in capsys.readouterr().out


def test_a_login_that_fails_leaves_the_other_region_examined(examine, clouds):
    clouds["alpha/One"].fault = lambda _: AccountBroken("401: wrong password")
    code, wrong = examine(FLEET)
    assert code == 1
    mend = "check its user, password, project and domains in clouds.yaml"
    assert wrong == [("alpha/One", "401: wrong password", mend)]


def test_an_image_and_a_size_that_mean_nothing_in_a_region(examine, clouds):
    clouds["alpha/Two"].offered = CATALOGUE._replace(
        images=(Image(id="9", name="Ubuntu"),), flavors=()
    )
    code, wrong = examine(FLEET)
    assert code == 1
    assert wrong == [
        (
            "alpha/Two",
            "image debian-12: has no image debian-12",
            "mend images.debian-12 in fleet.yaml; the region has: Ubuntu",
        ),
        (
            "alpha/Two",
            "size small: has no flavor for size small",
            "mend sizes.small in fleet.yaml; the region has: none",
        ),
    ]


def test_a_network_that_must_be_named(examine, clouds):
    two = (Network(id="3", name="one"), Network(id="4", name="two"))
    clouds["alpha/One"].offered = CATALOGUE._replace(networks=two)
    code, ((where, what, mend),) = examine(FLEET)
    assert (code, where) == (1, "alpha/One")
    assert "several networks" in what
    assert mend == "set regions.alpha/One.network in fleet.yaml to one of: one, two"
    assert examine(FLEET | {"regions": {"alpha/One": {"network": "two"}}}) == (0, [])


def test_no_region_left_is_to_mend(examine):
    code, ((where, what, _),) = examine({"regions": {"*": {"enabled": False}}})
    assert (code, where, what) == (1, "configuration", "no region is left")


def test_bad_configuration_names_file_key_and_expectation(oms, clouds_file, write):
    fleet = write("fleet.yaml", {"regions": {"alpha/*": {"cap": {"instances": -1}}}})
    given = {"OS_CLIENT_CONFIG_FILE": str(clouds_file), "OMS_FLEET_FILE": str(fleet)}
    said = oms("doctor", code=1, **given).stdout
    assert "fleet.yaml: regions.alpha/*.cap.instances" in said
    assert "1 to mend" in said
    missing = oms("doctor", "--clouds", "/no/clouds.yaml", code=1).stdout
    assert "/no/clouds.yaml: cannot be read" in missing
    assert "OS_CLIENT_CONFIG_FILE" in oms("doctor", code=1).stdout


def test_all_that_is_wrong_in_both_files_is_told_at_once(write, capsys):
    """The one that everybody else is told is first; of a size in two shapes only what was meant."""
    clouds = {"a": {"regions": 7}, "b": "x", "c": {"auth": {"pasword": "p"}, "regions": ["One"]}}
    fleet = {
        "regions": {"*": {"pric": 3}, "c/*": {"cap": {"instances": -1}}},
        "sizes": {"big": {"c/*": 5, "*": "m1"}},
        "queue": {"max": "many"},
    }
    files = write("clouds.yaml", {"clouds": clouds}), write("fleet.yaml", fleet)
    assert doctor.examine(*files, as_json=True) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    told = [it["mend"].rpartition(".yaml: ")[2] for it in findings if it["what"] == "refused"]
    assert [re.sub(r" \(line \d+\)", "", it) for it in told] == [
        "regions.c/*.cap.instances: is -1, expected at least 0",
        "regions.*.pric: is no key here; did you mean price?",
        "sizes.big.c/*: is 5, expected a text",
        "queue.max: is a text, expected a whole number",
        "clouds.a.regions: expected a list of regions",
        "clouds.b: expected a mapping",
    ]
    assert "clouds.c.auth.pasword: is no key that a login takes" in [it["what"] for it in findings]


def test_patterns_that_match_no_region_are_all_told(examine):
    code, wrong = examine({"regions": {"alpa/*": {}}, "images": {"debian": {"bta/*": "Debian"}}})
    assert (code, len(wrong)) == (1, 2)
    assert "regions.alpa/* (line 5): matches no region" in wrong[0][2]
    assert "images.debian.bta/*" in wrong[1][2]


@pytest.mark.parametrize("faulty", [{"vcpu": 1}, {"vcpus": 1, "a/*": "m1"}])
def test_more_faults_than_anybody_reads_are_counted(examine, faulty):
    _, wrong = examine({"sizes": {f"s{number:02}": faulty for number in range(25)}})
    assert len(wrong) == 21
    assert wrong[-1][:2] == ("configuration", "5 more")


def test_slips_of_the_pen_are_counted_beyond_some(write, capsys):
    entry = {"auth": {"auth_url": "http://x/v3", "username": "u"}, "regions": ["One"]}
    file = write(
        "clouds.yaml", {"clouds": {f"c{number:02}": entry for number in range(22)} | {"d": 7}}
    )
    assert doctor.examine(file, None, as_json=True) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert (len(findings), findings[0]["what"]) == (21, "refused")
    assert findings[-1]["what"] == "3 more"


def test_a_region_out_of_reach_is_told_through_the_real_client_without_the_password(
    oms, clouds_file
):
    done = oms("doctor", "--clouds", str(clouds_file), "--json", code=1)
    findings = [it for it in json.loads(done.stdout)["findings"] if it["mend"]]
    assert [it["where"] for it in findings] == ["alpha/One", "alpha/Two"]
    assert "auth_url" in findings[0]["mend"]
    assert "my-password" not in done.stdout + done.stderr


GOOD_AUTH = {"auth_url": "http://x/v3", "username": "u", "password": "my-password"}


@pytest.mark.parametrize(
    ("entry", "said", "mend"),
    [
        ({"auth": GOOD_AUTH}, None, None),
        (
            {"auth": {"auth_url": "x", "usrname": "u", "user_id": "u", "password": "p"}},
            "clouds.c.auth.usrname: is no key that a login takes", "did you mean username?",
        ),
        ({"auth": {**GOOD_AUTH, "password": "${PASS}"}}, "auth.password: is a variable", "value"),
        (
            {"auth": {"auth_url": "x", "username": "u"}}, "clouds.c.auth: has no password",
            "set password",
        ),
        ({"auth": {"username": "u", "password": "p"}}, "has no auth_url", "identity service"),
        (
            {"auth": {"auth_url": "x", "application_credential_id": "i",
                      "application_credential_secret": "s"}},
            None, None,
        ),
        ({"auth": GOOD_AUTH, "compute_connect_retries": 2}, "a create is sent once", ""),
        (
            {"auth": GOOD_AUTH,
             "regions": [{"name": "One", "values": {"connect_retries": 3}}]},
            "clouds.c.regions.0.values.connect_retries: a create is sent once", "",
        ),
        (
            {"auth": GOOD_AUTH,
             "regions": ["One", {"name": "Two", "values": {"auth": {"pasword": "my-password"}}}]},
            "clouds.c.regions.1.values.auth.pasword: is no key", "did you mean password?",
        ),
        # Each region its own login, and none beside it.
        ({"regions": [{"name": "One", "values": {"auth": GOOD_AUTH}}]}, None, None),
        (
            {"regions": [{"name": "One", "values": {"auth": GOOD_AUTH}}, "Two"]},
            "clouds.c.auth: has no auth_url", "identity service",
        ),
        ({"auth": {"username": "u", "password": "p"}, "profile": "catalyst"}, None, None),
        ({"auth": GOOD_AUTH, "verify": False}, "certificate is not checked", ""),
    ],
)  # fmt: skip
def test_slips_in_an_entry_of_clouds_yaml_are_told_without_a_value(write, entry, said, mend):
    file = write("clouds.yaml", {"clouds": {"c": {"regions": ["One"]} | entry}})
    found = list(clouds_entries.faults(file))
    assert "my-password" not in str(found)
    if said is None:
        assert found == []
        return
    (where, what, how) = found[0]
    assert said in f"{where}: {what}"
    assert mend in how
    assert bool(mend) == bool(how)


def test_secrets_may_be_in_secure_yaml_beside_the_file(write):
    entry = {"auth": {"auth_url": "http://x/v3", "username": "u"}, "regions": ["One"]}
    file = write("clouds.yaml", {"clouds": {"c": entry}})
    assert [it[1] for it in clouds_entries.faults(file)] == ["has no password"]
    write("secure.yaml", {"clouds": {"c": {"auth": {"password": "my-password"}}}})
    assert list(clouds_entries.faults(file)) == []


def test_an_image_that_no_flavor_of_a_size_has_room_for_is_to_mend(examine, clouds):
    big = Image(id="2", name="Debian 12 generic", min_disk_gb=100)
    clouds["alpha/One"].offered = CATALOGUE._replace(images=(big,))
    code, wrong = examine(FLEET)
    assert code == 1
    assert {it[0] for it in wrong} == {"alpha/One"}
    assert "100 GB of disk" in str(wrong)


def test_private_addresses_alone_are_worth_a_note_and_nothing_to_mend(clouds):
    cloud = clouds["alpha/One"]
    server = cloud.servers[cloud.add_foreign(Resources(instances=1))]
    for address, noted in (("10.0.0.2", True), ("8.8.8.8", False)):
        here = (Address(address, 4, "net"),)
        cloud.servers[server.id] = server._replace(addresses=here)
        told = [it for it in doctor._region(*region_of(cloud), {}) if it.note]  # noqa: SLF001  one region
        assert bool(told) is noted


def region_of(cloud):
    """Return what a region is examined with."""
    region = Region(name="alpha/One", provider="alpha", region="One")
    return Fleet(regions={region.name: region}), region, cloud


def test_a_second_name_for_a_region_says_which_it_repeats(examine, clouds):
    clouds["alpha/Two"].is_at = clouds["alpha/One"].is_at
    code, wrong = examine(FLEET)
    assert code == 1
    assert wrong == [
        (
            "alpha/Two",
            "repeats alpha/One: the same project at the same endpoint",
            "take one of the two out of clouds.yaml: they are one region, and count once",
        )
    ]


def test_security_groups_that_are_not_there_are_told_with_those_that_are(examine, clouds):
    clouds["alpha/One"].groups = {"g1": "default", "g2": "ssh"}
    groups = FLEET | {"regions": {"*": {"security_groups": ["ssh", "g1"]}}}
    code, wrong = examine(groups)
    assert code == 1
    has = "make it in that project, or mend security_groups in fleet.yaml; there are: default"
    assert wrong == [("alpha/Two", "security group ssh: there is none of this name", has)]
    clouds["alpha/Two"].groups["g2"] = "ssh"
    assert examine(groups) == (0, [])


def test_security_groups_that_cannot_be_listed_leave_the_rest_examined(examine, clouds):
    refused = Unreachable("the network service: 404")
    clouds["alpha/One"].fault = lambda call: refused if call == "security_groups" else None
    code, wrong = examine(FLEET | {"regions": {"alpha/One": {"security_groups": ["ssh"]}}})
    assert (code, [it[1] for it in wrong]) == (
        1, ["security groups cannot be listed: the network service: 404"],
    )  # fmt: skip


def test_where_fleet_yaml_names_no_security_group_nobody_asks_for_them(examine, clouds):
    assert examine(FLEET) == (0, [])
    assert "security_groups" not in clouds["alpha/One"].calls


@pytest.mark.parametrize(
    ("offered", "mend"),
    [
        (["One"], "mend the region's name in clouds.yaml: it is one of these, as they are written"),
        ([], "check its project in clouds.yaml: its catalogue may be another one's"),
    ],
)
def test_a_wrong_region_name_is_mended_by_one_of_the_catalogues(examine, clouds, offered, mend):
    clouds["alpha/Two"].fault = lambda _: NoSuchRegion("Tow", offered)
    code, ((where, what, how),) = examine(FLEET)
    assert (code, where, how) == (1, "alpha/Two", mend)
    assert what.startswith("the service catalog has no compute service for region Tow; it has")


# ---------------------------------------------------------------- marks

ONE = Marks("default", "i-" + "0" * 26, 1, Identity("alice", "ci", {}, 0, 1))


def marked(server_id, **more):
    need = Resources(instances=1, vcpus=1, ram_mb=1)
    return Server(server_id, Status.ACTIVE, "small", "i", need, **more)


@pytest.fixture
def said(clouds_file, capsys, monkeypatch, tmp_path):
    """Examine with two keys; returns what is said of each."""
    file = tmp_path / "marks.keys"
    file.write_text(f"new:{'A' * 43}\nold:{'A' * 42}E\n")
    monkeypatch.setenv("OMS_MARKS_KEYS_FILE", str(file))

    def examine():
        doctor.examine(clouds_file, None, as_json=True)
        found = json.loads(capsys.readouterr().out)["findings"]
        return {(it["where"], it["what"]) for it in found}

    return examine


def test_each_key_is_told_with_the_servers_that_carry_it(said, clouds):
    carried = "key old verifies only: {} servers carry it"
    clouds["alpha/One"].servers = {
        "s-1": marked("s-1", marks=ONE, signed_by="new"),
        "s-2": marked("s-2", marks=ONE._replace(attempt=2), signed_by="old"),
    }
    found = said()
    assert ("marks", "keys: new, old") in found
    assert ("marks", "key new signs: 1 servers carry it") in found
    assert ("marks", carried.format(1)) in found
    # Its marks were written anew; its name, and that of its key pair, stay.
    anew = marked("s-2", marks=ONE._replace(attempt=2), signed_by="new", named_by="old")
    clouds["alpha/One"].servers["s-2"] = anew
    assert {("marks", carried.format(1)), ("marks", "key new signs: 2 servers carry it")} <= said()
    del clouds["alpha/One"].servers["s-2"]
    assert ("marks", carried.format(0) + "; it may leave the file") in said()


def test_an_old_key_is_not_said_to_be_free_while_a_region_does_not_answer(said, clouds):
    clouds["alpha/Two"].fault = lambda _: Unreachable("away")
    told = [what for where, what in said() if where == "marks" and "old verifies" in what]
    assert told == ["key old verifies only: 0 servers carry it; not every region was seen"]


def test_servers_that_say_they_are_ours_are_named(said, clouds):
    clouds["alpha/Two"].servers = {
        "s-1": marked("s-1", marks=ONE, signed_by="new"),
        "s-2": marked("s-2", marks=ONE, signed_by="new"),
        "s-3": marked("s-3", claim=Claim(ONE, "unsigned")),
        "s-4": marked("s-4", claim=Claim(ONE, "unverified")),
    }
    told = {what for where, what in said() if where == "alpha/Two"}
    for part in ("unsigned servers: s-3;", "unverified servers: s-4;", "same marks on s-1, s-2;"):
        assert any(part in it for it in told), told


def test_key_pairs_that_no_key_of_ours_proves_are_named_when_no_server_tells_of_them(said, clouds):
    cloud, left, used = clouds["alpha/One"], ONE.attempted, ONE._replace(attempt=2).attempted
    theirs = Signing(Keyring([MarksKey("lost", bytes(32))]), "default", cloud.is_at.id)
    cloud.fleet = "default"
    cloud.keyring = Keyring([MarksKey("new", bytes(range(32)))])
    cloud.keypairs = {"laptop", name_of(theirs, left), name_of(theirs, used)}
    cloud.servers = {"s-1": marked("s-1", marks=ONE._replace(attempt=2), signed_by="new")}
    (told,) = [what for where, what in said() if "key pairs" in what and where == "alpha/One"]
    assert told.startswith("key pairs of no server")
    assert f"(1): {name_of(theirs, left)}; " in told
    cloud.keypairs = {"laptop", name_of(theirs, used)}
    assert not [what for _, what in said() if "key pairs" in what]


def test_key_pairs_of_before_are_named_when_no_server_tells_of_them(said, clouds):
    """Which of them a sweep will delete the ledger knows, and doctor has none."""
    cloud = clouds["alpha/One"]
    cloud.fleet = "default"
    left, used = (f"oms-default-{ONE.instance_id}-{attempt}" for attempt in (1, 2))
    cloud.keypairs = {"laptop", left, used}
    cloud.servers = {"s-1": marked("s-1", marks=ONE._replace(attempt=2), signed_by="new")}
    (told,) = [what for where, what in said() if "key pairs" in what and where == "alpha/One"]
    assert told.startswith("key pairs of no server, named as before")
    assert f"(1): {left}; " in told


def test_a_clock_that_is_off_is_told_by_how_much(said, clouds):
    clouds["alpha/Two"].servers = {
        "s-1": marked("s-1", claim=Claim(ONE, "unverified", off_ms=2 * 3_600_000)),
        "s-2": marked("s-2", claim=Claim(ONE, "unverified")),
    }
    (told,) = [what for where, what in said() if "clock" in what and where == "alpha/Two"]
    assert told.startswith("marks signed up to 120 minutes before or after their servers were made")
    assert ": s-1; that cloud's clock is off by so much" in told


def test_a_file_of_keys_that_is_no_good_is_to_mend_and_never_shown(said, tmp_path):
    (tmp_path / "marks.keys").write_text("k1:SECRET")
    found = said()
    assert ("marks", "the keys are no good") in found
    assert "k1:SECRET" not in str(found)
