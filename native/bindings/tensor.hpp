// A torch tensor's memory, without libtorch: the C functions of DLPack's exchange API (DLPack 1.3), which
// PyTorch publishes since 2.10 as `torch.Tensor.__dlpack_c_exchange_api__`. Specification:
// https://dmlc.github.io/dlpack/latest/c_api.html and .../python_spec.html. Declared here is what is used.
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

// False if `object` is no torch.Tensor; then nothing has happened. Raises TypeError, with `name` for the
// argument's, where a tensor has no memory that this process can read element by element.
//
// The view is the tensor's own: its shape and strides last until any other code runs.
bool view_tensor(nanobind::handle object, bool writable, const char* name, TensorView& view);

}  // namespace lastlayer
