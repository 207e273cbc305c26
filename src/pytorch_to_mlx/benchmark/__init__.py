"""What models cost: workloads, measurement, contenders, reports. The verb `benchmark` is in `cli/benchmark.py`."""
