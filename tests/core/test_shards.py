"""Maps in small parts: they are read and written like one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cqueue.core.jobs import Job
from cqueue.core.shards import Jobs, Shards


def job_of(job_id: int) -> Job:
    """Some job."""
    return Job(job_id, "mail", "QUEUED", "default", 500, b"", 1, 1, 5, 1_000)


@given(steps=st.lists(st.integers(1, 9_000), max_size=8), removed=st.sets(st.integers(0, 40_000), max_size=40))
def test_jobs_are_found_by_their_ids_over_all_blocks(steps: list[int], removed: set[int]) -> None:
    """Added by the batch, with gaps, and removed here and there."""
    jobs, plain = Jobs(), dict[int, Job]()
    first = 1
    for step in steps:
        batch = [job_of(job_id) for job_id in range(first, first + step)]
        jobs.append(first, batch)
        plain.update((job.id, job) for job in batch)
        first += 2 * step
    for job_id in removed & plain.keys():
        assert jobs.take([job_id])
        del plain[job_id]
    assert len(jobs) == len(plain)
    assert [job.id for job in jobs] == sorted(plain)
    for job_id, job in plain.items():
        assert jobs[job_id] is jobs.get(job_id) is job
    for job_id in removed:
        assert jobs.get(job_id) is None
    looked = list(jobs.ids(5_000, 20_000))
    assert looked == sorted(set(looked))
    assert {job_id for job_id in plain if 5_000 <= job_id < 20_000} <= set(looked) <= set(range(5_000, 20_000))


def test_ids_of_blocks_that_are_gone_are_left_out() -> None:
    """So that a list need not look through them."""
    jobs = Jobs()
    for job_id in (1, 4_096, 8_191, 100_000):
        jobs.append(job_id, [job_of(job_id)])
    jobs.take([4_096])
    jobs.take([8_191])
    assert list(jobs.ids(4_000, 8_300)) == list(range(4_000, 4_096))
    assert list(jobs.ids(5_000, 99_999)) == list(range(98_304, 99_999))
    assert list(jobs.ids(200_000, 300_000)) == []


def test_a_job_can_be_replaced_by_another_with_its_id() -> None:
    """In its place."""
    jobs = Jobs()
    jobs.append(1, [job_of(1), job_of(2)])
    another = job_of(1)
    jobs.put(another)
    assert jobs[1] is another
    assert [job.id for job in jobs] == [1, 2]


@given(st.dictionaries(st.text(max_size=3), st.integers()), st.lists(st.text(max_size=3)))
def test_values_are_found_by_their_text(plain: dict[str, int], others: list[str]) -> None:
    """And listed in its order."""
    shards = Shards[int]()
    for key, value in plain.items():
        shards.put(key, 0)
        shards.put(key, value)
    assert len(shards) == len(plain)
    assert shards.values() == [plain[key] for key in sorted(plain)]
    for key in (*plain, *others):
        assert shards.get(key) == plain.get(key)
    for key in plain:
        shards.remove(key)
    assert len(shards) == 0
