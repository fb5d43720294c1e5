"""A model of the pool's protocol, explored in every interleaving.

The real thing is LLVM IR (`inkle/runtime/cpu/pool_ir.py`), where a wrong order shows once a week.
Here each access to a shared word is one step of a thread; all orders of steps of a caller and its
workers are tried. Threads that spin are modelled as going to sleep at once, the harder case. The
memory order of the machine is not modelled: the model is sequentially consistent.

To know that the model can fail, known mistakes are planted, one at a time, and must be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

STOP = -1


class Thread(NamedTuple):
    at: str
    is_caller: bool = False
    number: int = 0  # of the job, for the caller
    r: int = 0  # what it read of REMAINING
    job: int = -1  # what it read of the job
    done: int = 0  # chunks run and not reported
    zero: bool = False  # its report was the last


class State(NamedTuple):
    """The shared words, the threads, and what has happened: (job, chunk) pairs, sorted."""

    threads: tuple[Thread, ...]
    remaining: int = 0
    job: int = -1
    chunks: int = 0
    unfinished: int = 0
    caller_sleeps: bool = False
    ran: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Model:
    """The jobs (chunks of each), and a planted mistake."""

    jobs: tuple[int, ...]
    mistake: str = ""

    def start(self, workers: int) -> State:
        return State((Thread("publish", is_caller=True), *[Thread("look")] * workers))

    def step(self, s: State, i: int) -> State | None:
        """Return the state after one step of thread i; None if it sleeps or has ended."""
        t = s.threads[i]
        if t.at.startswith(("asleep", "end")):
            return None
        change, thread = getattr(self, "_" + t.at)(s, t)
        s = s._replace(**change)
        caller, *workers = [*s.threads[:i], thread, *s.threads[i + 1 :]]
        # Workers are alike: one order of them stands for all.
        return s._replace(threads=(caller, *sorted(workers)))

    # The caller.

    def _publish(self, s: State, t: Thread):
        if t.number == len(self.jobs):
            return {}, t._replace(at="stop")
        size = self.jobs[t.number]
        if self.mistake == "open before ready":
            change = {"remaining": size}
        else:
            change = {"job": t.number, "chunks": size, "unfinished": size}
        return change, t._replace(at="open")

    def _open(self, s: State, t: Thread):
        size = self.jobs[t.number]
        change = {"remaining": size, "threads": _wake(s, "asleep until open")}
        if self.mistake == "open before ready":
            change |= {"remaining": s.remaining, "job": t.number, "chunks": size}
            change |= {"unfinished": size}
        return change, t._replace(at="look")

    def _linger(self, s: State, t: Thread):
        if self.mistake == "caller leaves early" or not s.unfinished:
            return {}, t._replace(at="publish", number=t.number + 1)
        return {}, t._replace(at="tired")

    def _tired(self, s: State, t: Thread):
        return {"caller_sleeps": True}, t._replace(at="nap")

    def _nap(self, s: State, t: Thread):
        if s.unfinished:
            return {}, t._replace(at="asleep until done")
        return {"caller_sleeps": False}, t._replace(at="linger")

    def _stop(self, s: State, t: Thread):
        change = {"remaining": STOP, "threads": _wake(s, "asleep until open")}
        return change, t._replace(at="end")

    # Everybody.

    def _look(self, s: State, t: Thread):
        if s.remaining > 0:
            early = s.job if self.mistake == "job read before its chunk is taken" else -1
            return {}, t._replace(at="take", r=s.remaining, job=early)
        if t.done or t.is_caller:
            return {}, t._replace(at="check" if self.mistake == "report after look" else "report")
        return {}, t._replace(at="end" if s.remaining == STOP else "sleep")

    def _sleep(self, s: State, t: Thread):
        if s.remaining == 0:
            return {}, t._replace(at="asleep until open")
        return {}, t._replace(at="look")

    def _take(self, s: State, t: Thread):
        if s.remaining != t.r:
            return {}, t._replace(at="look")
        return {"remaining": t.r - 1}, t._replace(at="read")

    def _read(self, s: State, t: Thread):
        if self.mistake == "job read before its chunk is taken":
            return {}, t._replace(at="run", r=self.jobs[t.job] - t.r)
        return {}, t._replace(at="run", job=s.job, r=s.chunks - t.r)

    def _run(self, s: State, t: Thread):
        ran = tuple(sorted([*s.ran, (t.job, t.r)]))
        return {"ran": ran}, t._replace(at="look", r=0, job=-1, done=t.done + 1)

    def _report(self, s: State, t: Thread):
        left = s.unfinished - t.done
        at = "linger" if t.is_caller else "wake"
        return {"unfinished": left}, t._replace(at=at, done=0, zero=left == 0)

    def _wake(self, s: State, t: Thread):
        change = {"threads": _wake(s, "asleep until done")} if t.zero and s.caller_sleeps else {}
        return change, t._replace(at="look", zero=False)

    def _check(self, s: State, t: Thread):
        """The mistake of looking for a sleeping caller before reporting."""
        if t.is_caller:
            return self._report(s, t)
        return {}, t._replace(at="late_report", zero=s.caller_sleeps)

    def _late_report(self, s: State, t: Thread):
        change = {"unfinished": s.unfinished - t.done}
        if t.zero:
            change["threads"] = _wake(s, "asleep until done")
        return change, t._replace(at="look", done=0, zero=False)


def _wake(s: State, where: str) -> tuple[Thread, ...]:
    at = {"asleep until open": "look", "asleep until done": "nap"}[where]
    return tuple(t._replace(at=at) if t.at == where else t for t in s.threads)


def last_states(model: Model, workers: int) -> Iterator[State]:
    """Yield every state in which no thread can take a step."""
    todo = [model.start(workers)]
    seen = set(todo)
    while todo:
        state = todo.pop()
        following = [model.step(state, i) for i in range(len(state.threads))]
        if not any(following):
            yield state
        for new in following:
            if new is not None and new not in seen:
                seen.add(new)
                todo.append(new)


def complaint(model: Model, workers: int) -> str | None:
    """Return what is wrong with the first bad end of the model; None if there is none."""
    right = tuple((job, chunk) for job, size in enumerate(model.jobs) for chunk in range(size))
    for state in last_states(model, workers):
        if any(thread.at != "end" for thread in state.threads):
            return "a thread sleeps for ever"
        if state.ran != right:
            return "chunks ran never, twice, or of the wrong job"
    return None


@pytest.mark.parametrize(
    ("jobs", "workers"), [((), 2), ((1,), 1), ((3,), 1), ((2, 2), 1), ((1, 2), 2)]
)
def test_every_interleaving_runs_every_chunk_once_and_ends(jobs: tuple[int, ...], workers: int):
    assert complaint(Model(jobs), workers) is None


@pytest.mark.slow
def test_every_interleaving_of_three_jobs_and_of_three_workers():
    assert complaint(Model((2, 3, 2)), 2) is None
    assert complaint(Model((2, 2)), 3) is None


@pytest.mark.parametrize(
    ("mistake", "consequence"),
    [
        ("open before ready", "sleeps for ever"),
        ("caller leaves early", "chunks ran never"),
        ("job read before its chunk is taken", "chunks ran never"),
        ("report after look", "sleeps for ever"),
    ],
)
def test_planted_mistake_is_found(mistake: str, consequence: str):
    assert consequence in str(complaint(Model((1, 2), mistake), 1))
