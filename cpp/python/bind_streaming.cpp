#include "bindings.h"

namespace helip::python {
namespace {

void bind_growing_pairs(py::module_& module) {
  // Shared with the samplers that draw from it.
  py::class_<GrowingPairs, std::shared_ptr<GrowingPairs>>(module, "GrowingPairs")
      .def(py::init<std::int64_t, std::int64_t>(), py::arg("rows"), py::arg("k"))
      .def("__len__", &GrowingPairs::size)
      .def_property_readonly("k", &GrowingPairs::k)
      .def_property_readonly("known", &GrowingPairs::known)
      .def_property_readonly("pairs", &GrowingPairs::pairs)
      .def(
          "offer",
          [](GrowingPairs& self, const Dense<std::int64_t>& targets, const Dense<std::int64_t>& ids,
             const Dense<float>& scores, const Dense<std::int32_t>& counts) {
            const std::vector<std::int64_t> rows = values_of(targets);
            const HardPairBand band = band_of(0, ids, scores, counts);
            const py::gil_scoped_release release;
            self.offer(rows, band);
          },
          py::arg("targets"), py::arg("ids"), py::arg("scores"), py::arg("counts"))
      .def(
          "assign",
          [](GrowingPairs& self, const Dense<std::int64_t>& targets, const Dense<std::int64_t>& ids,
             const Dense<float>& scores, const Dense<std::int32_t>& counts) {
            const std::vector<std::int64_t> rows = values_of(targets);
            const HardPairBand band = band_of(0, ids, scores, counts);
            const py::gil_scoped_release release;
            self.assign(rows, band);
          },
          py::arg("targets"), py::arg("ids"), py::arg("scores"), py::arg("counts"))
      .def("clear", &GrowingPairs::clear)
      .def(
          "pools",
          [](const GrowingPairs& self, const Dense<std::int64_t>& targets) {
            const std::vector<std::int64_t> rows = values_of(targets);
            HardPairBand band;
            {
              const py::gil_scoped_release release;
              band = self.pools(rows);
            }
            return arrays_of(std::move(band));
          },
          py::arg("targets"))
      .def("known_targets", [](const GrowingPairs& self) { return array_of(self.known_targets()); })
      .def(
          "table",
          [](const GrowingPairs& self, const std::string& data_fingerprint,
             const std::string& options_json) {
            return self.table({"", data_fingerprint, options_json, "{}"});
          },
          py::kw_only(), py::arg("data_fingerprint"), py::arg("options_json"),
          py::call_guard<py::gil_scoped_release>());
}

void bind_streaming_miner(py::module_& module) {
  py::class_<StreamingMiner>(module, "StreamingMiner")
      .def(py::init([](std::int64_t image_dim, std::int64_t text_dim, std::int64_t memory,
                       std::int64_t k, double image_max, double text_max, double min_score,
                       bool signed_products, int threads) {
             return StreamingMiner(
                 image_dim, text_dim,
                 {memory, k, image_max, text_max, min_score, signed_products, threads});
           }),
           py::arg("image_dim"), py::arg("text_dim"), py::kw_only(), py::arg("memory"),
           py::arg("k"), py::arg("image_max"), py::arg("text_max"), py::arg("min_score"),
           py::arg("signed_products"), py::arg("threads"))
      .def("__len__", &StreamingMiner::size)
      .def_property_readonly("image_dim", &StreamingMiner::image_dim)
      .def_property_readonly("text_dim", &StreamingMiner::text_dim)
      .def(
          "add",
          [](StreamingMiner& self, const Dense<std::int64_t>& ids, const BoundView& image,
             const BoundView& text) {
            const std::vector<std::int64_t> rows = values_of(ids);
            return arrays_of(run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              return self.add(rows, image.view, text.view, callback);
            }));
          },
          py::arg("ids"), py::arg("image"), py::arg("text"))
      .def(
          "remember",
          [](StreamingMiner& self, const Dense<std::int64_t>& ids, const BoundView& image,
             const BoundView& text) {
            const std::vector<std::int64_t> rows = values_of(ids);
            const py::gil_scoped_release release;
            self.remember(rows, image.view, text.view);
          },
          py::arg("ids"), py::arg("image"), py::arg("text"))
      .def("forget", &StreamingMiner::forget)
      .def("ids", [](const StreamingMiner& self) { return array_of(self.ids()); })
      .def("rows", [](const StreamingMiner& self) {
        py::array_t<float> image(std::vector<py::ssize_t>{self.size(), self.image_dim()});
        py::array_t<float> text(std::vector<py::ssize_t>{self.size(), self.text_dim()});
        {
          float *to_image = image.mutable_data(), *to_text = text.mutable_data();
          const py::gil_scoped_release release;
          self.copy_rows(to_image, to_text);
        }
        return py::make_tuple(image, text);
      });
}

}  // namespace

void bind_streaming(py::module_& module) {
  bind_growing_pairs(module);
  bind_streaming_miner(module);
}

}  // namespace helip::python
