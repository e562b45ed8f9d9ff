"""The checker of a soak: a good history passes, and each kind of violation is found."""

import pytest

from openmultistack.clouds import Marks
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.identity import Identity

FLEET, REGION = "soak", "p1/RegionOne"
NOW = 1_000_000.0
FAR = NOW + 5000


class Story:
    """A history as a test tells it; it begins good: one of two instances was destroyed."""

    def __init__(self, history) -> None:
        self.history = history
        self.servers = [self.server("i-1", "s-1")]
        self.past = [self.server("i-1", "s-1"), self.server("i-2", "s-2")]
        self.listed = {"ada": [self.shown("i-1", server_id="s-1")], "bob": []}
        self.regions = [{"region": REGION, "held": 1, "cap": 20}]
        self.fullest = [{"region": REGION, "held": 2, "cap": 20}]
        self.stats = {REGION: {"refused_quota": 0, "highest": 2}}
        self.operations = [
            self.did("create", 1, self.shown("i-1"), self.shown("i-2"), command="c", count=2),
            self.did("list", 5, self.shown("i-1"), self.shown("i-2")),
            self.did("destroy", 10, self.shown("i-2", status="DELETING"), target="i-2"),
            self.did("show", 20, self.shown("i-1"), target="i-1"),
            self.did("list", 25, self.shown("i-1")),
            self.did("others_get", 30, owner="bob", status=404, target="i-1"),
        ]

    def shown(self, instance_id, **more):
        usual = {"owner": "ada", "status": "ACTIVE", "server_id": None, "expires_at": FAR}
        return self.history.Shown(**{"id": instance_id, "labels": {"command": "c"}} | usual | more)

    def did(self, kind, at, *shown, **more):
        usual = {"owner": "ada", "status": 200, "ttl_s": 5000 if kind == "create" else 0}
        return self.history.Operation(
            **{"kind": kind, "began": NOW + at, "ended": NOW + at + 1, "shown": shown}
            | usual
            | more
        )

    def server(self, instance_id, server_id, command="c"):
        marks = Marks(FLEET, instance_id, 1, Identity("ada", "oms", {"command": command}, 0, 1))
        metadata = metadata_of(marks, Signing(KEYRING, FLEET, "p-1"))
        return {"id": server_id, "region": REGION, "metadata": metadata}

    def found(self, at=NOW + 100):
        end = self.history.End(
            at=at,
            fleet=FLEET,
            servers=self.servers,
            past=self.past,
            stats=self.stats,
            listed=self.listed,
            regions=self.regions,
            fullest=self.fullest,
        )
        return self.history.violations(self.operations, end)


@pytest.fixture
def story(history):
    return Story(history)


def kinds(found):
    return {it.partition(":")[0] for it in found}


def test_a_good_history_has_no_violations(story):
    assert story.found() == []


def test_a_create_that_the_cloud_refused_for_its_quota_is_found(story):
    story.stats[REGION]["refused_quota"] = 1
    assert kinds(story.found()) == {"over-limit"}


def test_more_slots_held_than_there_are_is_found_whenever_it_was(story):
    story.fullest[0]["held"] = 21
    assert kinds(story.found()) == {"over-limit"}


def test_slots_that_no_server_stands_for_are_found(story):
    story.regions[0]["held"] = 2
    assert kinds(story.found()) == {"slots"}


def test_a_command_that_was_told_of_more_instances_than_it_asked_for_is_found(story):
    story.operations.append(story.did("create", 40, story.shown("i-3"), command="c", count=2))
    assert "double" in kinds(story.found())


def test_a_key_that_gave_other_instances_is_found(story):
    first = story.did("create", 40, story.shown("i-8"), command="k", count=2, key="k")
    again = story.did("create", 41, story.shown("i-9"), command="k", count=2, key="k")
    story.operations += [first, again]
    assert any("the key of k" in it for it in story.found())


def test_a_server_more_than_an_answered_command_asked_for_is_found_after_it_is_gone(story):
    story.past.append(story.server("i-3", "s-3"))
    assert kinds(story.found()) == {"double"}


def test_servers_of_a_command_that_was_given_up_once_are_no_doubles(story):
    story.past.append(story.server("i-3", "s-3"))
    story.operations.insert(0, story.did("create", 0, command="c", count=2, status=503))
    assert story.found() == []


def test_two_servers_of_one_instance_are_found(story):
    story.servers.append(story.server("i-1", "s-7"))
    story.regions[0]["held"] = 2
    assert kinds(story.found()) == {"double"}


def test_a_server_of_an_instance_that_nobody_lists_is_found(story):
    story.servers.append(story.server("i-7", "s-7", command="other"))
    story.regions[0]["held"] = 2
    assert kinds(story.found()) == {"leak"}


def test_a_server_of_an_instance_that_only_waits_is_found(story):
    story.listed["ada"] = [story.shown("i-1", status="QUEUED")]
    assert kinds(story.found()) == {"leak"}


def test_an_accepted_instance_that_is_not_listed_is_found(story):
    story.servers, story.listed["ada"], story.regions[0]["held"] = [], [], 0
    assert kinds(story.found()) == {"lost"}


def test_an_instance_that_nobody_destroyed_and_is_leaving_is_found(story):
    story.listed["ada"] = [story.shown("i-1", status="DELETING", server_id="s-1")]
    assert "lost" in kinds(story.found())


def test_an_instance_without_its_server_is_found(story):
    story.servers, story.regions[0]["held"] = [], 0
    assert kinds(story.found()) == {"lost"}


@pytest.mark.parametrize("status", [0, 202, 503])
def test_an_instance_that_may_have_been_destroyed_need_not_be_there(story, status):
    story.operations.append(story.did("destroy", 40, target="i-1", status=status))
    story.servers, story.listed["ada"], story.regions[0]["held"] = [], [], 0
    assert story.found() == []


def test_an_instance_that_may_have_been_destroyed_by_its_label_need_not_be_there(story):
    story.operations.append(story.did("destroy_label", 40, target="command:c", status=0))
    story.servers, story.listed["ada"], story.regions[0]["held"] = [], [], 0
    assert story.found() == []


def test_an_instance_whose_renewal_was_not_answered_may_have_expired_by_it(story):
    story.operations.append(story.did("renew", 40, target="i-1", status=0, ttl_s=30))
    story.servers, story.listed["ada"], story.regions[0]["held"] = [], [], 0
    assert story.found() == []


def test_an_instance_that_was_destroyed_and_lives_is_found(story):
    story.listed["ada"].append(story.shown("i-2", server_id="s-2"))
    story.servers.append(story.server("i-2", "s-2"))
    story.regions[0]["held"] = 2
    assert kinds(story.found()) == {"lost"}


def test_an_instance_that_lives_beyond_its_time_is_found(story):
    assert kinds(story.found(at=FAR + 60)) == {"lost"}


def test_an_instance_that_waits_may_outlive_what_its_first_answer_said(story):
    waiting = story.shown("i-1", status="QUEUED")
    story.operations[0] = story.did("create", 1, waiting, story.shown("i-2"), command="c", count=2)
    assert story.found(at=FAR + 60) == []


@pytest.mark.parametrize("kind", ["show", "events"])
def test_a_moment_in_which_an_instance_was_not_found_is_found(story, kind):
    story.operations.append(story.did(kind, 40, target="i-1", status=404))
    assert kinds(story.found()) == {"lost"}


def test_a_list_that_was_without_an_instance_is_found(story):
    story.operations.append(story.did("list", 40))
    assert kinds(story.found()) == {"lost"}


def test_what_another_owner_is_shown_is_found(story):
    story.operations.append(story.did("show", 40, story.shown("i-1"), owner="bob"))
    assert kinds(story.found()) == {"isolation"}


@pytest.mark.parametrize("status", [200, 202, 403])
def test_an_answer_about_another_owners_instance_is_found(story, status):
    story.operations.append(story.did("others_delete", 40, owner="bob", status=status))
    assert "isolation" in kinds(story.found())


def test_a_list_that_shows_another_owners_instance_is_found(story):
    story.listed["bob"] = [story.shown("i-1", server_id="s-1")]
    assert kinds(story.found()) == {"isolation"}


def test_an_answer_that_no_client_asked_for_is_found(story):
    story.operations.append(story.did("renew", 40, target="i-1", status=500))
    assert kinds(story.found()) == {"unexpected"}
