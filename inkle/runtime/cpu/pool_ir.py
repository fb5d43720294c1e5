"""The native half of the worker pool: how threads share the chunks of one job, and why it is safe.

A *job* is `function(args, chunk)` for chunk = 0 .. chunks - 1, in any order, on any threads. The
caller publishes one job at a time and takes chunks itself until none is left, so that it never
depends on a worker to begin; it only waits for chunks that a worker has already taken.

The words, each group on cache lines of its own:

    REMAINING   chunks nobody has taken: > 0 a job is open, 0 idle (workers sleep here), -1 stop
    FUNCTION, ARGS, CHUNKS   the job
    UNFINISHED  chunks whose work is not yet reported; a caller may sleep here
    CALLER_SLEEPS   whether it does
    SLEEPERS    workers asleep, or about to be, or not quite awake
    LOCK        1 while a caller owns the pool, for ever once it is stopped
    SPINS       pauses before sleeping; WORKERS how many there are

Argument.

1. *One publisher.* Only the owner of LOCK writes the job and raises REMAINING. Whoever finds LOCK
   taken (another thread, a kernel that calls back, a stopped pool) runs its chunks alone.
2. *A chunk is taken once.* Taking is compare-and-swap REMAINING: r -> r - 1, for r > 0, which
   gives chunk CHUNKS - r. Each r of a job succeeds for exactly one thread.
3. *The job is read after the chunk is taken,* never before. The owner leaves only when UNFINISHED
   is zero. UNFINISHED starts at CHUNKS and falls only by chunks that are done, so from taking a
   chunk until reporting it the job cannot change. A thread that read REMAINING long ago and swaps
   now takes a chunk of the job that is open *now*, and reads that job: there is no ABA problem, and
   no generation counter that could overflow. By the same argument a thread may report several
   chunks at once: those it has not reported keep the job open.
4. *The job is visible.* The owner writes it, then exchanges REMAINING (release). Every later value
   of REMAINING in the job stems from that exchange by read-modify-writes, so the acquire of a taker
   sees the job. In the same way results are visible to the owner: a report releases, and reading
   zero acquires.
5. *Nobody sleeps through a job.* A worker counts itself into SLEEPERS, then sleeps if REMAINING is
   still 0, which the kernel checks atomically; the owner raises REMAINING, then reads SLEEPERS, all
   sequentially consistent. Either the owner sees the sleeper and wakes it, or the sleeper sees the
   job. The same pair protects the owner that sleeps on UNFINISHED. A wake-up too many makes
   somebody look again. One too few for a worker would cost speed, never an answer.
6. *Stopping* needs LOCK, so no job is open. -1 is neither idle nor open: workers that spin, sleep
   or have not even started all see it and leave.
7. *Overflow.* REMAINING has 31 bits; a job with more chunks is run by its caller alone.
"""

from __future__ import annotations

from inkle.runtime.cpu.system import Platform, system_ir

# Byte offsets. Groups are 128 bytes apart: x86 fetches lines in pairs, Apple's have 128 bytes.
REMAINING = 0  # i32
FUNCTION, ARGS, CHUNKS = 8, 16, 24  # ptr, ptr, i64
UNFINISHED, CALLER_SLEEPS = 128, 132  # i32, i32
SLEEPERS, LOCK = 256, 260  # i32, i32
SPINS, WORKERS = 384, 392  # i64, i32
STATE_BYTES = 512
# Without a futex: how long to sleep between two looks. A caller waits for the last chunks of a job.
CALLER_POLL_US, WORKER_POLL_US = 50, 1000

NAMES = ("parfor", "worker", "stop_workers", "spin", "now")


def pool_ir(platform: Platform | None = None, *, portable: bool = False) -> str:
    """Return the module that defines the functions in NAMES.

    Args:
        platform: default: this one.
        portable: poll instead of using a futex, as on systems that have none.
    """
    return "\n".join((system_ir(platform, portable=portable), _TAKE, _PARFOR, _WORKER, _STOP))


def _field(name: str, offset: int) -> str:
    return f"%{name} = getelementptr i8, ptr %pool, i64 {offset}"


# Take and run chunks of the open job until none is left; return how many were run.
_TAKE = f"""
define internal i32 @take_chunks(ptr %pool) nounwind {{
entry:
  {_field("p.function", FUNCTION)}
  {_field("p.args", ARGS)}
  {_field("p.chunks", CHUNKS)}
  br label %look
look:
  %count = phi i32 [0, %entry], [%count, %take], [%count1, %run]
  %r = load atomic i32, ptr %pool monotonic, align 4
  %open = icmp sgt i32 %r, 0
  br i1 %open, label %take, label %none
take:
  %r1 = sub i32 %r, 1
  %swap = cmpxchg ptr %pool, i32 %r, i32 %r1 acquire monotonic
  %taken = extractvalue {{i32, i1}} %swap, 1
  br i1 %taken, label %run, label %look
run:
  %function = load ptr, ptr %p.function
  %args = load ptr, ptr %p.args
  %chunks = load i64, ptr %p.chunks
  %left = zext i32 %r to i64
  %chunk = sub i64 %chunks, %left
  call void %function(ptr %args, i64 %chunk)
  %count1 = add i32 %count, 1
  br label %look
none:
  ret i32 %count
}}"""

# Run a job. Called by the thread that wants the result.
_PARFOR = f"""
define void @parfor(ptr %pool, ptr %function, ptr %args, i64 %chunks) nounwind {{
entry:
  {_field("p.function", FUNCTION)}
  {_field("p.args", ARGS)}
  {_field("p.chunks", CHUNKS)}
  {_field("p.unfinished", UNFINISHED)}
  {_field("p.caller_sleeps", CALLER_SLEEPS)}
  {_field("p.sleepers", SLEEPERS)}
  {_field("p.lock", LOCK)}
  {_field("p.spins", SPINS)}
  {_field("p.workers", WORKERS)}
  %workers = load i32, ptr %p.workers
  %alone = icmp eq i32 %workers, 0
  %beyond = sub i64 %chunks, 2
  %unfit = icmp ugt i64 %beyond, 2147483645
  %serial0 = or i1 %alone, %unfit
  br i1 %serial0, label %serial, label %lock

lock:
  %swap = cmpxchg ptr %p.lock, i32 0, i32 1 acquire monotonic
  %owner = extractvalue {{i32, i1}} %swap, 1
  br i1 %owner, label %publish, label %serial

publish:
  store ptr %function, ptr %p.function
  store ptr %args, ptr %p.args
  store i64 %chunks, ptr %p.chunks
  %n = trunc i64 %chunks to i32
  store atomic i32 %n, ptr %p.unfinished monotonic, align 4
  %old = atomicrmw xchg ptr %pool, i32 %n seq_cst
  %sleepers = load atomic i32, ptr %p.sleepers seq_cst, align 4
  %asleep = icmp ne i32 %sleepers, 0
  br i1 %asleep, label %rouse, label %work
rouse:
  %helpers = sub i32 %n, 1
  call void @wake(ptr %pool, i32 %helpers)
  br label %work

work:
  %done = call i32 @take_chunks(ptr %pool)
  %before = atomicrmw sub ptr %p.unfinished, i32 %done seq_cst
  %all = icmp eq i32 %before, %done
  br i1 %all, label %unlock, label %linger

linger:
  %spins = load i64, ptr %p.spins
  br label %watch
watch:
  %i = phi i64 [0, %linger], [%i1, %again]
  %u = load atomic i32, ptr %p.unfinished acquire, align 4
  %finished = icmp eq i32 %u, 0
  br i1 %finished, label %unlock, label %patience
patience:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %spins
  br i1 %more, label %again, label %tired
again:
  call void @pause()
  br label %watch

tired:
  %was = atomicrmw xchg ptr %p.caller_sleeps, i32 1 seq_cst
  br label %check
check:
  %u2 = load atomic i32, ptr %p.unfinished seq_cst, align 4
  %finished2 = icmp eq i32 %u2, 0
  br i1 %finished2, label %rested, label %nap
nap:
  %woken = call i1 @wait(ptr %p.unfinished, i32 %u2, i32 {CALLER_POLL_US})
  br label %check
rested:
  store atomic i32 0, ptr %p.caller_sleeps monotonic, align 4
  br label %unlock

unlock:
  store atomic i32 0, ptr %p.lock release, align 4
  ret void

serial:
  br label %next
next:
  %c = phi i64 [0, %serial], [%c1, %call]
  %going = icmp ult i64 %c, %chunks
  br i1 %going, label %call, label %end
call:
  call void %function(ptr %args, i64 %c)
  %c1 = add i64 %c, 1
  br label %next
end:
  ret void
}}"""

# What a worker thread does from its start to the stop of the pool.
_WORKER = f"""
define void @worker(ptr %pool) nounwind {{
entry:
  {_field("p.unfinished", UNFINISHED)}
  {_field("p.caller_sleeps", CALLER_SLEEPS)}
  {_field("p.sleepers", SLEEPERS)}
  {_field("p.spins", SPINS)}
  %spins = load i64, ptr %p.spins
  %modes = call i64 @use_plain_floats()
  br label %idle
idle:
  br label %look
look:
  %i = phi i64 [0, %idle], [%i1, %spin]
  %r = load atomic i32, ptr %pool monotonic, align 4
  %open = icmp sgt i32 %r, 0
  br i1 %open, label %work, label %closed
closed:
  %stop = icmp slt i32 %r, 0
  br i1 %stop, label %leave, label %patience
patience:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %spins
  br i1 %more, label %spin, label %sleep
spin:
  call void @pause()
  br label %look

sleep:
  %s0 = atomicrmw add ptr %p.sleepers, i32 1 seq_cst
  %woken = call i1 @wait(ptr %pool, i32 0, i32 {WORKER_POLL_US})
  %s1 = atomicrmw sub ptr %p.sleepers, i32 1 seq_cst
  br i1 %woken, label %idle, label %sleep

work:
  %done = call i32 @take_chunks(ptr %pool)
  %none = icmp eq i32 %done, 0
  br i1 %none, label %idle, label %tell
tell:
  %before = atomicrmw sub ptr %p.unfinished, i32 %done seq_cst
  %last = icmp eq i32 %before, %done
  br i1 %last, label %report, label %idle
report:
  %sleeps = load atomic i32, ptr %p.caller_sleeps seq_cst, align 4
  %asleep = icmp ne i32 %sleeps, 0
  br i1 %asleep, label %rouse, label %idle
rouse:
  call void @wake(ptr %p.unfinished, i32 1)
  br label %idle
leave:
  ret void
}}"""

# Tell the workers to leave; false (0) if a job is open.
_STOP = f"""
define i32 @stop_workers(ptr %pool) nounwind {{
  {_field("p.lock", LOCK)}
  %swap = cmpxchg ptr %p.lock, i32 0, i32 1 acquire monotonic
  %owner = extractvalue {{i32, i1}} %swap, 1
  br i1 %owner, label %stop, label %busy
stop:
  %old = atomicrmw xchg ptr %pool, i32 -1 seq_cst
  call void @wake(ptr %pool, i32 2147483647)
  ret i32 1
busy:
  ret i32 0
}}"""
