"""Who belongs to the cluster, who may vote, and when a new node is ready to: the rules, without messages."""

from __future__ import annotations

from typing import Any

import pytest

from cqueue.core.entry import UnreadableEntry
from cqueue.replication import membership
from cqueue.replication.membership import CatchUp, Configuration, Recovery

ME = "n1:1"
OTHERS = ("n2:1", "n3:1")


def given_answer(**fields: Any) -> dict[str, Any]:
    """What a member says to one that came back: a full member at term 5 with nothing but the members to tell."""
    told = {"recovering": False, "is_empty": False, "term": 5, "last_index": 100, "leads": False}
    return {"round": 1, "members": [ME, *OTHERS], **told, **fields}


def given_recovery(**answers: dict[str, Any]) -> Recovery:
    """One in its first round, with these answers."""
    recovery = Recovery()
    assert recovery.ask_again(10.0)
    for name, answer in answers.items():
        recovery.answered(f"{name}:1", answer)
    return recovery


def test_a_configuration_comes_back_as_it_was_kept() -> None:
    """Members with the life in which they were added, by id; nothing is nothing."""
    added = Configuration.of(1, ["n3:1", ME]).adding("n2:1", 77)
    assert membership.decode(membership.encode(added)) == added == Configuration(2, {ME: 0, "n2:1": 77, "n3:1": 0})
    assert list(added.members) == [ME, "n2:1", "n3:1"]
    assert membership.decode(membership.encode(None)) is None


@pytest.mark.parametrize("data", [b"\x80\x04", b"\x93\x01\x80\x80", b"\xc1", b"\x92\xa1a\x80"])
def test_a_configuration_of_another_format_is_refused(data: bytes) -> None:
    """A pickle, for one."""
    with pytest.raises(UnreadableEntry):
        membership.decode(data)


def test_a_change_adds_or_takes_one_member_and_grows_the_number() -> None:
    """The other members stay what they are."""
    before = Configuration(7, {ME: 0, "n2:1": 5})
    assert before.adding("n3:1", 6) == Configuration(8, {ME: 0, "n2:1": 5, "n3:1": 6})
    assert before.removing("n2:1") == Configuration(8, {ME: 0})
    assert before.others(ME) == ["n2:1"]


def test_a_cluster_of_which_everybody_is_empty_starts_fresh() -> None:
    """There is nothing to be lost, and one that has not said so may have something."""
    empty = given_answer(is_empty=True, recovering=True)
    assert given_recovery(n2=empty, n3=empty).is_over(ME, OTHERS, 0, 1)
    assert not given_recovery(n2=empty).is_over(ME, OTHERS, 0, 1)
    assert not given_recovery(n2=empty, n3=given_answer()).is_over(ME, OTHERS, 0, 1)


def test_a_node_is_whole_with_all_that_the_leader_had_and_a_majority_behind_it() -> None:
    """Not before it has the leader's log and term, nor with the leader's word alone."""
    leader = given_answer(leads=True)
    recovery = given_recovery(n2=leader, n3=given_answer(term=4))
    assert recovery.is_over(ME, OTHERS, 5, 100)
    assert not recovery.is_over(ME, OTHERS, 5, 99)
    assert not recovery.is_over(ME, OTHERS, 4, 100)
    assert not given_recovery(n2=leader).is_over(ME, OTHERS, 5, 100)
    assert not given_recovery(n2=leader, n3=given_answer(term=6)).is_over(ME, OTHERS, 5, 100)


def test_the_leaders_members_count_not_those_of_ones_own_flags() -> None:
    """A node whose --peers are old asks those the leader names; one that was removed is never whole."""
    members = [ME, "n4:1", "n5:1"]
    leader = given_answer(leads=True, members=members)
    assert given_recovery(n4=leader, n5=given_answer(members=members)).is_over(ME, OTHERS, 5, 100)
    assert not given_recovery(n4=leader, n2=given_answer()).is_over(ME, OTHERS, 5, 100)
    removed = given_answer(leads=True, members=["n2:1", "n3:1"])
    assert not given_recovery(n2=removed, n3=given_answer()).is_over(ME, OTHERS, 5, 100)


def test_of_two_members_the_other_one_is_enough() -> None:
    """Whatever was promised, it heard of it."""
    leader = given_answer(leads=True, members=[ME, "n2:1"])
    assert given_recovery(n2=leader).is_over(ME, ("n2:1",), 5, 100)


def test_an_answer_to_an_earlier_round_is_worth_nothing() -> None:
    """Its node may have lost its memory since."""
    recovery = given_recovery(n2=given_answer(leads=True))
    assert not recovery.ask_again(10.05)
    assert recovery.ask_again(10.2)
    recovery.answered("n3:1", given_answer(round=1))
    assert not recovery.is_over(ME, OTHERS, 5, 100)


def test_a_new_node_has_caught_up_after_a_round_that_was_short() -> None:
    """A round is what the leader had at its begin; a long one is followed by another."""
    catch_up = CatchUp(last_index=1_000, now_s=0.0, round_s_max=0.5)
    catch_up.on_answer(999, 0, 1_500, 0.1)
    assert not catch_up.is_over
    catch_up.on_answer(1_000, 0, 2_000, 3.0)
    assert not catch_up.is_over
    catch_up.on_answer(2_000, 0, 2_010, 3.4)
    assert catch_up.is_over
    assert (catch_up.index, catch_up.life) == (2_000, 0)


def test_a_new_node_that_begins_anew_has_to_catch_up_anew() -> None:
    """It lost on its way what it had got, as its life tells."""
    catch_up = CatchUp(last_index=10, now_s=0.0, round_s_max=0.5)
    catch_up.on_answer(10, 7, 10, 0.1)
    assert catch_up.is_over
    catch_up.on_answer(1, 8, 20, 0.2)
    assert (catch_up.is_over, catch_up.life) == (False, 8)
    catch_up.on_answer(20, 8, 20, 0.3)
    assert catch_up.is_over
