"""Benchmarks: ltxcore against Litestream 0.5.17, or against the physical limit, measured in the same run."""
