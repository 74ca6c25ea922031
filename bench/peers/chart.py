#!/usr/bin/env python3
"""Draws what jobyard-bench-peers measured as horizontal bars.  Usage: chart.py RESULTS.json CHART.svg"""

import json
import sys
from xml.sax.saxutils import escape

WIDTH = 960
LEFT = 270  # where bars begin
RIGHT = 90  # room for the number after the longest
ROW = 46
BAR = 15
TOP = 96
NAMES = {
    "nats": "NATS",
    "rabbitmq": "RabbitMQ",
    "bullmq": "BullMQ",
}
TEXT = "#1f2933"
FAINT = "#7b8794"
COLOURS = {True: ("#0b6e4f", "#8fd0b5"), False: ("#52606d", "#c3cbd3")}  # jobyard or not: end to end, submit


def text(x, y, words, size=13, colour=TEXT, anchor="start", weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def bar(y, width, colour):
    return f'<rect x="{LEFT}" y="{y:.0f}" width="{max(width, 1):.1f}" height="{BAR}" rx="2" fill="{colour}"/>'


def draw(results):
    rows = results["results"]
    measured = [row["medians"] for row in rows if "medians" in row]
    longest = max((max(m["submit_jobs_per_s"], m["end_to_end_jobs_per_s"]) for m in measured), default=1)
    height = TOP + ROW * len(rows) + 56
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fcfcfb"/>',
        text(24, 36, "Jobs a second, same machine, in turns", 20, weight="600"),
        text(24, 58, "100-byte jobs, one submitter, two workers, tcp on one machine. Bold: the system's strictest durability.",
             13, FAINT),
    ]
    legend = [(COLOURS[False][0], "end to end: submitted, run and recorded"), (COLOURS[False][1], "submit alone, acknowledged")]
    x = LEFT
    for colour, words in legend:
        out.append(f'<rect x="{x}" y="72" width="11" height="11" rx="2" fill="{colour}"/>')
        out.append(text(x + 17, 82, words, 12, FAINT))
        x += 275
    for i, row in enumerate(rows):
        y = TOP + ROW * i + 6
        ours = row["system"] == "jobyard"
        if ours:
            out.append(f'<rect x="12" y="{y - 7}" width="{WIDTH - 24}" height="{ROW - 2}" rx="4" fill="#e6f4ee"/>')
        weight = "600" if row["strictest"] else "normal"
        out.append(text(LEFT - 12, y + 13, NAMES.get(row["system"], row["system"]), 14, anchor="end", weight=weight))
        out.append(text(LEFT - 12, y + 29, row["durability"], 12, FAINT, "end"))
        if "medians" not in row:
            out.append(text(LEFT, y + 20, "not measured: " + row.get("failed", "")[:90], 12, FAINT))
            continue
        for at, key, colour in zip((0, BAR + 2), ("end_to_end_jobs_per_s", "submit_jobs_per_s"), COLOURS[ours]):
            value = row["medians"][key]
            width = value / longest * (WIDTH - LEFT - RIGHT)
            out.append(bar(y + at, width, colour))
            out.append(text(LEFT + width + 7, y + at + 12, f"{value:,.0f}", 12,
                            weight="600" if ours and at == 0 else "normal"))
    foot = height - 36
    out.append(text(24, foot, f'{results["processor"]}, {results["cores"]} cores, {results["kernel"]}', 12, FAINT))
    out.append(text(24, foot + 18, f'{results["date"]}; medians of {results["rounds"]} rounds; bench/peers/run', 12, FAINT))
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        results = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(results))


if __name__ == "__main__":
    main()
