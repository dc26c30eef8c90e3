#include "tensor.hpp"

#include <atomic>
#include <string>

namespace nb = nanobind;

namespace lastlayer {
namespace {

constexpr std::int32_t cpu = 1;
constexpr std::uint32_t major_version = 1;
constexpr const char* capsule_name = "dlpack_exchange_api";

// The specification's DLPackExchangeAPI, and its header by itself.
struct Header {
  std::uint32_t major, minor;
  const Header* older;
};
struct Exchange {
  Header header;
  void (*allocate)();
  void (*owning_from_object)();
  void (*owning_to_object)();
  int (*view_from_object)(void* object,
                          TensorView* view);  // 0, or -1 with a Python exception set; may be null
  void (*stream)();
};

// torch.Tensor and its functions: found once and never released.
struct Producer {
  PyTypeObject* type;
  int (*view)(void*, TensorView*);
  PyObject* is_neg;  // methods of torch.Tensor
  PyObject* untyped_storage;
  PyObject* storage_offset;
  PyObject* nbytes;  // of torch.UntypedStorage
};

// Null for a null object, and where there is no such attribute.
nb::object attribute(nb::handle object, const char* name) {
  PyObject* found = object.is_valid() ? PyObject_GetAttrString(object.ptr(), name) : nullptr;
  if (!found) PyErr_Clear();
  return nb::steal(found);
}

const Exchange* exchange_of(nb::handle type) {
  const nb::object capsule = attribute(type, "__dlpack_c_exchange_api__");
  if (!capsule.is_valid() || !PyCapsule_IsValid(capsule.ptr(), capsule_name)) return nullptr;
  const Header* header = (const Header*)PyCapsule_GetPointer(capsule.ptr(), capsule_name);
  while (header && header->major != major_version) header = header->older;
  return (const Exchange*)header;
}

// Finds torch.Tensor; nullptr while torch is not imported, or if it lacks the exchange API. The functions are
// taken from torch.Tensor only and called for its instances only: a class written in Python can carry the
// capsule of another class, whose functions need not check their arguments.
const Producer* find() {
  static std::atomic<const Producer*> found{nullptr};
  const Producer* p = found.load(std::memory_order_acquire);
  if (p) return p;
  const nb::object module = nb::steal(PyImport_GetModule(nb::str("torch").ptr()));
  if (!module.is_valid()) {
    PyErr_Clear();
    return nullptr;
  }
  const nb::object type = attribute(module, "Tensor");
  if (!type.is_valid() || !PyType_Check(type.ptr())) return nullptr;
  const nb::object is_neg = attribute(type, "is_neg"), storage = attribute(type, "untyped_storage"),
                   offset = attribute(type, "storage_offset"),
                   nbytes = attribute(attribute(module, "UntypedStorage"), "nbytes");
  if (!is_neg.is_valid() || !storage.is_valid() || !offset.is_valid() || !nbytes.is_valid()) return nullptr;
  const Exchange* exchange = exchange_of(type);
  if (!exchange || !exchange->view_from_object) return nullptr;
  Producer* fresh = new Producer{(PyTypeObject*)type.ptr(),
                                 exchange->view_from_object,
                                 is_neg.ptr(),
                                 storage.ptr(),
                                 offset.ptr(),
                                 nbytes.ptr()};
  if (!found.compare_exchange_strong(p, fresh, std::memory_order_acq_rel)) {
    delete fresh;
    return p;
  }
  for (PyObject* kept : {type.ptr(), is_neg.ptr(), storage.ptr(), offset.ptr(), nbytes.ptr()})
    Py_INCREF(kept);
  return fresh;
}

[[noreturn]] void refuse_tensor(const char* name, const std::string& what) {
  throw nb::type_error((std::string(name) + ": " + what).c_str());
}

void read(const Producer& torch, nb::handle object, const char* name, TensorView& view) {
  if (torch.view(object.ptr(), &view) != 0) {
    nb::python_error reason;
    nb::raise_from(reason, PyExc_TypeError, "%s: a tensor whose memory cannot be read from here", name);
  }
  if (view.device != cpu)
    refuse_tensor(name,
                  "a tensor on DLPack device " + std::to_string(view.device) + "; expected one on the CPU");
}

nb::object ask(PyObject* method, nb::handle object) {
  PyObject* arguments[] = {object.ptr()};
  nb::object answer = nb::steal(PyObject_Vectorcall(method, arguments, 1, nullptr));
  if (!answer.is_valid()) throw nb::python_error();
  return answer;
}

// A view with the opposite sign, such as z.conj().imag, has the memory of the numbers before the negation.
void refuse_negated(const Producer& torch, nb::handle object, const char* name) {
  const int negated = PyObject_IsTrue(ask(torch.is_neg, object).ptr());
  if (negated < 0) throw nb::python_error();
  if (negated)
    refuse_tensor(name, "a tensor whose negation is still to be done; expected tensor.resolve_neg()");
}

// A storage can be made smaller under a tensor (untyped_storage().resize_), which keeps its shape.
void refuse_freed(const Producer& torch, nb::handle object, const char* name, const TensorView& view) {
  // In doubles, where no product of a tensor's numbers overflows; 2^53 bytes are enough.
  double last = 0;
  for (std::int32_t d = 0; d < view.axes; ++d) {
    if (view.shape[d] == 0) return;
    double step = 1;
    if (view.strides)
      step = (double)view.strides[d];
    else
      for (std::int32_t e = d + 1; e < view.axes; ++e) step *= (double)view.shape[e];
    last += step * (double)(view.shape[d] - 1);
  }
  const double item = view.bits * view.lanes / 8.0;
  const nb::object storage = ask(torch.untyped_storage, object);
  const double bytes = PyFloat_AsDouble(ask(torch.nbytes, storage).ptr());
  const double offset = PyFloat_AsDouble(ask(torch.storage_offset, object).ptr());
  if (PyErr_Occurred()) throw nb::python_error();
  if ((offset + last + 1) * item > bytes)
    refuse_tensor(name, "a tensor whose storage was freed, or made smaller than it");
}

}  // namespace

bool view_tensor(nb::handle object, bool writable, const char* name, TensorView& view) {
  const Producer* torch = find();
  if (!torch || !PyObject_TypeCheck(object.ptr(), torch->type)) return false;
  read(*torch, object, name, view);
  // A result is a new tensor, or one that tensors.py has checked.
  if (!writable && view.data) refuse_freed(*torch, object, name, view);
  // Only floating-point tensors can have a pending negation.
  if (view.code == TensorView::floats || view.code == TensorView::bfloats)
    refuse_negated(*torch, object, name);
  read(*torch, object, name, view);  // again: in a subclass, these methods may have run Python code
  return true;
}

}  // namespace lastlayer
