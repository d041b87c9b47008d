#include <algorithm>
#include <string>

#include "bindings.h"

namespace helip::python {
namespace {

PairSides sides_from_name(const std::string& name) {
  if (name == "image_text") return PairSides::image_text;
  if (name == "text_image") return PairSides::text_image;
  if (name == "image_image") return PairSides::image_image;
  if (name == "text_text") return PairSides::text_text;
  throw Error(ErrorCode::invalid_argument, "sides are '" + name +
                                               "'; they are image_text, text_image, image_image "
                                               "or text_text");
}

}  // namespace

void bind_cosines(py::module_& module) {
  py::class_<PairCosines>(module, "PairCosines")
      .def(py::init([](const BoundView& image, const BoundView& text, int threads,
                       const py::object& progress) {
             return run_with_progress(progress, [&](const ProgressCallback& callback) {
               return std::make_unique<PairCosines>(image.view, text.view, threads, callback);
             });
           }),
           py::arg("image"), py::arg("text"), py::arg("threads"), py::arg("progress") = py::none(),
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>())
      .def(
          "of",
          [](const PairCosines& self, const std::string& sides, std::int64_t first,
             const Dense<std::int64_t>& ids) {
            if (ids.ndim() != 2) {
              throw Error(ErrorCode::invalid_argument, "ids must have 2 dimensions: [n, k]");
            }
            const std::span<const std::int64_t> places{ids.data(),
                                                       static_cast<std::size_t>(ids.size())};
            const std::vector<double> found =
                run_with_progress(py::none(), [&](const ProgressCallback& callback) {
                  return self.of(sides_from_name(sides), first, places, ids.shape(1), callback);
                });
            py::array_t<double> array({ids.shape(0), ids.shape(1)});
            std::copy(found.begin(), found.end(), array.mutable_data());
            return array;
          },
          py::arg("sides"), py::arg("first"), py::arg("ids"));
}

}  // namespace helip::python
