#include "bindings.h"
#include "locked.h"

namespace helip::python {
namespace {

void bind_growing_pairs(py::module_& module) {
  // Shared with the samplers that draw from it.
  using Pairs = Locked<GrowingPairs>;
  py::class_<Pairs, std::shared_ptr<Pairs>>(module, "GrowingPairs")
      .def(py::init([](std::int64_t rows, std::int64_t k) {
             return std::make_shared<Pairs>(std::in_place, rows, k);
           }),
           py::arg("rows"), py::arg("k"))
      .def("__len__", [](Pairs& self) { return self.value().size(); })
      .def_property_readonly("k", [](Pairs& self) { return self.value().k(); })
      .def_property_readonly("known", alone(&GrowingPairs::known))
      .def_property_readonly("pairs", alone(&GrowingPairs::pairs))
      .def(
          "offer",
          [](Pairs& self, const Dense<std::int64_t>& targets, const Dense<std::int64_t>& ids,
             const Dense<float>& scores, const Dense<std::int32_t>& counts) {
            const std::vector<std::int64_t> rows = values_of(targets);
            const HardPairBand band = band_of(0, ids, scores, counts);
            self.run([&](GrowingPairs& pairs) { pairs.offer(rows, band); });
          },
          py::arg("targets"), py::arg("ids"), py::arg("scores"), py::arg("counts"))
      .def(
          "assign",
          [](Pairs& self, const Dense<std::int64_t>& targets, const Dense<std::int64_t>& ids,
             const Dense<float>& scores, const Dense<std::int32_t>& counts) {
            const std::vector<std::int64_t> rows = values_of(targets);
            const HardPairBand band = band_of(0, ids, scores, counts);
            self.run([&](GrowingPairs& pairs) { pairs.assign(rows, band); });
          },
          py::arg("targets"), py::arg("ids"), py::arg("scores"), py::arg("counts"))
      .def("clear", alone(&GrowingPairs::clear))
      .def(
          "pools",
          [](Pairs& self, const Dense<std::int64_t>& targets) {
            const std::vector<std::int64_t> rows = values_of(targets);
            return arrays_of(
                self.run([&](const GrowingPairs& pairs) { return pairs.pools(rows); }));
          },
          py::arg("targets"))
      .def("known_targets",
           [](Pairs& self) {
             return array_of(
                 self.run([](const GrowingPairs& pairs) { return pairs.known_targets(); }));
           })
      .def(
          "table",
          [](Pairs& self, const std::string& data_fingerprint, const std::string& options_json) {
            return self.run([&](const GrowingPairs& pairs) {
              return pairs.table({"", data_fingerprint, options_json, "{}"});
            });
          },
          py::kw_only(), py::arg("data_fingerprint"), py::arg("options_json"));
}

void bind_streaming_miner(py::module_& module) {
  using Miner = Locked<StreamingMiner>;
  py::class_<Miner>(module, "StreamingMiner")
      .def(py::init([](std::int64_t image_dim, std::int64_t text_dim, std::int64_t memory,
                       std::int64_t k, double image_max, double text_max, double min_score,
                       bool signed_products, int threads, const std::string& search) {
             return Miner(StreamingMiner(
                 image_dim, text_dim,
                 {memory, k, image_max, text_max, min_score, signed_products, threads,
                  search == "hnsw" ? StreamingSearch::hnsw : StreamingSearch::scan}));
           }),
           py::arg("image_dim"), py::arg("text_dim"), py::kw_only(), py::arg("memory"),
           py::arg("k"), py::arg("image_max"), py::arg("text_max"), py::arg("min_score"),
           py::arg("signed_products"), py::arg("threads"), py::arg("search"))
      .def("__len__", alone(&StreamingMiner::size))
      .def_property_readonly("image_dim", [](Miner& self) { return self.value().image_dim(); })
      .def_property_readonly("text_dim", [](Miner& self) { return self.value().text_dim(); })
      .def(
          "add",
          [](Miner& self, const Dense<std::int64_t>& ids, const BoundView& image,
             const BoundView& text) {
            const std::vector<std::int64_t> rows = values_of(ids);
            return arrays_of(run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              return self.alone([&](StreamingMiner& miner) {
                return miner.add(rows, image.view, text.view, callback);
              });
            }));
          },
          py::arg("ids"), py::arg("image"), py::arg("text"))
      .def(
          "remember",
          [](Miner& self, const Dense<std::int64_t>& ids, const BoundView& image,
             const BoundView& text) {
            const std::vector<std::int64_t> rows = values_of(ids);
            self.run([&](StreamingMiner& miner) { miner.remember(rows, image.view, text.view); });
          },
          py::arg("ids"), py::arg("image"), py::arg("text"))
      .def("forget", alone(&StreamingMiner::forget))
      // Ids [n], images [n, image_dim] and texts [n, text_dim], of one moment.
      .def("rows", [](Miner& self) {
        return self.run([](const StreamingMiner& miner) {
          const py::gil_scoped_acquire gil;
          py::array_t<float> image(std::vector<py::ssize_t>{miner.size(), miner.image_dim()});
          py::array_t<float> text(std::vector<py::ssize_t>{miner.size(), miner.text_dim()});
          {
            float *to_image = image.mutable_data(), *to_text = text.mutable_data();
            const py::gil_scoped_release release;
            miner.copy_rows(to_image, to_text);
          }
          return py::make_tuple(array_of(miner.ids()), image, text);
        });
      });
}

}  // namespace

void bind_streaming(py::module_& module) {
  bind_growing_pairs(module);
  bind_streaming_miner(module);
}

}  // namespace helip::python
