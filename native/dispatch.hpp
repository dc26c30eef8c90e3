// Which instruction set runs: the widest that this processor has, or the one named by LASTLAYER_ISA.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace lastlayer {

std::vector<const Table*> available();  // widest first
const Table* current();
bool choose(const std::string& name);  // false if this machine cannot run it

// Who runs a call, and what may end it.
struct Runner {
  int threads = 1;
  bool hosted = false;                       // by the process's OpenMP runtime: see pool.hpp
  bool (*interrupted)() noexcept = nullptr;  // asked on the calling thread; null: the call runs to its end
};
// Runs the job on the current instruction set. False if it was interrupted: then the results are unusable.
bool run_job(Job& job, const Runner& runner);

}  // namespace lastlayer
