// Which instruction set runs: the widest that this processor has, or the one named by LASTLAYER_ISA.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace lastlayer {

std::vector<const Table*> available();  // widest first
const Table* current();
bool choose(const std::string& name);  // false if this machine cannot run it
void run_job(Job& job, int threads, bool hosted, bool (*interrupted)(), bool* stopped);

}  // namespace lastlayer
