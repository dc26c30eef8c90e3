// A task on one instruction set. In: a Job, its Cut, and a range of rows. Out: their results. Each block of
// rows goes through load -> peak -> exponentials -> finish -> write, along the classes or as columns.

template <class C>
void run_as(const Job& job, const Cut& cut, const Task& task) {
  Workspace<C> work(job, cut, task);
  const bool one = picks_one(job), few = !one && has_few<C>(job, cut);
  for (std::int64_t row = task.begin; row < task.end; row += cut.block) {
    const Block block{row, (int)least(cut.block, task.end - row)};
    load_targets(job.target, job.shape.classes, work.state, block);
    if (few) {
      few_block(job, work, block);
      continue;
    }
    if (one)
      pick_block(job, work.state, block);
    else if (cut.lanes)
      lane_block(job, work, block);
    else
      row_block(job, work, block);
    if (!job.out || job.op == Op::grad) store_row_results(job.losses, job.results, work.state, block);
  }
  work.buffers.drain.all();
  Simd<C>::fence();
}

#if defined(LASTLAYER_CHECKED)
// Memory that is accessed as objects of its type is aligned.
inline bool is_aligned(const void* p, std::size_t size) { return (std::uintptr_t)p % size == 0; }
inline bool keeps_alignment(const Shape& shape, const Operand* a) {
  if (!a) return true;
  const int size = size_of(a->dtype);
  bool kept = is_aligned(a->data, (std::size_t)size) && (shape.classes == 1 || a->class_stride % size == 0);
  for (int d = 0; d < shape.axes; ++d) kept = kept && a->stride[d] % size == 0;
  return kept || !a->aligned;
}
inline void check_alignment(const Job& job, const char* arena) {
  const RowResults& o = job.results;
  const Operand* const operands[] = {&job.x, job.second, job.out, job.transform.mask};
  const void* const wide[] = {job.target.sample_weight,
                              job.known.rest,
                              job.known.mass,
                              job.known.tilt,
                              job.target_score,
                              job.top.threshold,
                              job.top.label,
                              o.rest,
                              o.gap,
                              o.mass,
                              o.spread,
                              o.square,
                              o.moment,
                              o.argmax,
                              o.rank};
  const void* const results[] = {o.lse, o.confidence, job.top.probability};
  const void* const computing[] = {job.target.class_weight, job.known.peak};
  LL_ASSERT(is_aligned(arena, 64));
  for (const Operand* a : operands) LL_ASSERT(keeps_alignment(job.shape, a));
  for (const void* p : wide) LL_ASSERT(is_aligned(p, 8));
  for (const void* p : results) LL_ASSERT(is_aligned(p, o.wide ? 8 : 4));
  LL_ASSERT(is_aligned(job.losses.at, job.losses.wide ? 8 : 4));
  LL_ASSERT(is_aligned(o.peak, o.wide_peak ? 8 : 4));
  for (const void* p : computing) LL_ASSERT(is_aligned(p, job.in_double ? 8 : 4));
}
#endif

inline Cut plan(const Job& job) { return job.in_double ? plan_as<double>(job) : plan_as<float>(job); }
inline void run(const Job& job, const Cut& cut, const Task& task) {
#if defined(LASTLAYER_CHECKED)
  check_alignment(job, task.arena);
#endif
  job.in_double ? run_as<double>(job, cut, task) : run_as<float>(job, cut, task);
}
