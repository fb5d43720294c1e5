"""The worker pool: every chunk runs once, whoever calls, whatever happens to the process."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from inkle import config
from inkle.errors import DeviceError, InkleError
from inkle.runtime.cpu import machine, pool_ir
from inkle.runtime.cpu.graph import Graph, Launch
from inkle.runtime.cpu.pool import Pool, default_pool
from tests.runtime.kernels import BUSY, COUNT, NESTED, RENDEZVOUS, ROOT, address, run_python, words

MakePool = Callable[[int], Pool]
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def parfor(pool: Pool, function: int, args: ctypes.Array[ctypes.c_int64], chunks: int) -> None:
    pool.start()
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(pool.parfor)
    run(pool.address, function, ctypes.addressof(args), chunks)


def count_chunks(pool: Pool, chunks: int, times: int = 1) -> list[int]:
    """Run a job of `chunks` that many `times`; return how often each chunk ran."""
    counts = words(max(chunks, 1))
    args = words(1)
    args[0] = ctypes.addressof(counts)
    for _ in range(times):
        parfor(pool, address(COUNT), args, chunks)
    return list(counts)


def busy_job(chunks: int, steps: int) -> tuple[int, ctypes.Array[ctypes.c_int64], ctypes.Array]:
    counts, args = words(chunks), words(2)
    args[0], args[1] = ctypes.addressof(counts), steps
    return address(BUSY), args, counts


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("chunks", [1, 2, 3, 7, 1000])
def test_every_chunk_runs_exactly_once(make_pool: MakePool, threads: int, chunks: int):
    assert count_chunks(make_pool(threads), chunks, times=20) == [20] * chunks


def test_no_chunk_runs_nothing(make_pool: MakePool):
    assert count_chunks(make_pool(2), 0) == [0]


def test_chunks_run_on_several_threads_at_once(make_pool: MakePool):
    """Each of three chunks waits for the others: one thread alone would never finish."""
    arrived, args = words(1), words(1)
    args[0] = ctypes.addressof(arrived)

    parfor(make_pool(3), address(RENDEZVOUS), args, 3)

    assert arrived[0] == 3


@hypothesis.settings(max_examples=10)
@hypothesis.given(st.lists(st.integers(0, 50), max_size=200), st.integers(2, 6))
def test_many_small_jobs_in_a_row(sizes: list[int], threads: int):
    pool = Pool(threads)

    for size in sizes:
        assert count_chunks(pool, size) == [1] * size or size == 0

    assert pool.stop()


def test_sleeping_workers_wake_up(make_pool: MakePool):
    pool = make_pool(3)
    count_chunks(pool, 10)

    for _ in range(5):
        time.sleep(0.005)  # long past the time they spin
        assert count_chunks(pool, 100) == [1] * 100


def test_idle_workers_burn_nothing():
    pool = Pool(4)
    count_chunks(pool, 100)
    time.sleep(0.01)
    start = time.process_time()

    time.sleep(0.08)

    assert time.process_time() - start < 0.008
    assert pool.stop()


def test_callers_on_many_threads_all_get_their_results(make_pool: MakePool):
    def work(chunks: int) -> None:
        found[chunks] = count_chunks(pool, chunks, times=200) == [200] * chunks

    pool = make_pool(3)
    pool.start()
    found: dict[int, bool] = {}
    threads = [threading.Thread(target=work, args=(chunks,)) for chunks in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == dict.fromkeys(range(1, 9), True)


def test_job_inside_a_job_runs(make_pool: MakePool):
    pool = make_pool(3)
    counts, args = words(4), words(4)
    args[:] = [pool.address, pool.parfor, address(COUNT), ctypes.addressof(counts)]

    parfor(pool, address(NESTED), args, 50)

    assert list(counts) == [50] * 4


def test_pool_of_one_thread_starts_no_worker():
    before = threading.active_count()
    pool = Pool(1)

    assert count_chunks(pool, 10) == [1] * 10
    assert threading.active_count() == before
    assert pool.stop()


def test_workers_start_at_the_first_parallel_launch_and_not_before():
    pool = Pool(3)
    counts = words(2)
    graph = Graph([Launch(address(COUNT), (0,))], pool=pool)
    graph.bind(0, ctypes.addressof(counts))

    graph.run()
    assert not pool.started
    graph.set_chunks(0, 2)
    graph.run()
    assert pool.started

    assert list(counts) == [2, 1]
    assert pool.stop()


def test_stopped_pool_runs_jobs_on_the_callers_thread(make_pool: MakePool):
    others = set(threading.enumerate())
    pool = make_pool(3)
    count_chunks(pool, 10)

    assert pool.stop()

    assert count_chunks(pool, 10) == [1] * 10
    assert set(threading.enumerate()) <= others


def test_stop_during_a_job_of_another_thread_gives_up_after_its_time():
    pool = Pool(2)
    function, args, counts = busy_job(chunks=2, steps=20_000_000)
    caller = threading.Thread(target=parfor, args=(pool, function, args, 2))
    caller.start()
    while not pool._words[pool_ir.UNFINISHED // 4]:
        time.sleep(0.001)

    stopped = pool.stop(timeout_seconds=0.001)
    caller.join()

    assert not stopped
    assert list(counts) == [1, 1]
    assert pool.stop()


def test_threads_that_cannot_be_started_are_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)

    assert count_chunks(Pool(4), 10) == [1] * 10
    assert "only 1 of 4 threads: can't start new thread" in caplog.text


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_absurd_number_of_threads_is_refused(threads: int):
    with pytest.raises(DeviceError, match=f"1 to 1024 threads, got {threads}"):
        Pool(threads)


def test_default_pool_follows_the_setting(setenv):
    setenv("INKLE_THREADS", "3")
    assert default_pool().threads == 3
    assert default_pool() is default_pool(3)

    setenv("INKLE_THREADS", "0")
    assert default_pool().threads == machine.usable_cores()
    with config.Context(INKLE_THREADS=1):
        assert default_pool().threads == 1

    setenv("INKLE_THREADS", "many")
    with pytest.raises(InkleError, match="INKLE_THREADS='many'"):
        default_pool()


def test_workers_block_signals_so_that_the_main_thread_gets_them(make_pool: MakePool):
    pool = make_pool(2)
    count_chunks(pool, 10)
    (worker,) = pool._workers

    status = Path(f"/proc/self/task/{worker.native_id}/status")
    if not status.exists():
        pytest.skip("no /proc on this system")
    blocked = int(status.read_text().partition("SigBlk:")[2].split()[0], 16)

    assert blocked >> (signal.SIGINT - 1) & 1
    assert blocked >> (signal.SIGTERM - 1) & 1
    assert not blocked >> (signal.SIGSEGV - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, even in a job in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_interrupt_during_a_kernel_is_raised_after_it(make_pool: MakePool):
    pool = make_pool(2)
    pool.start()
    function, args, counts = busy_job(chunks=4, steps=10_000_000)
    timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))

    def run_interrupted() -> None:
        timer.start()
        parfor(pool, function, args, 4)
        time.sleep(1)  # only if the kernel was faster than the timer

    with pytest.raises(KeyboardInterrupt):
        run_interrupted()

    timer.join()
    assert list(counts) == [1] * 4
    assert count_chunks(pool, 50) == [1] * 50


@FORK
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_child_starts_workers_of_its_own(make_pool: MakePool):
    pool = make_pool(3)
    count_chunks(pool, 10)

    child = os.fork()
    if child == 0:
        fresh = not pool.started
        right = count_chunks(pool, 1000) == [1] * 1000
        os._exit(0 if fresh and right and len(pool._workers) == 2 else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert count_chunks(pool, 100) == [1] * 100


@FORK
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_another_thread_runs_a_job(make_pool: MakePool):
    pool = make_pool(2)
    pool.start()
    function, args, counts = busy_job(chunks=4, steps=5_000_000)
    caller = threading.Thread(target=parfor, args=(pool, function, args, 4))
    caller.start()

    child = os.fork()
    if child == 0:
        os._exit(0 if count_chunks(pool, 100) == [1] * 100 else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    caller.join()
    assert list(counts) == [1] * 4


EXIT_PROGRAM = """
    import ctypes, threading
    from tests.runtime.kernels import BUSY, COUNT, address
    from tests.runtime.test_pool import busy_job, count_chunks, parfor
    from inkle.runtime.cpu.pool import Pool
    pool = Pool(3)
    assert count_chunks(pool, 100) == [1] * 100
"""


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "raise SystemExit(0)",
        "threading.Thread(target=count_chunks, args=(pool, 50, 1000)).start()",
        "threading.Thread(target=count_chunks, args=(pool, 50, 10**6), daemon=True).start()",
        "threading.Thread(target=parfor, args=(pool, *busy_job(2, 10**8)[:2], 2), daemon=True)"
        ".start()",
    ],
    ids=["end", "exit", "thread", "daemon", "long-kernel"],
)
@pytest.mark.slow
def test_process_ends_with_code_zero(ending: str):
    result = run_python(EXIT_PROGRAM + "    " + ending, PYTHONPATH=ROOT)

    assert (result.returncode, result.stderr) == (0, "")


@FORK
@pytest.mark.slow
def test_multiprocessing_by_fork_works():
    result = run_python(
        EXIT_PROGRAM
        + """
    import multiprocessing, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    def count(chunks):
        return count_chunks(pool, chunks)
    with multiprocessing.get_context("fork").Pool(3) as processes:
        found = processes.map(count, range(1, 20))
    assert found == [[1] * n for n in range(1, 20)]
    """,
        PYTHONPATH=ROOT,
    )

    assert (result.returncode, result.stderr) == (0, "")
