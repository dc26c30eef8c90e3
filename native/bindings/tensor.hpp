// The memory of a torch tensor, without libtorch. In: a Python object. Out: a TensorView. It uses the C
// functions of DLPack's exchange API (DLPack 1.3), which PyTorch publishes since 2.10 as
// `torch.Tensor.__dlpack_c_exchange_api__`. Specification: https://dmlc.github.io/dlpack/latest/c_api.html
// and .../python_spec.html. Only what is used is declared.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace lastlayer {

// The specification's DLTensor, by its layout in memory.
struct TensorView {
  enum Code : std::uint8_t { ints = 0, unsigneds = 1, floats = 2, bfloats = 4, bools = 6 };

  void* data;
  std::int32_t device, device_id;
  std::int32_t axes;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; before DLPack 1.2, null where contiguous
  std::uint64_t offset;   // bytes from `data` to the first element
};

// False if `object` is no torch.Tensor. Raises TypeError, with `name` as the argument's, for a tensor whose
// memory cannot be read element by element.
//
// The view's shape and strides belong to the tensor: they are valid until other code runs.
bool view_tensor(nanobind::handle object, bool writable, const char* name, TensorView& view);

}  // namespace lastlayer
