#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_set>

#include "bindings.h"

namespace helip::python {
namespace {

using Ids = py::array_t<std::int64_t, py::array::c_style>;

std::vector<std::int64_t> values_of(const Ids& ids) {
  return {ids.data(), ids.data() + ids.size()};
}

template <typename T>
py::array_t<T> array_of(const std::vector<T>& values, std::int64_t rows, std::int64_t k) {
  py::array_t<T> array({rows, k});
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

py::tuple matches_of(const PairMatches& found) {
  const auto rows = static_cast<std::int64_t>(found.counts.size());
  return py::make_tuple(array_of(found.ids, rows, found.k), array_of(found.scores, rows, found.k));
}

// Of the ids that are listed, or of all others.
PairFilter filter_of(const std::optional<Ids>& listed, bool among) {
  if (!listed) return {};
  const std::vector<std::int64_t> values = values_of(*listed);
  auto ids = std::make_shared<const std::unordered_set<std::int64_t>>(values.begin(), values.end());
  return [ids, among](std::int64_t id) { return (ids->count(id) > 0) == among; };
}

PairIndexOptions options_of(double image_max, double text_max, std::int64_t degree,
                            std::int64_t breadth, std::uint64_t seed) {
  return {image_max, text_max, degree, breadth, seed};
}

}  // namespace

void bind_index(py::module_& module) {
  py::class_<PairIndexOptions>(module, "PairIndexOptions")
      .def(py::init(&options_of), py::kw_only(), py::arg("image_max"), py::arg("text_max"),
           py::arg("degree"), py::arg("breadth"), py::arg("seed"))
      .def_readonly("image_max", &PairIndexOptions::image_max)
      .def_readonly("text_max", &PairIndexOptions::text_max)
      .def_readonly("degree", &PairIndexOptions::degree)
      .def_readonly("breadth", &PairIndexOptions::breadth)
      .def_readonly("seed", &PairIndexOptions::seed);
  py::class_<PairIndex>(module, "PairIndex")
      .def_static(
          "build",
          [](const BoundView& image, const BoundView& text, const PairIndexOptions& options,
             const Ids& ids, int threads, const py::object& progress) {
            const std::vector<std::int64_t> own = values_of(ids);
            return run_with_progress(progress, [&](const ProgressCallback& callback) {
              return PairIndex::build(image.view, text.view, options, own, threads, callback);
            });
          },
          py::arg("image"), py::arg("text"), py::arg("options"), py::arg("ids"), py::arg("threads"),
          py::arg("progress") = py::none())
      .def_static(
          "open",
          [](const std::filesystem::path& path) {
            return run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              return PairIndex::open(path, callback);
            });
          },
          py::arg("path"))
      .def(
          "save",
          [](const PairIndex& self, const std::filesystem::path& path) {
            run_with_progress(py::none(),
                              [&](const ProgressCallback& callback) { self.save(path, callback); });
          },
          py::arg("path"))
      .def_static(
          "open_hnswlib",
          [](const std::filesystem::path& path, std::int64_t image_dimensions,
             const PairIndexOptions& options, int threads) {
            return run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              return PairIndex::open_hnswlib(path, image_dimensions, options, threads, callback);
            });
          },
          py::arg("path"), py::arg("image_dim"), py::arg("options"), py::arg("threads"))
      .def(
          "save_hnswlib",
          [](const PairIndex& self, const std::filesystem::path& path) {
            run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              self.save_hnswlib(path, callback);
            });
          },
          py::arg("path"))
      .def(
          "query",
          [](const PairIndex& self, const BoundView& image, const BoundView& text, std::int64_t k,
             std::int64_t breadth, int threads, const std::optional<Ids>& listed, bool among) {
            const PairFilter allows = filter_of(listed, among);
            return matches_of(run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              return self.query(image.view, text.view, k, breadth, threads, callback, allows);
            }));
          },
          py::arg("image"), py::arg("text"), py::arg("k"), py::arg("breadth"), py::arg("threads"),
          py::arg("listed"), py::arg("among"))
      .def(
          "near",
          [](const PairIndex& self, const Ids& ids, std::int64_t k, std::int64_t breadth,
             int threads, const std::optional<Ids>& listed, bool among) {
            const std::vector<std::int64_t> own = values_of(ids);
            const PairFilter allows = filter_of(listed, among);
            return matches_of(run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              return self.near(own, k, breadth, threads, callback, allows);
            }));
          },
          py::arg("ids"), py::arg("k"), py::arg("breadth"), py::arg("threads"), py::arg("listed"),
          py::arg("among"))
      .def(
          "add",
          [](PairIndex& self, const BoundView& image, const BoundView& text, const Ids& ids,
             int threads) {
            const std::vector<std::int64_t> own = values_of(ids);
            run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              self.add(image.view, text.view, own, threads, callback);
            });
          },
          py::arg("image"), py::arg("text"), py::arg("ids"), py::arg("threads"))
      .def(
          "replace",
          [](PairIndex& self, const BoundView& image, const BoundView& text, const Ids& ids,
             int threads) {
            const std::vector<std::int64_t> own = values_of(ids);
            run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              self.replace(image.view, text.view, own, threads, callback);
            });
          },
          py::arg("image"), py::arg("text"), py::arg("ids"), py::arg("threads"))
      .def(
          "remove",
          [](PairIndex& self, const Ids& ids) {
            const std::vector<std::int64_t> gone = values_of(ids);
            const py::gil_scoped_release release;
            self.remove(gone);
          },
          py::arg("ids"))
      .def("ids",
           [](const PairIndex& self) {
             const std::vector<std::int64_t> ids = [&] {
               const py::gil_scoped_release release;
               return self.ids();
             }();
             return Ids(static_cast<py::ssize_t>(ids.size()), ids.data());
           })
      // add() may hold the lock for long.
      .def("__len__", &PairIndex::size, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("nbytes",
                             [](const PairIndex& self) {
                               const py::gil_scoped_release release;
                               return self.bytes();
                             })
      .def_property_readonly("image_dim", &PairIndex::image_dimensions)
      .def_property_readonly("text_dim", &PairIndex::text_dimensions)
      .def_property_readonly("options", &PairIndex::options);
}

}  // namespace helip::python
