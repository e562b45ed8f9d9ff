"""`oms list`, `show`, `renew`, `regions` and `reap`: what they ask and what they show."""

import re
from datetime import UTC, datetime, timedelta

import pytest


def region(name: str, *, state: str = "up", held: int = 0, foreign: int = 0, **more):
    free = 20 - held - foreign
    counts = {"cap": 20, "held": held, "foreign": foreign, "free": free}
    vcpus = {"cap": 40, "held": 0, "foreign": 0, "free": 40}
    return {
        "region": name, "provider": name.partition("/")[0], "state": state, **counts,
        "resources": {"instances": counts, "vcpus": vcpus, "ram_mb": vcpus},
        "building": 0, "max_building": None, "drained": None, "resting_s": 0,
        "last_error": None, "last_error_at": None, "swept_at": None, "strangers": {},
    } | more  # fmt: skip


def test_list_goes_over_all_pages(oms, stub):
    stub.page_max = 2
    ids = stub.add(5)
    done = oms("list")
    assert [it.split()[0] for it in done.stdout.splitlines()] == ["ID", *reversed(ids)]
    assert done.stderr == ""


def test_list_as_json_is_the_apis_document_of_all_pages(oms, stub):
    stub.page_max = 2
    ids = stub.add(5)
    document = oms.json("list")
    assert [it["id"] for it in document["instances"]] == ids[::-1]
    assert document["next"] is None
    assert len(stub.asked) == 3


def test_a_limit_holds_over_short_pages_and_says_where_to_go_on(oms, stub):
    stub.page_max = 2
    ids = stub.add(5)[::-1]
    document = oms.json("list", "--limit", "3")
    assert [it["id"] for it in document["instances"]] == ids[:3]
    rest = oms.json("list", "--cursor", document["next"])
    assert [it["id"] for it in rest["instances"]] == ids[3:]
    assert f"--cursor {document['next']}" in oms("list", "--limit", "3").stderr


def test_a_single_page_can_be_asked_for(oms, stub):
    stub.page_max = 2
    stub.add(5)
    document = oms.json("list", "--no-all-pages")
    assert len(document["instances"]) == 2
    assert document["next"] == "c2"
    assert len(stub.asked) == 1


def test_filters_reach_the_server(oms, stub):
    oms("list", "--status", "active", "--region", "alpha/RegionOne",
        "--label", "run=7", "--label", "who=me:too")  # fmt: skip
    assert stub.asked[0].query == [
        ("label", "run:7"), ("label", "who:me:too"), ("status", "ACTIVE"),
        ("region", "alpha/RegionOne"), ("limit", "1000"),
    ]  # fmt: skip


def test_a_list_without_an_end_ends(oms, stub):
    page = (200, {"instances": [], "next": "again"}, {})
    stub.instead["GET", "/v1/instances"] = [page]
    assert "has no end" in oms("list", code=1).stderr


def test_nothing_is_said_to_be_nothing(oms):
    assert oms("list").stdout.strip() == "no instances"


def test_a_list_through_a_pipe_is_never_folded_or_cut(oms, stub):
    stub.add(1, labels={f"label-{number}": "x" * 60 for number in range(8)})
    head, line = oms("list").stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "REGION", "ADDRESS", "EXPIRES", "LABELS"]
    assert line.count("x" * 60) == 8


@pytest.mark.parametrize("columns", [80, 120])
def test_a_list_stays_within_the_terminal_with_every_id_whole(oms, stub, columns):
    ids = stub.add(3, labels={"run": "a-long-value-of-a-label", "stage": "y" * 50})
    screen = oms.terminal("list", columns=columns)
    lines = screen.text.splitlines()
    assert max(map(len, lines)) <= columns
    assert [it.split()[0] for it in lines[1:4]] == ids[::-1]
    assert len(lines) == 5


def test_a_note_is_shown_in_full_and_cut_in_a_list_that_has_no_room(oms, stub):
    note = "für Zoë: " + "not to be touched, " * 12 + "!"
    stub.add(1, note=note)
    head, line = oms("list").stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "REGION", "ADDRESS", "EXPIRES", "NOTE"]
    assert note in line
    (instance_id,) = stub.instances
    assert note in oms("show", instance_id).stdout
    lines = oms.terminal("list", columns=120).text.splitlines()
    assert max(map(len, lines)) <= 120
    assert "für Zoë: not" in lines[1]


def test_a_gateway_of_before_tells_of_no_note(oms, stub):
    (instance_id,) = stub.add(1)
    del stub.instances[instance_id]["note"]
    assert oms("list").stdout.split()[:6] == [
        "ID", "STATUS", "REGION", "ADDRESS", "EXPIRES", instance_id
    ]  # fmt: skip
    assert instance_id in oms("show", instance_id).stdout


def test_what_a_server_says_neither_steers_the_terminal_nor_is_markup(oms, stub):
    evil = "\x1b[2J\x1b]0;owned\x07 [red]x[/blue] :smile:"
    stub.error = evil
    (instance_id,) = stub.add(1, "ERROR", name="fd00::a:1")
    raw = oms.terminal("show", instance_id, columns=120).raw
    assert "\x1b[2J" not in raw
    assert "\x1b]0" not in raw
    assert "[red]x[/blue] :smile:" in raw


def test_show_tells_the_story(oms, stub):
    (instance_id,) = stub.add(1, labels={"run": "7"})
    shown = oms("show", instance_id).stdout
    region = stub.instances[instance_id]["region"]
    for part in (instance_id, "ACTIVE", region, "m1.small", "10.0.0.", "run=7", "freest of 3"):
        assert part in shown


def test_show_tells_how_one_waits(oms, stub):
    (instance_id,) = stub.add(1, "QUEUED", size={"vcpus": 2, "ram_mb": 2048, "disk_gb": 0})
    lines = [it.strip().split(None, 1) for it in oms("show", instance_id).stdout.splitlines()]
    shown = {it[0]: it[1] for it in lines if len(it) == 2}
    assert (shown["status"], shown["region"]) == ("QUEUED", "-")
    assert shown["queue"] == "place 3 of 5, no region that can serve it has a free slot"
    assert shown["size"] == "vcpus=2,ram_mb=2048,disk_gb=0"
    assert shown["waits"].startswith("until  2")
    assert oms.json("show", instance_id)["queue"]["place"] == 2


def test_those_that_wait_are_in_the_list_without_a_region(oms, stub):
    (instance_id,) = stub.add(1, "QUEUED")
    line = oms("list").stdout.splitlines()[1]
    assert line.split()[:4] == [instance_id, "QUEUED", "-", "-"]
    assert oms.json("list", "--status", "queued")["instances"][0]["region"] is None


def test_how_long_one_may_wait_is_not_shown_as_its_expiry(oms, stub):
    stub.add(1)
    stub.add(1, "QUEUED")
    head, *lines = oms("list").stdout.splitlines()
    expires, waits = head.index("EXPIRES"), head.index("MAY WAIT")
    shown = {it.split()[1]: (it[expires:waits].strip(), it[waits:].strip()) for it in lines}
    assert shown["QUEUED"][0] == shown["ACTIVE"][1] == "-"
    assert shown["QUEUED"][1].startswith("59m ")
    assert shown["ACTIVE"][0].startswith("59m ")


def test_a_list_of_those_that_wait_stays_within_the_terminal(oms, stub):
    ids = stub.add(2, "QUEUED", labels={"run": "a-long-value-of-a-label"})
    lines = oms.terminal("list", columns=60).text.splitlines()
    assert max(map(len, lines)) <= 60
    assert [it.split()[0] for it in lines[1:3]] == ids[::-1]


def test_show_as_json_is_the_instance_or_its_events(oms, stub):
    (instance_id,) = stub.add(1)
    assert oms.json("show", instance_id) == stub.instances[instance_id]
    events = oms.json("show", instance_id, "--events")["events"]
    assert [it["what"] for it in events] == ["placed", "active"]


def test_an_unknown_instance_has_an_exit_code_of_its_own(oms):
    done = oms("show", "i-nobody", code=4)
    assert done.stderr == "oms: there is nothing at /v1/instances/i-nobody\n"


@pytest.mark.parametrize("instance_id", ["..", "", "?label=a:b", "x/../../regions", "i-1#"])
def test_what_is_no_id_becomes_no_other_request(oms, stub, instance_id):
    assert "is no instance id" in oms("destroy", "--", instance_id, code=2).stderr
    assert stub.asked == []


def test_show_and_renew_want_an_id_too(oms, stub):
    assert "is no instance id" in oms("show", "../regions", code=2).stderr
    assert "is no instance id" in oms("renew", "../regions", "--ttl", "1h", code=2).stderr
    assert stub.asked == []


def test_renew_moves_the_expiry(oms, stub):
    (instance_id,) = stub.add(1)
    assert "2h" in oms("renew", instance_id, "--ttl", "2h1m").stdout
    assert stub.asked[0].method == "PATCH"
    assert stub.asked[0].body == {"ttl": 7260}
    assert oms.json("renew", instance_id, "--ttl", "60") == stub.instances[instance_id]


def test_regions_show_a_bar_of_what_is_held_foreign_and_free(oms, stub):
    stub.regions = [region("alpha/RegionOne", held=10, foreign=5), region("beta/RegionOne")]
    head, first, second, total, *_ = oms("regions").stdout.splitlines()
    assert head.split() == ["REGION", "STATE", "HELD", "FOREIGN", "FREE", "CAP"]
    assert first.split() == [
        "alpha/RegionOne", "up", "█" * 20 + "▓" * 10 + "░" * 10, "10", "5", "5", "20",
    ]  # fmt: skip
    assert second.split()[2] == "░" * 40
    assert total.split() == ["all", "10", "5", "25", "40"]


def test_a_single_held_slot_of_many_can_be_seen(oms, stub):
    stub.regions = [region("alpha/RegionOne", cap=1000, held=1, foreign=1, free=998)]
    drawn = oms("regions").stdout.splitlines()[1].split()[2]
    assert drawn == "█▓" + "░" * 38


@pytest.mark.parametrize(
    "more",
    [
        {"cap": 0, "free": 0},
        {"cap": 10**9, "free": 10**9 - 3},
        {"held": 30, "free": 0},
        {"free": 0},
    ],
)
def test_odd_regions_have_a_bar_too(oms, stub, more):
    stub.regions = [region("alpha/RegionOne", **({"held": 3} | more))]
    screen = oms.terminal("regions", columns=80)
    assert screen.code == 0
    assert max(map(len, screen.text.splitlines())) <= 80


def test_regions_fit_80_columns_with_state_and_last_error(oms, stub):
    stub.regions = [
        region("alpha/RegionOne", held=19, foreign=1),
        region("alpha/RegionTwo", state="unknown"),
        region(
            "beta/RegionOne", state="down", held=3,
            last_error="connection refused", last_error_at="2026-01-01T00:00:00Z",
        ),
    ]  # fmt: skip
    screen = oms.terminal("regions", columns=80)
    assert max(map(len, screen.text.splitlines())) <= 80
    assert "\x1b[31mdown" in screen.raw
    assert "beta/RegionOne: is down (" in screen.text
    assert "connection refused" in screen.text


def test_regions_tell_who_rests_is_drained_or_builds_within_100_columns(oms, stub):
    stub.regions = [
        region("alpha/RegionOne", held=12, foreign=2, building=4, max_building=4),
        region("alpha/RegionTwo", held=3, building=1),
        region("beta/RegionOne", state="resting", resting_s=47, last_error="read timeout"),
        region("gamma/RegionOne", state="drained", drained="repairs until Monday"),
    ]
    for columns in (80, 160):
        screen = oms.terminal("regions", columns=columns)
        head, one, two, resting, drained, total, _, *remarks = screen.text.splitlines()
        assert max(map(len, screen.text.splitlines())) <= min(columns, 100)
        assert head.split()[-1] == "BUILDING"
        assert (one.split()[-3:], two.split()[-1]) == (["4", "of", "4"], "1")
        assert total.split() == ["all", "15", "2", "63", "80", "5"]
        assert resting.split()[1:4] == ["resting", "47", "s"]
        assert drained.split()[1] == "drained"
        assert remarks == [
            "beta/RegionOne: is resting: read timeout",
            "gamma/RegionOne: drained: repairs until Monday",
        ]
    assert "\x1b[33mresting 47 s" in screen.raw


@pytest.mark.parametrize("columns", [80, 120])
def test_regions_that_build_nothing_have_no_column_for_it(oms, stub, columns):
    stub.regions = [region("alpha/RegionOne", max_building=4)]
    assert "BUILDING" not in oms.terminal("regions", columns=columns).text


def test_drain_and_open_send_patterns_and_show_the_regions(oms, stub):
    stub.regions = [region("alpha/RegionOne"), region("alpha/RegionTwo"), region("beta/RegionOne")]
    shown = oms("drain", "alpha/*", "beta/RegionOne", "--why", "repairs").stdout
    assert shown.count("drained: repairs") == 3
    assert "drained by its operator" in oms("drain", "alpha/RegionOne").stdout
    assert [it["state"] for it in oms.json("open", "alpha/*")["regions"]] == ["up", "up"]
    assert oms.json("drain", "beta/*")["regions"] == [stub.regions[2]]
    assert [(it.path, it.body) for it in stub.asked] == [
        ("/v1/regions/drain", {"regions": ["alpha/*", "beta/RegionOne"], "why": "repairs"}),
        ("/v1/regions/drain", {"regions": ["alpha/RegionOne"]}),
        ("/v1/regions/open", {"regions": ["alpha/*"]}),
        ("/v1/regions/drain", {"regions": ["beta/*"]}),
    ]


@pytest.mark.parametrize("act", ["drain", "open"])
def test_an_unknown_region_is_told_with_near_ones_and_none_is_no_region(oms, stub, act):
    stub.regions = [region("alpha/RegionOne")]
    assert oms(act, "alhpa/*", code=2).stderr.splitlines() == [
        "oms: regions: 'alhpa/*' matches no region of the fleet",
        "  did you mean: alpha/RegionOne",
    ]
    assert f"name the regions to {act}" in oms(act, code=2).stderr
    assert len(stub.asked) == 1


def test_another_resource_that_is_used_up_is_said(oms, stub):
    used = {"instances": {"free": 5}, "vcpus": {"cap": 8, "free": 0}, "ram_mb": {"free": 1}}
    stub.regions = [region("alpha/RegionOne", resources=used)]
    assert "alpha/RegionOne: all used up: vcpus (8)" in oms("regions").stdout


def test_no_color_and_pipes_have_no_colours(oms, stub):
    stub.regions = [region("alpha/RegionOne", held=3)]
    coloured = oms.terminal("regions").raw
    assert "\x1b[32m" in coloured
    assert "\x1b[32m" not in oms.terminal("regions", NO_COLOR="1").raw


def test_a_terminal_without_unicode_gets_plain_bars(oms, stub):
    stub.regions = [region("alpha/RegionOne", held=10, foreign=5)]
    line = oms("regions", PYTHONIOENCODING="ascii").stdout.splitlines()[1]
    assert line.split()[2] == "#" * 20 + "x" * 10 + "." * 10


def test_regions_as_json_are_the_apis_document(oms, stub):
    stub.regions = [region("alpha/RegionOne", held=3)]
    assert oms.json("regions") == {"regions": stub.regions}


def swept(name: str, outcome: str = "swept", error: str | None = None, **actions: int):
    return {
        "region": name, "outcome": outcome, "error": error, "actions": actions, "duration_ms": 123,
    }  # fmt: skip


def test_reap_tells_what_each_sweep_did(oms, stub):
    stub.reaped = {
        "regions": [
            swept("alpha/RegionOne", activated=2, deleted=1, adopted=0),
            swept("alpha/RegionTwo", "busy"),
        ]
    }
    _, first, second = oms("reap").stdout.splitlines()
    assert first.split(None, 4) == [
        "alpha/RegionOne", "swept", "0.1", "s", "2 became ACTIVE, 1 deleted",
    ]  # fmt: skip
    assert "nothing to do" in second
    assert oms.json("reap") == stub.reaped


def test_reap_fails_when_a_sweep_failed(oms, stub):
    stub.reaped = {"regions": [swept("beta/RegionOne", "failed", "connection refused")]}
    assert "connection refused" in oms("reap", code=1).stdout
    assert oms.json("reap", code=1) == stub.reaped


def test_a_reader_that_has_seen_enough_is_no_error(oms, stub):
    import subprocess  # noqa: PLC0415  a shell's pipe, only here

    stub.page_max = 1000
    stub.add(900)
    command = f"{' '.join(oms.command)} list --json | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], env=oms.environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_what_is_out_of_reach_says_so_in_its_line(oms, stub):
    (one, other) = stub.add(2)
    stub.unreachable = {one}
    lines = {it.split()[0]: it for it in oms("list").stdout.splitlines()}
    assert "ACTIVE (unreachable)" in lines[one]
    assert "unreachable" not in lines[other]


def test_a_removed_region_says_what_can_be_done(oms, stub):
    why = "unreachable: provider removed"
    stub.regions = [region("beta/One", state="removed", held=2, free=0, last_error=why)]
    (remark,) = [it for it in oms("regions").stdout.splitlines() if it.startswith("beta/One:")]
    assert remark == (
        "beta/One: is out of reach: its provider was taken out of clouds.yaml: put it back, under"
        " any name, or `oms regions forget beta/One --yes`"
    )


# ---------------------------------------------------------------- servers that nothing proves


def test_regions_tells_of_servers_that_say_they_are_ours(oms, stub):
    stub.regions = [region("beta/One", foreign=3, strangers={"unverified": 1, "copy": 2})]
    (remark,) = [it for it in oms("regions").stdout.splitlines() if it.startswith("beta/One:")]
    assert remark == (
        "beta/One: foreign, and say they are ours: 2 copy, 1 unverified; see `oms doctor`"
    )


@pytest.mark.parametrize(
    ("ages_s", "said"),
    [((360, 400), True), ((20, 400), False), ((), False)],
    ids=["all long ago", "one of late", "never"],
)
def test_a_schedule_that_does_not_come_is_noticed(oms, stub, ages_s, said):
    now = datetime.now(UTC)
    stub.regions = [
        region(f"alpha/{n}", swept_at=(now - timedelta(seconds=it)).isoformat())
        for n, it in enumerate(ages_s)
    ] or [region("alpha/0")]
    out = oms("regions").stdout
    found = re.search(r"the last sweep was 6m.* ago: does the schedule of `reap` come\?", out)
    assert bool(found) is said


def test_adopt_names_regions_and_needs_to_be_meant(oms, stub):
    assert "--unverified" in oms("adopt", "alpha/*", code=2).stderr
    assert "name the regions" in oms("adopt", "--unverified", code=2).stderr
    assert stub.asked == []


@pytest.mark.parametrize(("outcome", "code"), [("swept", 0), ("busy", 1), ("failed", 1)])
def test_adopt_asks_for_it_and_shows_what_came_of_it(oms, stub, outcome, code):
    document = {"regions": [swept("alpha/RegionOne", outcome, adopted=2)]}
    stub.instead["POST", "/v1/regions/adopt"] = [(200, document, {})] * 2
    assert "2 adopted" in oms("adopt", "alpha/*", "--unverified", code=code).stdout
    assert oms.json("adopt", "alpha/*", "--unverified", code=code) == document
    assert [it.body for it in stub.asked] == [{"regions": ["alpha/*"]}] * 2


def test_a_copy_is_ended_by_its_servers_id_alone(oms, stub):
    ended = {"server": "s-1", "region": "alpha/RegionOne", "instance": "i-1"}
    stub.instead["POST", "/v1/copies/destroy"] = [(200, {"copies": [ended]}, {})] * 2
    shown = oms("destroy", "--copy", "s-1").stdout
    assert shown == "s-1 in alpha/RegionOne goes; it was a copy of i-1's server\n"
    assert oms.json("destroy", "--copy", "s-1") == {"copies": [ended]}
    assert [it.body for it in stub.asked] == [{"servers": ["s-1"]}] * 2
    assert "alone" in oms("destroy", "--copy", "s-1", "i-1", code=2).stderr
