"""The shelf: texts that processes leave for one another, and whose turn it is."""

import time
from typing import Any

from openmultistack.ledger import Ledger


def test_what_was_left_is_recalled_by_another_process(redis: Any) -> None:
    Ledger(redis, "f", lease_ms=1000).leave("a/b:c", "text", for_ms=60_000)
    found = Ledger(redis, "f", lease_ms=1000).recall("a/b:c")
    assert found
    text, left_ms = found
    assert text == "text"
    assert 59_000 < left_ms <= 60_000


def test_fleets_have_shelves_of_their_own(redis: Any) -> None:
    Ledger(redis, "f", lease_ms=1000).leave("a", "text", for_ms=60_000)
    assert Ledger(redis, "g", lease_ms=1000).recall("a") is None


def test_it_stays_for_a_while_only(redis: Any) -> None:
    ledger = Ledger(redis, "f", lease_ms=1000)
    ledger.leave("a", "text", for_ms=30)
    time.sleep(0.05)
    assert ledger.recall("a") is None


def test_a_turn_is_one_alones_until_it_is_over(redis: Any) -> None:
    ledgers = [Ledger(redis, "f", lease_ms=1000) for _ in range(3)]
    assert [it.turn("renew", for_ms=60) for it in ledgers] == [True, False, False]
    assert ledgers[1].turn("another", for_ms=60)
    time.sleep(0.08)
    assert ledgers[2].turn("renew", for_ms=60)
