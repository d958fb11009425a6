#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/performance.png: the median of each operation under Corbel and under KVM.

usage: tools/plot.py BUILD OUT.png
Reads BUILD/bench-kvm.tsv, which `make bench-kvm` writes. What is no exit under either hypervisor is
left out.
"""
import csv
import pathlib
import subprocess
import sys

import bench_kvm

FONT = "DejaVu Sans"
SCRIPT = """
set terminal pngcairo size 1200,900 font "{font},13" background "#ffffff"
set output "{out}"
set title "Median of 1,000 runs in the same emulated machine, in ticks: an instruction each" \\
    font "{font},16" offset 0,0.8
set logscale x 10
set xrange [50:1000000]
set yrange [{rows}.6:0.4]
set xtics scale 0.5 textcolor rgb "#202020" ("100" 100, "1,000" 1000, "10,000" 10000, \\
    "100,000" 100000, "1,000,000" 1000000)
set mxtics 10
set ytics ({names}) scale 0 textcolor rgb "#202020"
set y2range [{rows}.6:0.4]
set y2tics ({ratios}) scale 0 textcolor rgb "#202020"
set grid xtics mxtics lt 1 lw 1 lc rgb "#c8c8c8", lt 1 lw 1 lc rgb "#eeeeee"
set border 1 lc rgb "#808080"
set lmargin 22
set rmargin 10
set key top right opaque box lc rgb "#c8c8c8" spacing 1.3 width 1 height 0.4 Left reverse
set label "KVM : Corbel, both off" at graph 1.0,1.015 center font "{font},12" textcolor rgb "#202020"
set style line 1 pt 7 ps 1.6 lc rgb "#0072b2"
set style line 2 pt 6 ps 1.6 lw 2 lc rgb "#0072b2"
set style line 3 pt 7 ps 1.6 lc rgb "#d55e00"
set style line 4 pt 6 ps 1.6 lw 2 lc rgb "#d55e00"
$data << EOD
{data}
EOD
plot $data using 2:1:($5-$2):(0) with vectors nohead lw 1.5 lc rgb "#a0a0a0" notitle, \\
     $data using 3:1 with points ls 1 title "Corbel", \\
     $data using 2:1 with points ls 2 title "Corbel, mitigations=off", \\
     $data using 5:1 with points ls 3 title "KVM of Linux 6.1", \\
     $data using 4:1 with points ls 4 title "KVM, mitigations=off"
"""


def read(path):
    with open(path, encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}


def points(rows):
    """(name, Corbel without mitigations, Corbel, KVM without, KVM), the quickest first."""
    columns = ("corbel_off_median", "corbel_median", "off_median", "median")
    for name in sorted(bench_kvm.EXITS, key=lambda name: float(rows[name][columns[0]])):
        yield (name, *(float(rows[name][column]) for column in columns))


def script(rows, out):
    def ticks(texts):
        return ", ".join(f'"{text}" {n}' for n, text in enumerate(texts, 1))

    return SCRIPT.format(
        font=FONT, out=out, rows=len(rows),
        names=ticks(row[0].replace("_", r"\\_") for row in rows),
        ratios=ticks(f"{row[3] / row[1]:.1f}" for row in rows),
        data="\n".join(" ".join(map(str, (n, *row[1:]))) for n, row in enumerate(rows, 1)))


def main(argv):
    if len(argv) != 3:
        sys.exit(__doc__)
    build, out = pathlib.Path(argv[1]), argv[2]
    try:
        rows = list(points(read(build / "bench-kvm.tsv")))
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"plot: {error}: `make bench-kvm` writes what is to be drawn")
    subprocess.run(["gnuplot"], input=script(rows, out), text=True, check=True)


if __name__ == "__main__":
    main(sys.argv)
