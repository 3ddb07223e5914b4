"""Benchmarks: what Ringfort costs beside the least that any program doing the same work must spend."""
