// The GIL: released while the kernels run, and taken again to check for an interrupt (Ctrl-C).
#pragma once

#include <Python.h>

namespace lastlayer {

// Releases the GIL for its lifetime.
class WithoutGil {
 public:
  WithoutGil();
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

// Runs Python's signal handlers. True if one of them raised: the exception is set, and the call is to end.
bool interrupted() noexcept;

}  // namespace lastlayer
