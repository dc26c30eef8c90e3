int unused_threads;
