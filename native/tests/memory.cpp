int unused_memory;
