"""Benchmarks: comparison with other systems (`peers.py`), scaling (`curves.py`), limits, costs and outages."""
