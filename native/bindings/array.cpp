#include "array.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

#include "tensor.hpp"

namespace nb = nanobind;

namespace lastlayer {

void refuse(const char* name, const std::string& what) {
  throw std::invalid_argument(std::string(name) + ": " + what);
}

namespace {

// The struct module's letters.
Dtype dtype_of_buffer(const char* format, bool bfloat, const char* name) {
  const char* f = format;
  if (*f == '@' || *f == '=' || *f == '<') ++f;
  if (f[0] != 0 && f[1] == 0) {
    const bool long64 = sizeof(long) == 8;
    switch (*f) {
      case 'e': return Dtype::f16;
      case 'f': return Dtype::f32;
      case 'd': return Dtype::f64;
      case '?':
      case 'B': return Dtype::u8;
      case 'b': return Dtype::i8;
      case 'h': return Dtype::i16;
      case 'H': return bfloat ? Dtype::bf16 : Dtype::u16;
      case 'i': return Dtype::i32;
      case 'I': return Dtype::u32;
      case 'l': return long64 ? Dtype::i64 : Dtype::i32;
      case 'L': return long64 ? Dtype::u64 : Dtype::u32;
      case 'q': return Dtype::i64;
      case 'Q': return Dtype::u64;
      default: break;
    }
  }
  refuse(name, std::string("unsupported format ") + f);
}

Dtype dtype_of_tensor(const TensorView& t, const char* name) {
  using T = TensorView;
  if (t.lanes == 1) switch (t.code << 8 | t.bits) {
      case T::floats << 8 | 16: return Dtype::f16;
      case T::floats << 8 | 32: return Dtype::f32;
      case T::floats << 8 | 64: return Dtype::f64;
      case T::bfloats << 8 | 16: return Dtype::bf16;
      case T::bools << 8 | 8:
      case T::unsigneds << 8 | 8: return Dtype::u8;
      case T::unsigneds << 8 | 16: return Dtype::u16;
      case T::unsigneds << 8 | 32: return Dtype::u32;
      case T::unsigneds << 8 | 64: return Dtype::u64;
      case T::ints << 8 | 8: return Dtype::i8;
      case T::ints << 8 | 16: return Dtype::i16;
      case T::ints << 8 | 32: return Dtype::i32;
      case T::ints << 8 | 64: return Dtype::i64;
      default: break;
    }
  throw nb::type_error((std::string(name) + ": a tensor of unsupported dtype; DLPack calls it code " +
                        std::to_string(t.code) + " of " + std::to_string(t.bits) + " bits, " +
                        std::to_string(t.lanes) + " lanes")
                           .c_str());
}

}  // namespace

void Array::open(nb::handle object, bool writable, bool bfloat, const char* name) {
  if (PyObject_CheckBuffer(object.ptr()))
    open_buffer(object, writable, bfloat, name);
  else
    open_tensor(object, writable, name);
  count(name);
  given = true;
}

void Array::open_buffer(nb::handle object, bool writable, bool bfloat, const char* name) {
  Py_buffer& view = keeper_.buffer;
  if (PyObject_GetBuffer(object.ptr(), &view,
                         PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) != 0) {
    view.obj = nullptr;
    throw nb::python_error();
  }
  dtype = dtype_of_buffer(view.format ? view.format : "B", bfloat, name);
  item_size = size_of(dtype);
  if (view.itemsize != item_size) refuse(name, "unexpected item size");
  if (view.ndim > max_axes) refuse(name, "too many axes");
  data = (char*)view.buf;
  axes = view.ndim;
  for (int d = 0; d < axes; ++d) shape[d] = view.shape[d], strides[d] = view.strides[d];
}

void Array::open_tensor(nb::handle object, bool writable, const char* name) {
  keeper_.tensor = nb::borrow(object);
  TensorView t;
  if (!view_tensor(object, writable, name, t))
    throw nb::type_error((std::string(name) + ": " + Py_TYPE(object.ptr())->tp_name +
                          " is neither an array nor a tensor of PyTorch 2.10 or later")
                             .c_str());
  dtype = dtype_of_tensor(t, name);
  item_size = size_of(dtype);
  if (t.axes < 0 || t.axes > max_axes) refuse(name, "too many axes");
  data = t.data ? (char*)t.data + t.offset : nullptr;
  axes = t.axes;
  // Unsigned arithmetic: the stride of an axis of length 0 or 1 may be any number, and is not used.
  std::uint64_t dense = (std::uint64_t)item_size;
  for (int d = axes - 1; d >= 0; --d) {
    shape[d] = t.shape[d];
    strides[d] = (std::int64_t)(t.strides ? (std::uint64_t)t.strides[d] * (std::uint64_t)item_size : dense);
    dense *= (std::uint64_t)shape[d];
  }
}

void Array::count(const char* name) {
  bool empty = false;
  for (int d = 0; d < axes; ++d) {
    if (shape[d] < 0) refuse(name, "a negative length");
    empty = empty || shape[d] == 0;
  }
  items = empty ? 0 : 1;
  for (int d = 0; d < axes && !empty; ++d) {
    if (shape[d] > INT64_MAX / items) refuse(name, "too many elements");
    items *= shape[d];
  }
  // Fake tensors, subclasses that hold others, storage that was resized to nothing.
  if (items > 0 && !data) throw nb::type_error((std::string(name) + ": a tensor without memory").c_str());
  aligned = is_aligned();
}

// Memory from torch.frombuffer, of a record's field or of another library may begin at any byte.
bool Array::is_aligned() const {
  if (items == 0) return true;
  const std::int64_t size = item_size;
  bool all = (std::uintptr_t)data % (std::uintptr_t)size == 0;
  for (int d = 0; d < axes; ++d) all = all && (shape[d] == 1 || strides[d] % size == 0);
  return all;
}

void Array::align() {
  if (aligned) return;
  const std::size_t bytes = (std::size_t)items * (std::size_t)item_size;
  copy_.reset(new char[bytes]);
  std::memcpy(copy_.get(), data, bytes);
  data = copy_.get();
  aligned = true;
}

bool Array::contiguous() const {
  if (items == 0) return true;
  std::int64_t dense = item_size;
  for (int d = axes - 1; d >= 0; --d) {
    if (shape[d] == 1) continue;
    if (strides[d] != dense) return false;
    dense *= shape[d];
  }
  return true;
}

}  // namespace lastlayer
