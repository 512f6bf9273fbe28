"""Code that the end-to-end tests, the demo and the benchmarks share: processes, clients, and the oracle."""
