// An ImageSource whose bytes come from Python, such as from a network.
#include <atomic>
#include <chrono>
#include <cstring>
#include <new>
#include <span>
#include <thread>

#include "bindings.h"

namespace helip::python {
namespace {

// The threads of the core may still read when the interpreter ends, and must then leave it alone.
std::atomic<bool> ending = false;
std::atomic<std::int64_t> calls_running = 0;

// A call into Python from a thread of the core.
class Call {
 public:
  Call() {
    ++calls_running;
    if (!ending) return;
    --calls_running;
    throw SampleError("io", "the interpreter ends, so nothing is read any more");
  }
  ~Call() { --calls_running; }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
};

void end_calls() {
  ending = true;
  const py::gil_scoped_release release;
  while (calls_running > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void end_calls_at_exit() {
  static bool done = false;  // under the GIL
  if (std::exchange(done, true)) return;
  py::module_::import("atexit").attr("register")(py::cpp_function(&end_calls));
  py::module_::import("os").attr("register_at_fork")(
      py::arg("after_in_child") = py::cpp_function([] { calls_running = 0; }));
}

// What an exception of helip in Python is in the core; needs the GIL.
[[noreturn]] void rethrow(const py::error_already_set& raised) {
  const py::object& error = raised.value();
  if (raised.matches(PyExc_MemoryError)) throw std::bad_alloc();
  const py::object base = py::module_::import("helip.common.errors").attr("Error");
  if (!py::isinstance(error, base)) throw SampleError("source_error", raised.what());
  const std::string text = py::str(error);
  if (py::hasattr(error, "reason")) throw SampleError(py::str(error.attr("reason")), text);
  const std::string code = py::str(error.attr("code"));
  for (const ErrorCode each :
       {ErrorCode::mismatch, ErrorCode::unsupported, ErrorCode::corrupt, ErrorCode::io}) {
    if (code == name_of(each)) throw Error(each, text);
  }
  throw Error(ErrorCode::invalid_argument, text);
}

class PythonImages : public ImageSource {
 public:
  PythonImages(std::int64_t size, std::int64_t rows_ahead, py::object read, py::object will_need)
      : size_(size),
        rows_ahead_(rows_ahead),
        read_(std::move(read)),
        will_need_(std::move(will_need)) {
    if (rows_ahead < 1) {
      throw Error(ErrorCode::invalid_argument,
                  "rows_ahead is " + std::to_string(rows_ahead) + ", but must be 1 or more");
    }
    end_calls_at_exit();
  }
  ~PythonImages() override {
    const py::gil_scoped_acquire gil;
    read_.release().dec_ref();
    will_need_.release().dec_ref();
  }
  PythonImages(const PythonImages&) = delete;
  PythonImages& operator=(const PythonImages&) = delete;

  std::int64_t size() const noexcept override { return size_; }
  std::int64_t rows_ahead() const noexcept override { return rows_ahead_; }

  void read(std::int64_t row, std::vector<std::byte>& out) const override {
    const Call call;
    const py::gil_scoped_acquire gil;
    try {
      const auto data = read_(row).cast<py::buffer>();
      const py::buffer_info bytes = data.request();
      out.resize(static_cast<std::size_t>(bytes.size * bytes.itemsize));
      if (!out.empty()) std::memcpy(out.data(), bytes.ptr, out.size());
    } catch (const py::error_already_set& raised) {
      rethrow(raised);
    }
  }

  void will_need(std::span<const std::int64_t> rows) const noexcept override {
    try {
      const Call call;
      const py::gil_scoped_acquire gil;
      try {
        will_need_(py::array_t<std::int64_t>(static_cast<py::ssize_t>(rows.size()), rows.data()));
      } catch (const py::error_already_set&) {  // read() will say what is wrong
      }
    } catch (...) {
    }
  }

 private:
  std::int64_t size_, rows_ahead_;
  py::object read_, will_need_;
};

}  // namespace

void bind_python_images(py::module_& module) {
  py::class_<PythonImages, ImageSource, std::shared_ptr<PythonImages>>(
      module, "PythonImages", "Images that Python reads, called from threads of the core.")
      .def(py::init<std::int64_t, std::int64_t, py::object, py::object>(), py::kw_only(),
           py::arg("size"), py::arg("rows_ahead"), py::arg("read"), py::arg("will_need"));
}

}  // namespace helip::python
