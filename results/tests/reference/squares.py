"""Writes squares.hgrm with another implementation. Needs the Python package hdrhistogram 0.10.

python3 tests/reference/squares.py > tests/reference/squares.hgrm
"""
import sys
from hdrh.histogram import HdrHistogram

h = HdrHistogram(1, 60_000_000_000, 2)
for i in range(1, 1001):
    h.record_value(i * i)
h.output_percentile_distribution(sys.stdout.buffer, 1000.0)
