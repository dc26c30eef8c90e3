#include "gil.hpp"

#include <chrono>
#include <thread>

namespace lastlayer {
namespace {

// Python ends a thread that asks for the GIL after the interpreter has shut down (up to 3.13 by unwinding its
// stack, which the destructors on it would turn into an abort). Such a thread waits for the end of the
// process instead.
template <class Take>
void take_gil(Take&& take) {
  try {
    take();
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

}  // namespace

WithoutGil::WithoutGil() : state_(PyEval_SaveThread()) {}
WithoutGil::~WithoutGil() {
  take_gil([&] { PyEval_RestoreThread(state_); });
}

bool interrupted() noexcept {
  PyGILState_STATE state;
  take_gil([&] { state = PyGILState_Ensure(); });
  const bool yes = PyErr_CheckSignals() != 0;
  PyGILState_Release(state);
  return yes;
}

}  // namespace lastlayer
