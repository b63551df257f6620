"""Waiting prompts, and the order in which their messages are acknowledged."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from edgespike.agent.deliveries import Deliveries
from edgespike.agent.inbox import STEP_S, Inbox, Job
from edgespike.agent.journal import Key
from edgespike.messages import PromptRequest


def job(id: str, priority: int = 4, start_by: float = 100.0) -> Job:
    request = PromptRequest(id=id, prompt="?", priority=priority)
    return Job(request, Key(id, "r"), b"", None, 0.0, start_by, start_by)


def drain(inbox: Inbox) -> list[str]:
    taken = []
    while (one := inbox.take(0.0)) is not None:
        taken.append(one.request.id)
    return taken


@given(st.lists(st.integers(0, 9), max_size=20))
def test_priority_first_then_arrival(priorities: list[int]) -> None:
    inbox = Inbox(20, clock=lambda: 0.0)
    jobs = [job(str(number), priority) for number, priority in enumerate(priorities)]
    for one in jobs:
        before = inbox.ahead(one)
        inbox.put(one)
        assert before == sum(p >= one.request.priority for p in priorities[: int(one.request.id)])
    expected = sorted(jobs, key=lambda j: -j.request.priority)
    assert drain(inbox) == [j.request.id for j in expected]


def test_a_low_priority_waits_longer_but_not_for_ever() -> None:
    inbox = Inbox(9, clock=lambda: 0.0)
    low, soon, late = job("low", 0), job("soon", 9), job("late", 9)
    soon.arrived, late.arrived = 9 * STEP_S - 1, 9 * STEP_S + 1
    for one in (late, low, soon):
        inbox.put(one)
    assert drain(inbox) == ["soon", "low", "late"]


def test_a_suspect_waits_for_the_others_and_none_overtakes_it() -> None:
    inbox = Inbox(9, clock=lambda: 0.0)
    suspect, other = job("suspect"), job("other")
    suspect.alone = True
    inbox.put(suspect)
    inbox.put(other)
    assert inbox.take(0.0, [job("running")]) is None
    assert inbox.take(0.0) is suspect
    assert inbox.take(0.0, [suspect]) is None
    assert inbox.take(0.0) is other


def test_of_one_dialogue_one_job_is_answered_at_a_time() -> None:
    inbox = Inbox(9, clock=lambda: 0.0)
    first, second, other = job("first"), job("second"), job("other")
    first.dialogue = second.dialogue = "d"
    inbox.put(second)
    inbox.put(other)
    assert inbox.take(0.0, [first]) is other
    assert inbox.take(0.0, [first]) is None
    assert inbox.take(0.0) is second


def test_it_is_full_at_its_bound() -> None:
    inbox = Inbox(2, clock=lambda: 0.0)
    inbox.put(job("a"))
    assert not inbox.full
    inbox.put(job("b"))
    assert inbox.full


def test_late_jobs_are_reported_and_never_handed_out() -> None:
    now = 0.0
    inbox = Inbox(9, clock=lambda: now)
    for one in (job("early", start_by=5.0), job("late", start_by=50.0)):
        inbox.put(one)
    now = 5.0
    assert drain(inbox) == ["late"]
    assert [j.request.id for j in inbox.expire()] == ["early"]
    assert len(inbox) == 0


def test_cancel_takes_out_every_job_with_the_id() -> None:
    inbox = Inbox(9, clock=lambda: 0.0)
    for one in (job("a"), job("b"), job("a")):
        inbox.put(one)
    assert [j.request.id for j in inbox.cancel("a")] == ["a", "a"]
    assert drain(inbox) == ["b"]


def test_a_paused_inbox_keeps_its_jobs() -> None:
    inbox = Inbox(9, clock=lambda: 0.0)
    inbox.put(job("a"))
    inbox.pause(True)
    assert inbox.take(0.0) is None
    inbox.pause(False)
    assert drain(inbox) == ["a"]


def test_waiting_ends_with_a_job_and_with_the_close() -> None:
    inbox = Inbox(9)
    taken: list[Job | None] = []
    thread = threading.Thread(target=lambda: taken.extend((inbox.take(60.0), inbox.take(60.0))))
    thread.start()
    one = job("a", start_by=float("inf"))
    inbox.put(one)
    inbox.close()
    thread.join(30)
    assert taken in ([one, None], [None, None])
    assert inbox.take(60.0) is None


@given(st.permutations(range(6)))
def test_acknowledgements_keep_the_order_of_arrival(finished: list[int]) -> None:
    """MQTT 5, 4.6, in whatever order the prompts finish."""
    deliveries = Deliveries()
    arrived = [deliveries.arrive(packet, False, b"f")[0] for packet in range(1, 7)]
    sent: list[int] = []
    for number in finished:
        sent += deliveries.settle(arrived[number])
        assert all(arrived[packet - 1].settled for packet in sent)
    assert sent == [1, 2, 3, 4, 5, 6]


def test_a_redelivery_is_the_delivery_that_was_open() -> None:
    deliveries = Deliveries()
    first, _ = deliveries.arrive(1, False, b"a")
    second, _ = deliveries.arrive(2, False, b"b")
    assert deliveries.settle(second) == []
    deliveries.reconnected(session_present=True)
    assert deliveries.arrive(1, True, b"a") == (first, True)
    assert deliveries.arrive(2, True, b"b") == (second, True)
    assert deliveries.settle(first) == [1, 2]


def test_a_new_message_with_an_old_packet_identifier_is_new() -> None:
    deliveries = Deliveries()
    first, _ = deliveries.arrive(1, False, b"a")
    deliveries.reconnected(session_present=False)
    again, known = deliveries.arrive(1, True, b"a")
    assert not known
    assert again is not first
    assert deliveries.settle(first) == []
    assert deliveries.settle(again) == [1]


def test_a_message_at_qos_0_is_never_acknowledged() -> None:
    deliveries = Deliveries()
    delivery, known = deliveries.arrive(0, False, b"a")
    assert not known
    assert deliveries.settle(delivery) == []
    assert len(deliveries) == 0
