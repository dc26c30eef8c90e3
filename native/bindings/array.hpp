// The memory of an array for the length of a call. In: an object with the buffer protocol (the cheapest one
// for NumPy arrays), or a torch tensor on the CPU. Out: pointer, dtype, shape and strides, the same for both.
//
// A buffer is pinned while it is held. A tensor cannot be pinned: if its storage is resized during the call,
// by another thread or by Python code that the call runs, it is read or written where it was. As in torch,
// its storage is trusted to hold the elements that its shape and strides describe.
#pragma once

#include <Python.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "kernels.hpp"

namespace lastlayer {

// Raises ValueError: an argument of a call from Python is not what it has to be.
[[noreturn]] void refuse(const char* name, const std::string& what);

// Keeps an array's memory: a buffer, released in the end, or a reference to a tensor.
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

  // `bfloat`: a buffer of uint16 holds bfloat16; tensors have a dtype for it. `name` is the argument's, for
  // errors. A tensor is never read-only.
  void open(nanobind::handle object, bool writable, bool bfloat, const char* name);
  bool contiguous() const;
  // Replaces misaligned elements by a copy of them. For contiguous inputs.
  void align();
  // Keeps the memory for longer than this object.
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
