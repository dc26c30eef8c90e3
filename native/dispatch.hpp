// The instruction set in use, and calls on it. In: a Job, and the threads that may run it. Out: its results,
// or that it was interrupted. Unless one is chosen, it is the widest that this processor has.
#pragma once

#include <string>
#include <vector>

#include "job.hpp"

namespace lastlayer {

std::vector<const Table*> available();  // widest first
const Table* current();
bool choose(const std::string& name);  // false if this machine cannot run it

// The threads of a call, and the question that may end it early.
struct Runner {
  int threads = 1;
  bool hosted = false;                       // on the process's OpenMP runtime: see pool.hpp
  bool (*interrupted)() noexcept = nullptr;  // called on the calling thread; null: the call runs to its end
};
// Runs the job on the current instruction set. False if it was interrupted: then the results are unusable.
bool run_job(const Job& job, const Runner& runner);

}  // namespace lastlayer
