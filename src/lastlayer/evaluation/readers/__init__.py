"""Where scores and labels come from: arrays, batches, tables and files, read block by block."""
