// What a thread works with during a task. In: a Job, its Cut and a Task. Out: the State and the matrices of a
// block, laid out in the task's scratch.

// Matrices of a block in the computing type; null where they need no scratch.
template <class C>
struct Buffers {
  C *z = nullptr, *q = nullptr, *slope = nullptr,
    *e = nullptr;      // scores, second operand, slopes, exponentials
  C* spare = nullptr;  // results that drain, side by side as in memory
  C* rows = nullptr;   // rows on their way through the transposition
  Drain<C> drain;
};

template <class C>
struct Workspace {
  const Cut& cut;
  Stop* const stop;
  State<C> state;
  Buffers<C> buffers;

  Workspace(const Job& job, const Cut& c, const Task& task) : cut(c), stop(task.stop) {
    char* p = align64(state.place(align64(task.arena)));
    if (picks_one(job)) return;
    const std::int64_t bytes = matrix_bytes<C>(job, cut);
    auto take = [&](bool wanted) {
      C* at = (C*)p;
      if (wanted) p += bytes;
      return wanted ? at : nullptr;
    };
    buffers.z = take(!reads_in_place<C>(job, cut));
    buffers.q = take(copies_second<C>(job, cut));
    buffers.slope = take(has_slope(job));
    buffers.e = cut.lanes ? buffers.z : take(job.out);
    buffers.spare = take(drains<C>(job, cut));
    buffers.rows = (C*)p;
    if (!cut.lanes)
      for (int i = 0; i < 5 * Simd<C>::W * Simd<C>::W; ++i) state.lanes[i] = 0;
  }
};
