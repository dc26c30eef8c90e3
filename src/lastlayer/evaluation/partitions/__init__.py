"""Evaluation by partitions of the rows, with Dask: on the threads of this process, or on many machines."""
