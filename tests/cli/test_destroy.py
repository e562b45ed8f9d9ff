"""`oms destroy`: whom it destroys, and that it asks first."""

import pytest


def destroyed(stub) -> set[str]:
    return {it["id"] for it in stub.instances.values() if it["status"] in ("DELETING", "DELETED")}


def test_by_id_nobody_is_asked(oms, stub):
    first, second, third = stub.add(3)
    done = oms("destroy", first, third, first)
    assert destroyed(stub) == {first, third}
    assert len(stub.paths("DELETE")) == 2
    assert "DELETING" in done.stdout
    assert second not in done.stdout


def test_one_unknown_id_does_not_save_the_others(oms, stub):
    first, second = stub.add(2)
    done = oms("destroy", first, "i-nobody", second, "--json", code=4)
    assert destroyed(stub) == {first, second}
    assert "nothing at /v1/instances/i-nobody" in done.stderr


def test_by_label_is_one_request(oms, stub):
    wanted = stub.add(2, labels={"run": "7", "x": "y"})
    stub.add(1, labels={"run": "8"})
    document = oms.json("destroy", "--label", "run=7", "--label", "x=y", "--yes")
    assert {it["id"] for it in document["instances"]} == set(wanted) == destroyed(stub)
    assert [(it.method, it.query) for it in stub.asked] == [
        ("DELETE", [("label", "run:7"), ("label", "x:y")])
    ]


def test_all_is_every_page(oms, stub):
    stub.page_max = 3
    ids = stub.add(20)
    document = oms.json("destroy", "--all", "--yes")
    assert {it["id"] for it in document["instances"]} == set(ids) == destroyed(stub)


def test_all_of_nothing_is_well(oms, stub):
    assert oms.json("destroy", "--all", "--yes") == {"instances": []}
    assert "no instances" in oms.terminal("destroy", "--all").text
    assert stub.paths("DELETE") == []


@pytest.mark.parametrize("which", [("--all",), ("--label", "run=7")])
def test_without_a_terminal_and_a_yes_it_refuses_before_it_asks_anything(oms, stub, which):
    stub.add(2, labels={"run": "7"})
    done = oms("destroy", *which, stdin="y\n", code=2)
    assert done.stderr == "oms: nobody to ask here: --yes destroys without asking\n"
    assert stub.asked == []


@pytest.mark.parametrize("which", [("--all",), ("--label", "run=7")])
def test_a_person_is_asked_and_may_agree(oms, stub, which):
    ids = stub.add(2, labels={"run": "7"})
    screen = oms.terminal("destroy", *which, send={"[y/N]": "y\n"})
    assert "Destroy 2 instances" in screen.text
    assert screen.code == 0
    assert destroyed(stub) == set(ids)


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04", "what\n"])
def test_anything_but_yes_destroys_nothing(oms, stub, answer):
    stub.add(2)
    screen = oms.terminal("destroy", "--all", send={"[y/N]": answer})
    assert screen.code == 1
    assert "nothing was destroyed" in screen.text
    assert stub.paths("DELETE") == []


def test_only_those_agreed_to_are_destroyed(oms, stub):
    agreed = stub.add(2, labels={"run": "7"})
    page = {"instances": [stub.instances[it] for it in agreed], "next": None}
    stub.add(1, labels={"run": "7"})
    stub.instead["GET", "/v1/instances"] = [(200, page, {})]
    oms.terminal("destroy", "--label", "run=7", send={"[y/N]": "y\n"})
    assert destroyed(stub) == set(agreed)


def test_one_that_vanished_since_the_list_is_no_error(oms, stub, refuse):
    first, second = stub.add(2)
    gone = refuse(404, "not-found", "there is no such instance")
    stub.instead["DELETE", f"/v1/instances/{first}"] = [gone]
    document = oms.json("destroy", "--all", "--yes")
    assert [it["id"] for it in document["instances"]] == [second]


@pytest.mark.parametrize(
    "arguments", [(), ("i-1", "--all"), ("--all", "--label", "a=b"), ("i-1", "--label", "a=b")]
)
def test_whom_is_said_in_one_way(oms, stub, arguments):
    assert "give ids, or --label, or --all" in oms("destroy", *arguments, "--yes", code=2).stderr
    assert stub.asked == []


def test_where_all_were_refused_nothing_is_listed(oms, stub, refuse):
    stub.instead["DELETE", "/v1/instances/i-1"] = [refuse(404, "not-found", "there is none")]
    done = oms("destroy", "i-1", code=4)
    assert (done.stdout, done.stderr) == ("", "oms: there is none\n")


def test_waiting_ends_when_they_are_gone(oms, stub):
    ids = stub.add(6)
    stub.death = ["DELETING", "DELETING", "DELETED"]
    done = oms("destroy", *ids, "--wait")
    assert done.stdout.count("DELETED") == 6
    assert done.stderr.splitlines()[-1] == "6/6 gone"


def test_forgotten_is_gone(oms, stub, refuse):
    (instance_id,) = stub.add(1)
    gone = refuse(404, "not-found", "there is no such instance")
    stub.instead["GET", f"/v1/instances/{instance_id}"] = [gone]
    document = oms.json("destroy", instance_id, "--wait")
    assert document["instances"][0]["status"] == "DELETED"


def test_waiting_for_the_end_is_bounded(oms, stub):
    (instance_id,) = stub.add(1)
    stub.death = ["DELETING"]
    done = oms("destroy", instance_id, "--wait", "--timeout", "1", code=1)
    assert "1 not gone after 1s" in done.stderr
