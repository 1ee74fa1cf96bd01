"""The rows of the table: what each figure is, its goal, and how it is printed. Pure."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    what: str
    unit: str
    better: str  # "more" or "less"; a ratio is always troupe / llama.cpp
    goals: dict  # by ISA class: avx2 or avx512 (AMX too)
    absolute: bool = False  # the goal is troupe's own figure, not the ratio


def _same(goal: float) -> dict:
    return {"avx2": goal, "avx512": goal}


ROWS = {
    "decode_cli": Row("decode, batch 1, 128/128, bench CLIs", "tok/s", "more", {"avx2": 1.6, "avx512": 1.3}),
    "decode_http": Row("decode, batch 1, 128/128, HTTP", "tok/s", "more", {"avx2": 1.6, "avx512": 1.3}),
    "concurrent": Row("16 concurrent, 128/128, HTTP", "tok/s", "more", {"avx2": 2.0, "avx512": 3.0}),
    "prefill": Row("prefill of 512, bench CLIs", "tok/s", "more", {"avx2": 3.0, "avx512": 2.6}),
    "ttft_p95": Row("TTFT p95, 16 of 128 at once", "s", "less", {"avx2": 0.35, "avx512": 0.2}),
    "largest_gap": Row("largest gap of 4 streams, 512 arrive", "s", "less", {"avx2": 0.1, "avx512": 0.2}),
    "gap_p99": Row("p99 of the gaps that overlap it", "s", "less", {"avx2": 0.1, "avx512": 0.2}),
    "start_http": Row("start to first token, HTTP", "s", "less", _same(1.0)),
    "start_cli": Row("start to first token, bench CLIs", "s", "less", _same(1.0)),
    "beside_one": Row("decode beside one busy neighbour", "of quiet", "more", _same(0.45), absolute=True),
    "beside_each": Row("decode beside one on each core", "of quiet", "more", _same(0.3), absolute=True),
    "repeat": Row("repeated request p50", "us", "less", _same(80), absolute=True),
}


@dataclass(frozen=True)
class Alone:
    """A row of what troupe does of itself; shares have a goal where decoding is bound by the memory."""

    what: str
    unit: str
    goal: float | None = None


ALONE = {
    "read": Alone("read bandwidth, as many bytes as the weights", "GB/s"),
    "gemv_share": Alone("matrix kernels at one row, alone", "of it", 0.85),
    "step_share": Alone("whole step, batch 1, context <= 256", "of it", 0.7),
}


def short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: list[float]) -> str:
    return f"{short(statistics.median(values))} ({short(min(values))}-{short(max(values))})"


def judge(name: str, ours: list[float], theirs: list[float], isa: str) -> dict:
    row = ROWS[name]
    ratio = statistics.median(ours) / statistics.median(theirs)
    goal = row.goals[isa]
    reached = statistics.median(ours) if row.absolute else ratio
    return {"name": name, "what": row.what, "unit": row.unit, "troupe": ours, "llama": theirs, "ratio": ratio,
            "goal": goal, "goal_is_absolute": row.absolute,
            "met": reached >= goal if row.better == "more" else reached <= goal}


def render(title: str, verdicts: list[dict]) -> str:
    lines = [f"{title}\n", "| scenario | unit | troupe | llama.cpp | ratio | goal | |", "|---|---|---|---|---|---|---|"]
    for v in verdicts:
        sign = ">=" if ROWS[v["name"]].better == "more" else "<="
        goal = f"{sign} {v['goal']:g} {v['unit']}" if v["goal_is_absolute"] else f"{sign} {v['goal']:g}x"
        lines.append(f"| {v['what']} | {v['unit']} | {spread(v['troupe'])} | {spread(v['llama'])} |"
                     f" {v['ratio']:.2g}x | {goal} | {'met' if v['met'] else 'MISSED'} |")
    return "\n".join(lines)


def render_alone(figures: dict[str, list[float]]) -> str:
    lines = ["Troupe beside the memory, huge pages, same threads\n", "| what | unit | troupe | goal | |", "|---|---|---|---|---|"]
    for name, values in figures.items():
        row = ALONE[name]
        goal = "" if row.goal is None else f">= {row.goal:g} {row.unit}"
        verdict = "" if row.goal is None else "met" if statistics.median(values) >= row.goal else "MISSED"
        lines.append(f"| {row.what} | {row.unit} | {spread(values)} | {goal} | {verdict} |")
    return "\n".join(lines)
