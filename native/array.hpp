// The memory of an array for the length of a call: an object with the buffer protocol (NumPy's cheapest way),
// or a torch tensor on the CPU. Whatever it came from, it is described and checked alike from here on.
//
// A buffer is pinned while it is held. A tensor is not, there being no means to: one whose storage is resized
// during the call, by another thread or by Python code of its own that the call runs, is read or written
// where it was. Its storage is trusted to hold what its shape and strides say, as by torch.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <utility>

#include "kernels.hpp"

namespace lastlayer {

// A buffer that is released in the end, or none.
class HeldBuffer {
 public:
  HeldBuffer() { view.obj = nullptr; }
  HeldBuffer(HeldBuffer&& other) noexcept : view(other.view) { other.view.obj = nullptr; }
  HeldBuffer& operator=(HeldBuffer&&) = delete;
  ~HeldBuffer() {
    if (view.obj) PyBuffer_Release(&view);
  }

  Py_buffer view;
};

class Array {
 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  // `bfloat`: a buffer of uint16 holds bfloat16. A tensor says so itself. `name` is the argument's, for
  // errors. The caller keeps `object` alive. A tensor is never read-only.
  void open(nanobind::handle object, bool writable, bool bfloat, const char* name);
  bool contiguous() const;
  // What keeps the memory, to be held for longer than this description of it.
  HeldBuffer hand_over() { return std::move(held_); }

  bool given = false;
  char* data = nullptr;
  Dtype dtype = Dtype::f32;
  int axes = 0;
  std::int64_t items = 0;
  std::int64_t shape[max_axes], strides[max_axes];  // strides in bytes, of any sign

 private:
  void open_buffer(nanobind::handle object, bool writable, bool bfloat, const char* name);
  void open_tensor(nanobind::handle object, const char* name);
  void count(const char* name);

  HeldBuffer held_;
};

}  // namespace lastlayer
