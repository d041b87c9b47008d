#include "bindings.h"

namespace helip::python {

void bind_order(py::module_& module) {
  module.def(
      "locality_order",
      [](const HardPairs& pairs, std::int64_t block, std::int64_t rank_max, std::uint64_t seed,
         const py::object& progress) {
        LocalityOptions options;
        options.block = block;
        options.rank_max = rank_max;
        options.seed = seed;
        return array_of(run_with_progress(progress, [&](const ProgressCallback& callback) {
          return locality_order(pairs, options, callback);
        }));
      },
      py::arg("pairs"), py::kw_only(), py::arg("block") = 64, py::arg("rank_max") = 0,
      py::arg("seed") = 0, py::arg("progress") = py::none());
}

}  // namespace helip::python
