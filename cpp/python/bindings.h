// Shared by the binding files. Bindings check arguments and handle the GIL; logic lives in the
// core.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "helip/data.h"
#include "helip/helip.h"
#include "path_caster.h"

namespace helip::python {

namespace py = pybind11;

void bind_store(py::module_& module);
void bind_mine(py::module_& module);
void bind_streaming(py::module_& module);
void bind_assembler(py::module_& module);
void bind_batches(py::module_& module);
void bind_cosines(py::module_& module);
void bind_index(py::module_& module);
void bind_order(py::module_& module);
void bind_python_images(py::module_& module);
void bind_samples(py::module_& module);
void bind_image(py::module_& module);

// A MatrixView that keeps the Python owner of its memory alive.
struct BoundView {
  MatrixView view;
  py::object owner;
  py::object scale_owner;
};

inline std::vector<MatrixView> views_of(const std::vector<BoundView>& bound) {
  std::vector<MatrixView> views;
  for (const BoundView& each : bound) views.push_back(each.view);
  return views;
}

// A read-only array over memory that `owner` keeps alive. bfloat16 shows as uint16 bits.
py::array array_over(const MatrixView& view, const py::object& owner, bool one_dimensional = false);

template <typename Value>
using Dense = py::array_t<Value, py::array::c_style>;

template <typename Value>
std::vector<Value> values_of(const Dense<Value>& array) {
  return {array.data(), array.data() + array.size()};
}

template <typename Value>
py::array_t<Value> array_of(const std::vector<Value>& values) {
  return py::array_t<Value>(static_cast<py::ssize_t>(values.size()), values.data());
}

// Pools as ids [n, k], scores [n, k] and counts [n], and back.
py::tuple arrays_of(HardPairBand band);
HardPairBand band_of(std::int64_t first, const Dense<std::int64_t>& ids, const Dense<float>& scores,
                     const Dense<std::int32_t>& counts);

// Shows what take_thread_notice() says as a RuntimeWarning.
void warn_of_threads();

// Runs a call that may use threads without the GIL.
template <typename Call>
auto run_without_gil(Call call) {
  if constexpr (std::is_void_v<decltype(call())>) {
    {
      const py::gil_scoped_release release;
      call();
    }
    warn_of_threads();
  } else {
    auto result = [&] {
      const py::gil_scoped_release release;
      return call();
    }();
    warn_of_threads();
    return result;
  }
}

// Runs a long call without the GIL. The callback is asked on the calling thread; a Python exception
// in it, or Ctrl-C, stops the job and is raised in place of the core's Error(cancelled).
template <typename Call>
auto run_with_progress(const py::object& callback, Call call) {
  std::exception_ptr raised;
  const ProgressCallback progress = [&](const Progress& state) {
    const py::gil_scoped_acquire gil;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (callback.is_none()) return true;
      const py::object answer = callback(state.stage, state.done, state.total);
      return answer.is_none() || answer.cast<bool>();
    } catch (...) {
      raised = std::current_exception();
      return false;
    }
  };
  try {
    return run_without_gil([&] { return call(progress); });
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled && raised) std::rethrow_exception(raised);
    throw;
  }
}

}  // namespace helip::python
