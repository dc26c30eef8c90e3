#include "dispatch.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "pool.hpp"

namespace lastlayer {
namespace {

std::atomic<const Table*> chosen{nullptr};

// Scratch of a thread, kept between calls while it is small.
struct Arena {
  char* data = nullptr;
  std::int64_t size = 0;
  ~Arena() { ::operator delete(data, std::align_val_t(64)); }
  char* at_least(std::int64_t bytes) {
    if (bytes > size) {
      ::operator delete(data, std::align_val_t(64));
      data = nullptr, size = 0;
      data = static_cast<char*>(::operator new((std::size_t)bytes, std::align_val_t(64)));
      size = bytes;
    }
    return data;
  }
  void release_large() {
    if (size > (256 << 10)) {
      ::operator delete(data, std::align_val_t(64));
      data = nullptr, size = 0;
    }
  }
};
thread_local Arena arena;

}  // namespace

#if defined(LASTLAYER_CHECKED)
void broken(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: not %s\n", file, line, condition);
  std::abort();
}
#endif

std::vector<const Table*> available() {
  std::vector<const Table*> tables;
  for (const Table* t : {table_avx512(), table_avx2(), table_neon(), table_baseline()})
    if (t && t->supported()) tables.push_back(t);
  return tables;
}

const Table* current() {
  const Table* t = chosen.load(std::memory_order_acquire);
  if (!t) {
    t = available().front();
    chosen.store(t, std::memory_order_release);
  }
  return t;
}

bool choose(const std::string& name) {
  for (const Table* t : available())
    if (name == t->name) {
      chosen.store(t, std::memory_order_release);
      return true;
    }
  return false;
}

// Scores worth waking another thread for: a hosted one is awake.
constexpr std::int64_t worth_waking = 131072, worth_sharing = 32768;

void run_job(Job& job, int threads, bool hosted, bool (*interrupted)(), bool* stopped) {
  *stopped = false;
  if (job.rows == 0) return;
  const Table* table = current();
  table->plan(job);
  const std::int64_t all = job.rows * job.classes;
  if (all < (hosted ? worth_sharing : worth_waking) || threads <= 1 || job.rows <= job.block) threads = 1;
  // A task is enough work to be worth handing over, and few enough bytes for a prompt answer to Ctrl-C.
  std::int64_t rows = (65536 / job.classes + job.block) / job.block * job.block;
  if (all < 65536 * 4 * (std::int64_t)threads) {
    const std::int64_t share = (job.rows + threads - 1) / threads;
    rows = (share + job.block - 1) / job.block * job.block;
  }
  const std::int64_t tasks = (job.rows + rows - 1) / rows;
  if (tasks == 1) {
    table->run(job, 0, job.rows, arena.at_least(job.arena));
    arena.release_large();
    return;
  }
  std::atomic<bool> exhausted{false};
  auto task = [&](std::int64_t i) {
    const std::int64_t begin = i * rows, end = begin + rows < job.rows ? begin + rows : job.rows;
    char* memory = nullptr;
    try {
      memory = arena.at_least(job.arena);
    } catch (const std::bad_alloc&) {
      exhausted.store(true);
      return;
    }
    table->run(job, begin, end, memory);
  };
  *stopped = !parallel(threads, tasks, task, interrupted, hosted);
  arena.release_large();
  if (exhausted.load()) throw std::bad_alloc();
}

}  // namespace lastlayer
