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

// Scratch of a thread. Up to the size that a row of a large vocabulary needs it is kept between calls. Larger
// scratch is mapped for the call and unmapped after it: a heap might keep it, once for every thread.
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

// Called before any function of an instruction set's own translation unit.
#if defined(__x86_64__) || defined(__i386__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
#endif

// The number of scores from which a call is divided over threads: ours have to be woken, those of a hosted
// call spin.
constexpr std::int64_t worth_waking = 131072, worth_sharing = 32768;
// Scores of a task: enough work to be worth handing over, and little enough for a prompt response to Ctrl-C.
constexpr std::int64_t scores_a_task = 65536;

// Rows of a task: whole blocks.
std::int64_t rows_a_task(const Shape& shape, std::int64_t block, int threads) {
  if (shape.rows * shape.classes >= scores_a_task * 4 * (std::int64_t)threads)
    return (scores_a_task / shape.classes + block) / block * block;
  const std::int64_t share = (shape.rows + threads - 1) / threads;
  return (share + block - 1) / block * block;
}

}  // namespace

#if defined(LASTLAYER_CHECKED)
void broken(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: not %s\n", file, line, condition);
  std::abort();
}
#endif

std::vector<const Table*> available() {
  std::vector<const Table*> tables;
  auto offer = [&](const Table* table) {
    if (table) tables.push_back(table);
  };
  if (has_avx512()) offer(table_avx512());
  if (has_avx2()) offer(table_avx2());
  offer(table_neon());
  offer(table_baseline());
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

bool run_job(const Job& job, const Runner& runner) {
  const Shape& shape = job.shape;
  if (shape.rows == 0) return true;
  const Table* table = current();
  const Cut cut = table->plan(job);
  const std::int64_t all = shape.rows * shape.classes;
  const bool alone =
      all < (runner.hosted ? worth_sharing : worth_waking) || runner.threads <= 1 || shape.rows <= cut.block;
  const int threads = alone ? 1 : runner.threads;
  const std::int64_t rows = rows_a_task(shape, cut.block, threads), tasks = (shape.rows + rows - 1) / rows;
  if (tasks == 1 && all < scores_a_task) {
    table->run(job, cut, {0, shape.rows, arena.at_least(cut.arena)});
    arena.release_large();
    return true;
  }
  Stop stop(runner.interrupted);
  std::atomic<bool> exhausted{false};
  auto task = [&](std::int64_t i) noexcept {
    const std::int64_t begin = i * rows, end = begin + rows < shape.rows ? begin + rows : shape.rows;
    try {
      table->run(job, cut, {begin, end, arena.at_least(cut.arena), &stop});
    } catch (const std::bad_alloc&) {
      exhausted.store(true);
    }
  };
  auto leave = []() noexcept { arena.release_large(); };
  parallel(threads, tasks, task, stop, runner.hosted, leave);
  if (exhausted.load()) throw std::bad_alloc();
  return !stop.was_asked();
}

}  // namespace lastlayer
