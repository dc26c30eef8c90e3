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
#include <memory>
#include <utility>

#include "kernels.hpp"

namespace lastlayer {

// What keeps an array's memory: a buffer, released in the end, or a reference to a tensor.
class Keeper {
 public:
  Keeper() { buffer.obj = nullptr; }
  Keeper(Keeper&& other) noexcept : buffer(other.buffer), tensor(std::move(other.tensor)) {
    other.buffer.obj = nullptr;
  }
  Keeper& operator=(Keeper&&) = delete;
  ~Keeper() {
    if (buffer.obj) PyBuffer_Release(&buffer);
  }

  Py_buffer buffer;
  nanobind::object tensor;
};

class Array {
 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  // `bfloat`: a buffer of uint16 holds bfloat16. A tensor says so itself. `name` is the argument's, for
  // errors. A tensor is never read-only.
  void open(nanobind::handle object, bool writable, bool bfloat, const char* name);
  bool contiguous() const;
  // Replaces misaligned elements by a copy of them. For contiguous inputs.
  void align();
  // To be held for longer than this description of the memory.
  Keeper hand_over() { return std::move(keeper_); }

  bool given = false;
  char* data = nullptr;
  Dtype dtype = Dtype::f32;
  int item_size = 4;  // bytes
  int axes = 0;
  std::int64_t items = 0;
  std::int64_t shape[max_axes], strides[max_axes];  // strides in bytes, of any sign
  bool aligned = true;                              // every element lies at a multiple of its size

 private:
  void open_buffer(nanobind::handle object, bool writable, bool bfloat, const char* name);
  void open_tensor(nanobind::handle object, bool writable, const char* name);
  void count(const char* name);
  bool is_aligned() const;

  Keeper keeper_;
  std::unique_ptr<char[]> copy_;
};

}  // namespace lastlayer
