#!/usr/bin/env python3
"""docs/scaling-*.svg and the tables of docs/scaling.md from tests/bench/scaling/figures.json, which run.py keeps.

    python3 tests/bench/scaling/plot.py
"""

import json
from pathlib import Path

from chart import chart

ROOT = Path(__file__).resolve().parents[3]
FIGURES = Path(__file__).with_name("figures.json")
DOCS = ROOT / "docs"
USUAL_SHARE, USUAL_STREAMS, CURVE_GPUS = 0.7, 16, 16


def layout_of(row: dict) -> str:
    name = f"TP {row['tensor']}" + (f" x PP {row['pipeline']}" if row["pipeline"] > 1 else "")
    return f"{row['model'].split()[1]}, {name}"


def by_layout(rows: list[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(layout_of(row), []).append(row)
    return found


def throughput(rows: list[dict], size: str) -> None:
    of_size = [r for r in rows if r["model"].startswith(size)]
    series = []
    for name, group in by_layout(of_size).items():
        usual = sorted((r["gpus"], r["tokens_per_second"]) for r in group
                       if r["read_share"] == USUAL_SHARE and r["streams"] == USUAL_STREAMS * r["gpus"])
        series.append({"name": name, "points": usual})
    chart(DOCS / f"scaling-{size.lower()}-gpus.svg", f"{size}, predicted: {USUAL_STREAMS} streams a GPU, 1024 in, 256 out",
          "GPUs (H100 SXM)", "answer tokens/s", series, x_log=True, y_log=True, x_ticks=[8, 16, 32, 64])


def latency(rows: list[dict], size: str) -> None:
    at = [r for r in rows if r["model"].startswith(size) and r["gpus"] == CURVE_GPUS and r["read_share"] == USUAL_SHARE]
    series = []
    for name, group in by_layout(at).items():
        points = sorted((r["tokens_per_second"] / r["gpus"], 1e3 * r["gap_p50"]) for r in group if r["streams"] > 1)
        series.append({"name": name, "points": points})
    chart(DOCS / f"scaling-{size.lower()}-latency.svg", f"{size}, predicted: {CURVE_GPUS} GPUs, 1 to 64 streams a GPU",
          "answer tokens/s and GPU", "ms between tokens, median", series, x_log=True, y_log=True)


def gpu_table(rows: list[dict]) -> str:
    out = ["| model, layout | GPUs | tokens/s | TTFT p50 / p95, s | between tokens p50 / p99, ms |", "|---|---|---|---|---|"]
    for row in rows:
        if row["read_share"] != USUAL_SHARE or row["streams"] != USUAL_STREAMS * row["gpus"] or row["gpus"] not in (16, 64):
            continue
        out.append(f"| {row['model'].split()[0]} {layout_of(row)} x DP {row['groups']} | {row['gpus']} | "
                   f"{row['tokens_per_second']:,.0f} | {row['ttft_p50']:.2f} / {row['ttft_p95']:.2f} | "
                   f"{1e3 * row['gap_p50']:.1f} / {1e3 * row['gap_p99']:.1f} |")
    return "\n".join(out)


def doubt_table(rows: list[dict]) -> str:
    out = ["| model, layout, 16 GPUs | tokens/s at e = 0.6 / 0.7 / 0.8 | one stream alone, tokens/s |", "|---|---|---|"]
    for model in dict.fromkeys(r["model"] for r in rows):
        for name, group in by_layout([r for r in rows if r["model"] == model and r["gpus"] == CURVE_GPUS]).items():
            share = {r["read_share"]: r["tokens_per_second"] for r in group if r["streams"] == USUAL_STREAMS * CURVE_GPUS}
            alone = [1 / r["gap_p50"] for r in group if r["streams"] == 1]
            out.append(f"| {model.split()[0]} {name} | " + " / ".join(f"{share[s]:,.0f}" for s in sorted(share)) +
                       f" | {alone[0]:.0f} |")
    return "\n".join(out)


def routing_table(rows: list[dict]) -> str:
    out = ["| KV blocks in all | routers, groups | hit rate | of one group's | TTFT p50 / p95, ms |", "|---|---|---|---|---|"]
    one = {r["kv_blocks"]: r["hit_rate"] for r in rows if r["groups"] == 1}
    for r in rows:
        out.append(f"| {r['kv_blocks']:,} | {r['routers']}, {r['groups']} | {r['hit_rate']:.3f} | "
                   f"{r['hit_rate'] / one[r['kv_blocks']]:.2f}x | {1e3 * r['ttft_p50']:.1f} / {1e3 * r['ttft_p95']:.1f} |")
    return "\n".join(out)


def cpu_table(cpu: dict) -> str:
    out = [f"Load average {cpu['load_average']:.2f} before.", "", "| on this machine | measured, tokens/s | predicted | error |",
           "|---|---|---|---|"]
    for row in cpu["rows"]:
        error = row["predicted"] / row["measured"] - 1
        out.append(f"| {row['what']} | {row['measured']:,.0f} | {row['predicted']:,.0f} | {100 * error:+.0f} % |")
    return "\n".join(out)


def cpu_plot(cpu: dict) -> None:
    one = [r for r in cpu["rows"] if r["kind"] == "one"]
    chart(DOCS / "scaling-cpu.svg", "SmolLM2-135M on this CPU, one process of 2 threads", "streams at once",
          "answer tokens/s", [{"name": "measured", "points": [(r["streams"], r["measured"]) for r in one]},
                              {"name": "predicted", "points": [(r["streams"], r["predicted"]) for r in one],
                               "dashed": True}], x_log=True, x_ticks=[r["streams"] for r in one])


def put(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- figures: {name} -->\n", "<!-- end -->"
    head, _, rest = text.partition(begin)
    if not rest:
        raise SystemExit(f"docs/scaling.md has no place for the table '{name}': add '{begin.strip()}' and '{end}'")
    return head + begin + table + "\n" + end + rest.partition(end)[2]


def main() -> None:
    figures = json.loads(FIGURES.read_text())
    for size in ("70B", "405B"):
        throughput(figures["gpu"], size)
        latency(figures["gpu"], size)
    page = DOCS / "scaling.md"
    text = page.read_text()
    for name, table in (("gpu", gpu_table(figures["gpu"])), ("doubt", doubt_table(figures["gpu"])),
                        ("routing", routing_table(figures["routing"]))):
        text = put(text, name, table)
    if "cpu" in figures:
        text = put(text, "cpu", cpu_table(figures["cpu"]))
        cpu_plot(figures["cpu"])
    page.write_text(text)


if __name__ == "__main__":
    main()
