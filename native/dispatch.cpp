#include "dispatch.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "pool.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lastlayer {
namespace {

std::atomic<const Table*> chosen{nullptr};

// Scratch of a thread. It is kept between calls up to a size that a row of a large vocabulary needs. Beyond,
// it is the system's own pages and goes back after the call: a heap might keep it, and every thread has one.
class Arena {
 public:
  ~Arena() { release(); }
  char* at_least(std::int64_t bytes) {
    if (bytes > size_) {
      release();
      data_ = allocate((std::size_t)bytes);
      size_ = bytes;
    }
    return data_;
  }
  void release_large() {
    if (size_ > most_kept) release();
  }

 private:
  static constexpr std::int64_t most_kept = 4 << 20;

  void release() {
    if (data_) free(data_, (std::size_t)size_);
    data_ = nullptr, size_ = 0;
  }
#if defined(__linux__)
  static char* allocate(std::size_t bytes) {
    if ((std::int64_t)bytes <= most_kept) return on_heap(bytes);
    void* const p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    return static_cast<char*>(p);
  }
  static void free(char* p, std::size_t bytes) {
    if ((std::int64_t)bytes <= most_kept)
      ::operator delete(p, std::align_val_t(64));
    else
      (void)munmap(p, bytes);
  }
#else
  static char* allocate(std::size_t bytes) { return on_heap(bytes); }
  static void free(char* p, std::size_t) { ::operator delete(p, std::align_val_t(64)); }
#endif
  static char* on_heap(std::size_t bytes) {
    return static_cast<char*>(::operator new(bytes, std::align_val_t(64)));
  }

  char* data_ = nullptr;
  std::int64_t size_ = 0;
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
  job.stop_asked = nullptr;
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
  if (tasks == 1 && all < 65536) {
    table->run(job, 0, job.rows, arena.at_least(job.arena));
    arena.release_large();
    return;
  }
  Stop stop(interrupted);
  job.stop = &stop;
  job.stop_asked = [](void* s) { return static_cast<Stop*>(s)->asked(); };
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
  parallel(threads, tasks, task, stop, hosted, [] { arena.release_large(); });
  *stopped = stop.was_asked();
  if (exhausted.load()) throw std::bad_alloc();
}

}  // namespace lastlayer
