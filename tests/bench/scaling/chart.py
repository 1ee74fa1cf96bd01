"""Line charts as SVG, with the standard library only. A chart is white, so that it reads on any page."""

import math
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 196, 46, 56
COLOURS = ["#1b6ca8", "#c8553d", "#2e8b57", "#8e5ea2", "#b8860b", "#333333"]


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if log:
        ticks = [m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
                 for m in (1, 2, 5)]
        return [t for t in ticks if low * 0.999 <= t <= high * 1.001]
    step = 10 ** math.floor(math.log10(max(high - low, 1e-12)))
    step = next(s for s in (step / 5, step / 2, step, 2 * step, 5 * step) if (high - low) / s <= 6)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _text(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"


class Axis:
    def __init__(self, values: list[float], log: bool, begin: float, end: float, ticks: list[float] | None = None):
        low, high = min(values), max(values)
        self.log, self.begin, self.end = log, begin, end
        if log:
            self.low, self.high = low / 1.15, high * 1.15
        else:
            self.low, self.high = min(0.0, low), high * 1.08
        self.ticks = ticks or _ticks(self.low, self.high, log)

    def at(self, value: float) -> float:
        place = math.log if self.log else float
        share = (place(value) - place(self.low)) / (place(self.high) - place(self.low))
        return self.begin + share * (self.end - self.begin)


def chart(path: Path, title: str, x_label: str, y_label: str, series: list[dict], x_log: bool = False,
          y_log: bool = False, x_ticks: list[float] | None = None) -> None:
    """series: {"name", "points": [(x, y)], "band": [(x, low, high)] or none, "dashed": bool}"""
    xs = [x for s in series for x, _ in s["points"]]
    ys = [y for s in series for _, y in s["points"]] + [y for s in series for b in s.get("band", []) for y in b[1:]]
    x, y = Axis(xs, x_log, LEFT, WIDTH - RIGHT, x_ticks), Axis(ys, y_log, HEIGHT - BOTTOM, TOP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           f'font-size="12">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>']
    for tick in y.ticks:
        at = y.at(tick)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e0e0e0"/>')
        out.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_text(tick)}</text>')
    for tick in x.ticks:
        at = x.at(tick)
        out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}" stroke="#888"/>')
        out.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{_text(tick)}</text>')
    out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" stroke="#888"/>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_label)}</text>')
    out.append(f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 18 {HEIGHT / 2})">'
               f'{escape(y_label)}</text>')
    for i, s in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        if s.get("band"):
            corners = [(a, low) for a, low, _ in s["band"]] + [(a, high) for a, _, high in reversed(s["band"])]
            points = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in corners)
            out.append(f'<polygon points="{points}" fill="{colour}" opacity="0.12"/>')
        points = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in s["points"])
        dash = ' stroke-dasharray="5 4"' if s.get("dashed") else ""
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if not s.get("dashed"):
            out += [f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3" fill="{colour}"/>' for a, b in s["points"]]
        at = TOP + 12 + 20 * i
        out.append(f'<line x1="{WIDTH - RIGHT + 14}" x2="{WIDTH - RIGHT + 38}" y1="{at}" y2="{at}" stroke="{colour}" '
                   f'stroke-width="2"{dash}/>')
        out.append(f'<text x="{WIDTH - RIGHT + 44}" y="{at + 4}">{escape(s["name"])}</text>')
    out.append("</svg>\n")
    path.write_text("\n".join(out))
