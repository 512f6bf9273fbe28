"""Benchmarks beside other systems (`peers.py`) and of how ours scales (`curves.py`)."""
