"""The native half of graphs: goes through the items, gives launches their arguments, calls them."""

from __future__ import annotations

from inkle.runtime.cpu.blocks import blocks_ir
from inkle.runtime.cpu.group import FIRST, LAST, RUN, SPLITS, UNITS, group_ir, load
from inkle.runtime.cpu.system import Platform, system_ir

# Byte offsets in the header.
POOL, PARFOR, SOURCES, FUNCTIONS, POINTERS, CHUNKS, ITEMS, LOOPS, MOVES = range(0, 72, 8)
ARGUMENTS, N_ITEMS, GROUPS, N_LAUNCHES = 72, 80, 88, 96
HEADER_WORDS = 13
LOOP_WORDS, MOVE_WORDS = 5, 6


def graph_ir(platform: Platform | None = None) -> str:
    """Return the module that runs graphs, for this platform or another."""
    return "\n".join((system_ir(platform), group_ir(), blocks_ir(), _GRAPH_IR))


def _load(name: str, kind: str, offset: int, base: str = "graph") -> str:
    return load(name, kind, offset, base)


_GRAPH_IR = f"""
define internal void @gather(ptr %graph, i64 %first, i64 %last) nounwind {{
entry:
  {_load("arguments", "ptr", ARGUMENTS)}
  {_load("sources", "ptr", SOURCES)}
  {_load("pointers", "ptr", POINTERS)}
  %at.begin = getelementptr ptr, ptr %pointers, i64 %first
  %at.end = getelementptr ptr, ptr %pointers, i64 %last
  %args = load ptr, ptr %at.begin
  %end = load ptr, ptr %at.end
  %base = ptrtoint ptr %arguments to i64
  %begin = ptrtoint ptr %args to i64
  %skipped = sub i64 %begin, %base
  %from0 = getelementptr i8, ptr %sources, i64 %skipped
  br label %next
next:
  %to = phi ptr [%args, %entry], [%to1, %copy]
  %from = phi ptr [%from0, %entry], [%from1, %copy]
  %more = icmp ult ptr %to, %end
  br i1 %more, label %copy, label %done
copy:
  %slot = load ptr, ptr %from
  %word = load i64, ptr %slot
  store i64 %word, ptr %to
  %to1 = getelementptr i64, ptr %to, i64 1
  %from1 = getelementptr ptr, ptr %from, i64 1
  br label %next
done:
  ret void
}}

define internal void @share_out(ptr %graph, ptr %function, ptr %args, i64 %n) nounwind {{
  %single = icmp eq i64 %n, 1
  br i1 %single, label %direct, label %shared
direct:
  call void %function(ptr %args, i64 0)
  ret void
shared:
  {_load("pool", "ptr", POOL)}
  {_load("parfor", "ptr", PARFOR)}
  call void %parfor(ptr %pool, ptr %function, ptr %args, i64 %n)
  ret void
}}

define internal void @launch(ptr %graph, i64 %i) nounwind {{
  {_load("functions", "ptr", FUNCTIONS)}
  {_load("pointers", "ptr", POINTERS)}
  {_load("chunks", "ptr", CHUNKS)}
  %after = add i64 %i, 1
  call void @gather(ptr %graph, i64 %i, i64 %after)
  %at.function = getelementptr ptr, ptr %functions, i64 %i
  %at.args = getelementptr ptr, ptr %pointers, i64 %i
  %at.n = getelementptr i64, ptr %chunks, i64 %i
  %function = load ptr, ptr %at.function
  %args = load ptr, ptr %at.args
  %n = load i64, ptr %at.n
  call void @share_out(ptr %graph, ptr %function, ptr %args, i64 %n)
  ret void
}}

define internal void @launch_group(ptr %graph, i64 %number, ptr %times) nounwind {{
entry:
  {_load("groups", "ptr", GROUPS)}
  %at = getelementptr ptr, ptr %groups, i64 %number
  %group = load ptr, ptr %at
  {_load("first", "i64", FIRST, "group")}
  {_load("last", "i64", LAST, "group")}
  {_load("units", "i64", UNITS, "group")}
  {_load("splits", "i64", SPLITS, "group")}
  {_load("run", "ptr", RUN, "group")}
  %plain = icmp eq ptr %times, null
  %whole = icmp eq i64 %splits, 0
  %once = or i1 %plain, %whole
  br i1 %once, label %together, label %next
together:
  call void @gather(ptr %graph, i64 %first, i64 %last)
  br i1 %whole, label %rooms, label %start
rooms:
  call void @free_rooms(ptr %group)
  br label %start
start:
  br i1 %plain, label %untimed, label %timed
untimed:
  call void @share_out(ptr %graph, ptr %run, ptr %group, i64 %units)
  ret void
timed:
  call void @launch_blocks_timed(ptr %graph, ptr %group, i64 %units, ptr %times)
  ret void
next:
  %i = phi i64 [%first, %entry], [%i1, %one]
  %more = icmp ult i64 %i, %last
  br i1 %more, label %one, label %done
one:
  call void @launch_timed(ptr %graph, i64 %i, ptr %times)
  %i1 = add i64 %i, 1
  br label %next
done:
  ret void
}}

define internal void @launch_timed(ptr %graph, i64 %i, ptr %times) nounwind {{
  %start = call i64 @now()
  call void @launch(ptr %graph, i64 %i)
  %end = call i64 @now()
  %spent = sub i64 %end, %start
  %at = getelementptr i64, ptr %times, i64 %i
  %before = load i64, ptr %at
  %total = add i64 %before, %spent
  store i64 %total, ptr %at
  ret void
}}

define internal void @move(ptr %move, i64 %k) nounwind {{
  %at.slot = getelementptr i64, ptr %move, i64 1
  %at.width = getelementptr i64, ptr %move, i64 2
  %at.start = getelementptr i64, ptr %move, i64 3
  %at.step = getelementptr i64, ptr %move, i64 4
  %at.rows = getelementptr i64, ptr %move, i64 5
  %source = load ptr, ptr %move
  %slot = load ptr, ptr %at.slot
  %width = load i64, ptr %at.width
  %start = load i64, ptr %at.start
  %step = load i64, ptr %at.step
  %rows = load i64, ptr %at.rows
  %far = mul i64 %step, %k
  %place = add i64 %start, %far
  %row = urem i64 %place, %rows
  %offset = mul i64 %row, %width
  %base = load i64, ptr %source
  %address = add i64 %base, %offset
  store i64 %address, ptr %slot
  ret void
}}

define internal void @repeat(ptr %graph, i64 %number, ptr %times) nounwind {{
entry:
  {_load("loops", "ptr", LOOPS)}
  {_load("moves", "ptr", MOVES)}
  %word = mul i64 %number, {LOOP_WORDS}
  %loop = getelementptr i64, ptr %loops, i64 %word
  %at.first.move = getelementptr i64, ptr %loop, i64 1
  %at.last.move = getelementptr i64, ptr %loop, i64 2
  %at.first = getelementptr i64, ptr %loop, i64 3
  %at.last = getelementptr i64, ptr %loop, i64 4
  %steps = load i64, ptr %loop
  %first.move = load i64, ptr %at.first.move
  %last.move = load i64, ptr %at.last.move
  %first = load i64, ptr %at.first
  %last = load i64, ptr %at.last
  br label %next
next:
  %k = phi i64 [0, %entry], [%k1, %step]
  %more = icmp ult i64 %k, %steps
  br i1 %more, label %moving, label %done
moving:
  %m = phi i64 [%first.move, %next], [%m1, %one]
  %left = icmp ult i64 %m, %last.move
  br i1 %left, label %one, label %step
one:
  %at = mul i64 %m, {MOVE_WORDS}
  %move = getelementptr i64, ptr %moves, i64 %at
  call void @move(ptr %move, i64 %k)
  %m1 = add i64 %m, 1
  br label %moving
step:
  call void @run_items(ptr %graph, i64 %first, i64 %last, ptr %times)
  %k1 = add i64 %k, 1
  br label %next
done:
  ret void
}}

define internal void @run_items(ptr %graph, i64 %first, i64 %last, ptr %times) nounwind {{
entry:
  {_load("items", "ptr", ITEMS)}
  {_load("launches", "i64", N_LAUNCHES)}
  %plain = icmp eq ptr %times, null
  br label %next
next:
  %i = phi i64 [%first, %entry], [%i1, %done]
  %more = icmp ult i64 %i, %last
  br i1 %more, label %run, label %end
run:
  %at = getelementptr i64, ptr %items, i64 %i
  %item = load i64, ptr %at
  %is.loop = icmp slt i64 %item, 0
  br i1 %is.loop, label %loop, label %kernel
loop:
  %number = sub i64 -1, %item
  call void @repeat(ptr %graph, i64 %number, ptr %times)
  br label %done
kernel:
  %number.group = sub i64 %item, %launches
  %is.group = icmp sge i64 %number.group, 0
  br i1 %is.group, label %group, label %single
group:
  call void @launch_group(ptr %graph, i64 %number.group, ptr %times)
  br label %done
single:
  br i1 %plain, label %untimed, label %timed
untimed:
  call void @launch(ptr %graph, i64 %item)
  br label %done
timed:
  call void @launch_timed(ptr %graph, i64 %item, ptr %times)
  br label %done
done:
  %i1 = add i64 %i, 1
  br label %next
end:
  ret void
}}

define void @run_graph(ptr %graph, ptr %times) nounwind {{
  %modes = call i64 @use_plain_floats()
  {_load("n", "i64", N_ITEMS)}
  call void @run_items(ptr %graph, i64 0, i64 %n, ptr %times)
  call void @restore_floats(i64 %modes)
  ret void
}}
"""
