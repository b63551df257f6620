"""Measures edgespike against its peers and its memory, and how its cost grows.

python -m benchmarks            everything, at the 0.8B shape: table, JSON, plots
python -m benchmarks --quick    everything at a tiny shape, in seconds: does it work here?
"""
