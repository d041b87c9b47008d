#include <helip.h>

#include "bindings.h"

namespace helip::python {
namespace {

const char* class_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "InvalidArgumentError";
    case ErrorCode::corrupt: return "CorruptError";
    case ErrorCode::mismatch: return "MismatchError";
    case ErrorCode::io: return "StorageError";
    case ErrorCode::cancelled: return "CancelledError";
    case ErrorCode::unsupported: return "UnsupportedError";
    case ErrorCode::out_of_memory: return "OutOfMemoryError";
    case ErrorCode::sample: return "SampleError";
  }
  return "Error";
}

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const py::object type = py::module_::import("helip.common.errors").attr(class_of(error.code()));
    // A message may quote bytes of a damaged file.
    const std::string text = error.what();
    const auto message = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(text.data(), static_cast<py::ssize_t>(text.size()), "replace"));
    const py::object raised = type(message);
    if (const auto* sample = dynamic_cast<const SampleError*>(&error)) {
      raised.attr("reason") = sample->reason();
    }
    if (error.system_errno() != 0) raised.attr("errno") = error.system_errno();
    PyErr_SetObject(type.ptr(), raised.ptr());
  } catch (const std::bad_alloc&) {  // of the binding itself
    const py::object type = py::module_::import("helip.common.errors").attr("OutOfMemoryError");
    PyErr_SetString(type.ptr(),
                    "an allocation failed; give the process more memory, or end what "
                    "else takes it");
  }
}

// Before anything of the library is used: LD_LIBRARY_PATH may name another one.
void require_own_library() {
  const int loaded = helip_version_number();
  if (loaded == HELIP_VERSION) return;
  const auto text = [](int version) {
    return std::to_string(version / 1000000) + "." + std::to_string(version / 1000 % 1000) + "." +
           std::to_string(version % 1000);
  };
  throw py::import_error("helip._core was compiled for helip " + text(HELIP_VERSION) +
                         ", but the libhelip.so that is loaded is " + text(loaded) +
                         "; install helip again, and look whether LD_LIBRARY_PATH names another");
}

}  // namespace

void warn_of_threads() {
  const auto notice = take_thread_notice();
  if (notice && PyErr_WarnEx(PyExc_RuntimeWarning, notice->c_str(), 1) != 0) {
    throw py::error_already_set();
  }
}

py::array array_over(const MatrixView& view, const py::object& owner, bool one_dimensional) {
  py::dtype dtype;
  switch (view.dtype) {
    case DType::bfloat16: dtype = py::dtype("uint16"); break;
    default: dtype = py::dtype(name_of(view.dtype)); break;
  }
  std::vector<py::ssize_t> shape{view.rows};
  std::vector<py::ssize_t> strides{view.row_stride};
  if (!one_dimensional) {
    shape.push_back(view.cols);
    strides.push_back(size_of(view.dtype));
  }
  py::array array(dtype, shape, strides, view.data, owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

py::tuple arrays_of(HardPairBand band) {
  const auto rows = static_cast<py::ssize_t>(band.counts.size());
  const auto k = static_cast<py::ssize_t>(band.k);
  const auto copy = [](const auto& values, std::vector<py::ssize_t> shape) {
    using Value = typename std::decay_t<decltype(values)>::value_type;
    return py::array_t<Value>(std::move(shape), values.data());
  };
  return py::make_tuple(copy(band.ids, {rows, k}), copy(band.scores, {rows, k}),
                        copy(band.counts, {rows}));
}

HardPairBand band_of(std::int64_t first, const Dense<std::int64_t>& ids, const Dense<float>& scores,
                     const Dense<std::int32_t>& counts) {
  HardPairBand band{first, ids.ndim() == 2 ? ids.shape(1) : 0, values_of(ids), values_of(scores),
                    values_of(counts)};
  if (band.ids.size() != band.scores.size() ||
      band.ids.size() != band.counts.size() * static_cast<std::size_t>(band.k)) {
    throw Error(ErrorCode::invalid_argument,
                "ids and scores must be [n, k], counts [n] of one n and k");
  }
  return band;
}

}  // namespace helip::python

PYBIND11_MODULE(_core, module) {
  namespace py = pybind11;
  helip::python::require_own_library();
  module.doc() = "The torch-free C++ core of helip.";
  module.attr("__version__") = helip::version();
  py::register_exception_translator(&helip::python::translate);
  helip::python::bind_store(module);
  helip::python::bind_mine(module);
  helip::python::bind_streaming(module);
  helip::python::bind_batches(module);
  helip::python::bind_index(module);
  helip::python::bind_cosines(module);
  helip::python::bind_image(module);
  helip::python::bind_order(module);
  helip::python::bind_samples(module);
  helip::python::bind_assembler(module);  // of what those before it bind
  helip::python::bind_python_images(module);
}
