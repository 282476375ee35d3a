"""Ours and what people would use instead, in one run on one machine: `python -m benchmarks.side_by_side`."""
