// Threads. `parallel` runs task(0) ... task(count - 1), each once, on up to `threads` threads of which the
// caller is one. Which thread runs a task is left open; what a task computes may not depend on it.
//
// Workers are started when first needed and kept. One call at a time uses them: a call that finds them busy
// (another Python thread, or a call from within a task) runs on its own thread. After fork() the child starts
// its own.
//
// Whoever computes with PyTorch already has workers, those of its OpenMP runtime, and after each of its
// operations they stay awake for a while on the processors that ours would need. A `hosted` call is done by
// them: it starts at once, and nobody is in the way. Not so after fork(), which OpenMP runtimes do not
// survive.
#pragma once

#include <cstdint>
#include <functional>

namespace lastlayer {

// `interrupted` is asked now and then, on the calling thread only; true ends the call early. Returns false
// then.
bool parallel(int threads, std::int64_t count, const std::function<void(std::int64_t)>& task,
              const std::function<bool()>& interrupted, bool hosted = false);

// LASTLAYER_NUM_THREADS, OMP_NUM_THREADS, or the processors that this process may use.
int default_threads();

}  // namespace lastlayer
