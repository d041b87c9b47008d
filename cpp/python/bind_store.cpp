#include <span>
#include <string_view>

#include "bindings.h"
#include "locked.h"

namespace helip::python {
namespace {

BoundView make_view(std::uintptr_t address, std::int64_t rows, std::int64_t cols,
                    const std::string& dtype, std::int64_t row_stride, py::object owner,
                    std::uintptr_t scale, py::object scale_owner) {
  MatrixView view = MatrixView::of(reinterpret_cast<const void*>(address), dtype_from_name(dtype),
                                   rows, cols, row_stride);
  view.scale = reinterpret_cast<const float*>(scale);
  return {view, std::move(owner), std::move(scale_owner)};
}

py::array scale_array(const MatrixView& view, const py::object& owner) {
  const MatrixView scale{view.scale, view.scale == nullptr ? 0 : view.rows, 1, DType::float32, 4,
                         nullptr};
  return array_over(scale, owner, true);
}

py::object digests_of(const py::object& self, const std::uint64_t* digests) {
  if (digests == nullptr) return py::none();
  const std::int64_t rows = self.cast<const EmbeddingStore&>().size();
  return array_over(MatrixView::of(digests, DType::uint64, rows, 1), self, true);
}

std::span<const std::uint64_t> span_of(const Dense<std::uint64_t>& digests) {
  return {digests.data(), static_cast<std::size_t>(digests.size())};
}

py::array_t<std::uint64_t> caption_digests_of(const std::vector<std::string>& captions) {
  std::vector<std::uint64_t> digests;
  for (const std::string& caption : captions) digests.push_back(caption_digest(caption));
  return array_of(digests);
}

// Of the strings of a blob that `rows` name.
py::array_t<std::uint64_t> packed_caption_digests(const py::bytes& blob,
                                                  const Dense<std::int64_t>& offsets,
                                                  const Dense<std::int64_t>& rows) {
  const std::string_view bytes(blob);
  std::vector<std::uint64_t> digests;
  for (py::ssize_t i = 0; i < rows.size(); ++i) {
    const std::int64_t row = rows.data()[i];
    const std::int64_t last = row < 0 || row + 1 >= offsets.size() ? -1 : offsets.data()[row + 1];
    if (last < 0 || last > static_cast<std::int64_t>(bytes.size())) {
      throw Error(ErrorCode::invalid_argument, "row " + std::to_string(row) + " is not packed");
    }
    const std::int64_t first = offsets.data()[row];
    digests.push_back(caption_digest(
        bytes.substr(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first))));
  }
  return array_of(digests);
}

void add_rows(DataFingerprint& self, const std::vector<std::string>& keys,
              const Dense<std::uint64_t>& images, const Dense<std::uint64_t>& captions) {
  const auto rows = static_cast<py::ssize_t>(keys.size());
  if (images.size() != rows || captions.size() != rows) {
    throw Error(ErrorCode::invalid_argument, "there must be one digest of each kind a key");
  }
  for (py::ssize_t i = 0; i < rows; ++i) {
    self.add(keys[static_cast<std::size_t>(i)], images.data()[i], captions.data()[i]);
  }
}

py::array_t<bool> may_be_same_images(const Dense<std::uint64_t>& a, const Dense<std::uint64_t>& b) {
  if (a.size() != b.size()) {
    throw Error(ErrorCode::invalid_argument, "there must be as many digests on both sides");
  }
  py::array_t<bool> same(a.size());
  for (py::ssize_t i = 0; i < a.size(); ++i) {
    same.mutable_data()[i] = may_be_same_image(a.data()[i], b.data()[i]);
  }
  return same;
}

std::vector<std::string> keys_of_rows(const EmbeddingStore& store, std::int64_t first,
                                      std::int64_t last) {
  std::vector<std::string> keys;
  for (std::int64_t i = first; i < last; ++i) keys.emplace_back(store.key(i));
  return keys;
}

py::list pairs_of(const std::vector<std::pair<double, double>>& values) {
  py::list list;
  for (const auto& [q, value] : values) list.append(py::make_tuple(q, value));
  return list;
}

py::dict statistics_of(const HardPairs& pairs) {
  const HardPairStatistics s = run_with_progress(
      py::none(), [&](const ProgressCallback& callback) { return pairs.statistics(callback); });
  py::list hubs;
  for (const auto& [row, degree] : s.hubs) hubs.append(py::make_tuple(row, degree));
  py::dict hubness;
  hubness["mean_in_degree"] = s.mean_in_degree;
  hubness["max_in_degree"] = s.max_in_degree;
  hubness["never_chosen"] = s.never_chosen;
  hubness["skewness"] = s.in_degree_skewness;
  hubness["hubs"] = hubs;
  py::dict result;
  result["targets"] = s.targets;
  result["k"] = s.k;
  result["pairs"] = s.pairs;
  result["outliers"] = s.outliers;
  result["short_targets"] = s.short_targets;
  result["score_quantiles"] = pairs_of(s.score_quantiles);
  result["first_score_quantiles"] = pairs_of(s.first_score_quantiles);
  result["hubness"] = hubness;
  return result;
}

void bind_embedding_store(py::module_& module) {
  py::class_<EmbeddingStore>(module, "EmbeddingStore")
      .def_static("open", &EmbeddingStore::open, py::arg("path"),
                  py::call_guard<py::gil_scoped_release>())
      .def("__len__", &EmbeddingStore::size)
      .def_property_readonly("path", [](const EmbeddingStore& s) { return text_of(s.path()); })
      .def_property_readonly("generation", &EmbeddingStore::generation)
      .def_property_readonly(
          "dtype", [](const EmbeddingStore& s) { return std::string(name_of(s.image().dtype)); })
      .def_property_readonly("fingerprint", &EmbeddingStore::fingerprint)
      .def_property_readonly("keys_fingerprint", &EmbeddingStore::keys_fingerprint)
      .def_property_readonly("data_fingerprint", &EmbeddingStore::data_fingerprint)
      .def_property_readonly("image_digests",
                             [](const py::object& self) {
                               return digests_of(
                                   self, self.cast<const EmbeddingStore&>().image_digests());
                             })
      .def_property_readonly("caption_digests",
                             [](const py::object& self) {
                               return digests_of(
                                   self, self.cast<const EmbeddingStore&>().caption_digests());
                             })
      .def_property_readonly("metadata_json", &EmbeddingStore::metadata_json)
      .def_property_readonly("deleted",
                             [](const EmbeddingStore& s) {
                               const std::vector<std::int64_t>& rows = s.deleted();
                               return py::array_t<std::int64_t>(
                                   static_cast<py::ssize_t>(rows.size()), rows.data());
                             })
      .def(
          "earlier_state",
          [](const EmbeddingStore& self, std::int64_t rows,
             const std::string& fingerprint) -> py::object {
            const auto state = [&] {
              const py::gil_scoped_release release;
              return self.earlier_state(rows, fingerprint);
            }();
            if (!state) return py::none();
            return py::make_tuple(array_of(state->deleted), array_of(state->replaced));
          },
          py::arg("rows"), py::arg("fingerprint"))
      .def_property_readonly("image",
                             [](const py::object& self) {
                               return array_over(self.cast<const EmbeddingStore&>().image(), self);
                             })
      .def_property_readonly("text",
                             [](const py::object& self) {
                               return array_over(self.cast<const EmbeddingStore&>().text(), self);
                             })
      .def_property_readonly("matrix_names", &EmbeddingStore::matrix_names)
      .def(
          "matrix",
          [](const py::object& self, const std::string& name) {
            return array_over(self.cast<const EmbeddingStore&>().matrix(name), self);
          },
          py::arg("name"))
      .def(
          "scale",
          [](const py::object& self, const std::string& name) {
            return scale_array(self.cast<const EmbeddingStore&>().matrix(name), self);
          },
          py::arg("name"))
      .def(
          "view",
          [](const py::object& self, const std::string& name) {
            return BoundView{self.cast<const EmbeddingStore&>().matrix(name), self, py::none()};
          },
          py::arg("name"))
      .def("keys", &keys_of_rows, py::arg("first"), py::arg("last"))
      .def("require_whole", &EmbeddingStore::require_whole,
           py::call_guard<py::gil_scoped_release>())
      .def(
          "verify",
          [](const EmbeddingStore& self, const py::object& progress) {
            run_with_progress(progress,
                              [&](const ProgressCallback& callback) { self.verify(callback); });
          },
          py::arg("progress") = py::none());
}

void bind_writer(py::module_& module) {
  using Writer = Locked<EmbeddingStoreWriter>;
  const auto option = [](auto get) {  // which never changes
    return [get](Writer& self) { return get(self.value().options()); };
  };
  py::class_<Writer>(module, "EmbeddingStoreWriter")
      .def_static(
          "create",
          [](const std::filesystem::path& path, std::int64_t image_dim, std::int64_t text_dim,
             const std::string& dtype, std::int64_t shard_rows, bool digests,
             const std::vector<std::pair<std::string, std::int64_t>>& matrices) {
            StoreOptions options{image_dim, text_dim, dtype_from_name(dtype), shard_rows, digests};
            for (const auto& [name, dim] : matrices) options.matrices.push_back({name, dim});
            return Writer(EmbeddingStoreWriter::create(path, options));
          },
          py::arg("path"), py::arg("image_dim"), py::arg("text_dim"), py::arg("dtype"),
          py::arg("shard_rows"), py::arg("digests") = false,
          py::arg("matrices") = std::vector<std::pair<std::string, std::int64_t>>())
      .def_static(
          "append_to",
          [](const std::filesystem::path& path) {
            const py::gil_scoped_release release;
            return Writer(EmbeddingStoreWriter::append_to(path));
          },
          py::arg("path"))
      .def("__len__", alone(&EmbeddingStoreWriter::size))
      .def_property_readonly("image_dim", option([](const auto& o) { return o.image_dim; }))
      .def_property_readonly("text_dim", option([](const auto& o) { return o.text_dim; }))
      .def_property_readonly("dtype",
                             option([](const auto& o) { return std::string(name_of(o.dtype)); }))
      .def_property_readonly("shard_rows", option([](const auto& o) { return o.shard_rows; }))
      .def_property_readonly("digests", option([](const auto& o) { return o.digests; }))
      .def(
          "append",
          [](Writer& self, const std::vector<std::string>& keys, const BoundView& image,
             const BoundView& text, const Dense<std::uint64_t>& image_digests,
             const Dense<std::uint64_t>& caption_digests, const std::vector<BoundView>& matrices) {
            const auto images = span_of(image_digests);
            const auto captions = span_of(caption_digests);
            const std::vector<MatrixView> others = views_of(matrices);
            self.run([&](EmbeddingStoreWriter& own) {
              own.append(keys, image.view, text.view, images, captions, others);
            });
          },
          py::arg("keys"), py::arg("image"), py::arg("text"),
          py::arg("image_digests") = Dense<std::uint64_t>(0),
          py::arg("caption_digests") = Dense<std::uint64_t>(0),
          py::arg("matrices") = std::vector<BoundView>())
      .def_property_readonly("matrices", option([](const auto& o) {
                               std::vector<std::pair<std::string, std::int64_t>> matrices;
                               for (const auto& [name, dim] : o.matrices) {
                                 matrices.emplace_back(name, dim);
                               }
                               return matrices;
                             }))
      .def("delete_rows", alone(&EmbeddingStoreWriter::delete_rows), py::arg("rows"))
      .def("delete_keys", alone(&EmbeddingStoreWriter::delete_keys), py::arg("keys"))
      .def("commit", alone(&EmbeddingStoreWriter::commit), py::arg("metadata_json") = "")
      .def("finish", alone(&EmbeddingStoreWriter::finish), py::arg("metadata_json") = "");
}

void bind_assembly(py::module_& module) {
  module.def(
      "assemble_store",
      [](const std::filesystem::path& path, const std::vector<EmbeddingStore>& sources,
         const Dense<std::int64_t>& runs, std::int64_t shard_rows, const std::string& metadata_json,
         const py::object& progress) {
        if (runs.ndim() != 2 || runs.shape(1) != 3) {
          throw Error(ErrorCode::invalid_argument, "runs must be [n, 3]: source, first, last");
        }
        std::vector<StoreRun> list;
        for (py::ssize_t i = 0; i < runs.shape(0); ++i) {
          const std::int64_t* run = runs.data(i, 0);
          list.push_back({static_cast<std::size_t>(run[0]), run[1], run[2]});
        }
        return run_with_progress(progress, [&](const ProgressCallback& callback) {
          return assemble_store(path, sources, list, shard_rows, metadata_json, callback);
        });
      },
      py::arg("path"), py::arg("sources"), py::arg("runs"), py::arg("shard_rows"),
      py::arg("metadata_json"), py::arg("progress") = py::none());
}

void bind_data_fingerprint(py::module_& module) {
  py::class_<DataFingerprint>(module, "DataFingerprint")
      .def(py::init<>())
      .def("add", &add_rows, py::arg("keys"), py::arg("images"), py::arg("captions"))
      .def("text", &DataFingerprint::text);
  module.def("caption_digests", &caption_digests_of, py::arg("captions"));
  module.def("packed_caption_digests", &packed_caption_digests, py::arg("blob"), py::arg("offsets"),
             py::arg("rows"));
  module.def("may_be_same_images", &may_be_same_images, py::arg("a"), py::arg("b"));
  module.def("guard_mapped_files", &guard_mapped_files);
  module.def("keys_fingerprint", &keys_fingerprint, py::arg("keys"));
}

// What a table and a part of one have in common.
template <typename Table>
void bind_table(py::class_<Table>& table) {
  table.def_property_readonly("k", &Table::k)
      .def_property_readonly(
          "ids",
          [](const py::object& self) { return array_over(self.cast<const Table&>().ids(), self); })
      .def_property_readonly("scores",
                             [](const py::object& self) {
                               return array_over(self.cast<const Table&>().scores(), self);
                             })
      .def_property_readonly("counts",
                             [](const py::object& self) {
                               return array_over(self.cast<const Table&>().counts(), self, true);
                             })
      .def_property_readonly("fingerprint", [](const Table& t) { return t.origin().fingerprint; })
      .def_property_readonly("data_fingerprint",
                             [](const Table& t) { return t.origin().data_fingerprint; })
      .def_property_readonly("options_json", [](const Table& t) { return t.origin().options_json; })
      .def_property_readonly("report_json", [](const Table& t) { return t.origin().report_json; })
      .def(
          "verify",
          [](const Table& self, const py::object& progress) {
            run_with_progress(progress,
                              [&](const ProgressCallback& callback) { self.verify(callback); });
          },
          py::arg("progress") = py::none());
}

void bind_hard_pairs(py::module_& module) {
  auto pairs = py::class_<HardPairs>(module, "HardPairs");
  pairs
      .def_static(
          "open",
          [](const std::filesystem::path& path, const py::object& progress) {
            return run_with_progress(progress, [&](const ProgressCallback& callback) {
              return HardPairs::open(path, callback);
            });
          },
          py::arg("path"), py::arg("progress") = py::none())
      .def_static(
          "from_arrays",
          [](const BoundView& ids, const BoundView& scores, const BoundView& counts,
             const std::string& fingerprint, const std::string& data_fingerprint,
             const std::string& options_json, const std::string& report_json) {
            return run_with_progress(py::none(), [&](const ProgressCallback& callback) {
              return HardPairs::from_arrays(
                  ids.view, scores.view, counts.view,
                  {fingerprint, data_fingerprint, options_json, report_json}, callback);
            });
          },
          py::arg("ids"), py::arg("scores"), py::arg("counts"), py::kw_only(),
          py::arg("fingerprint") = "", py::arg("data_fingerprint") = "",
          py::arg("options_json") = "{}", py::arg("report_json") = "{}")
      .def("__len__", &HardPairs::size)
      .def_property_readonly("path", [](const HardPairs& p) { return text_of(p.path()); })
      .def("statistics", &statistics_of)
      .def(
          "save",
          [](const HardPairs& self, const std::filesystem::path& path, const py::object& progress) {
            run_with_progress(progress,
                              [&](const ProgressCallback& callback) { self.save(path, callback); });
          },
          py::arg("path"), py::arg("progress") = py::none())
      .def_static(
          "open_csv",
          [](const std::filesystem::path& path, std::int64_t rows, const py::object& progress) {
            return run_with_progress(progress, [&](const ProgressCallback& callback) {
              return HardPairs::open_csv(path, rows, callback);
            });
          },
          py::arg("path"), py::arg("rows") = -1, py::arg("progress") = py::none())
      .def(
          "save_csv",
          [](const HardPairs& self, const std::filesystem::path& path, const py::object& progress) {
            run_with_progress(
                progress, [&](const ProgressCallback& callback) { self.save_csv(path, callback); });
          },
          py::arg("path"), py::arg("progress") = py::none());
  bind_table(pairs);
}

void bind_hard_negatives(py::module_& module) {
  auto negatives = py::class_<HardNegatives>(module, "HardNegatives");
  negatives
      .def_static(
          "open",
          [](const std::filesystem::path& path, const py::object& progress) {
            return run_with_progress(progress, [&](const ProgressCallback& callback) {
              return HardNegatives::open(path, callback);
            });
          },
          py::arg("path"), py::arg("progress") = py::none())
      .def(
          "save",
          [](const HardNegatives& self, const std::filesystem::path& path,
             const py::object& progress) {
            run_with_progress(progress,
                              [&](const ProgressCallback& callback) { self.save(path, callback); });
          },
          py::arg("path"), py::arg("progress") = py::none())
      .def("__len__", &HardNegatives::size)
      .def_property_readonly("path", [](const HardNegatives& n) { return text_of(n.path()); })
      .def_property_readonly("corpus_rows", &HardNegatives::corpus_size);
  bind_table(negatives);
}

void bind_hard_pairs_part(py::module_& module) {
  auto part = py::class_<HardPairsPart>(module, "HardPairsPart");
  part.def_static("open", &HardPairsPart::open, py::arg("path"),
                  py::call_guard<py::gil_scoped_release>())
      .def("__len__", [](const HardPairsPart& p) { return p.range().size(); })
      .def_property_readonly("path", [](const HardPairsPart& p) { return text_of(p.path()); })
      .def_property_readonly("index", [](const HardPairsPart& p) { return p.range().index; })
      .def_property_readonly("count", [](const HardPairsPart& p) { return p.range().count; })
      .def_property_readonly("first", [](const HardPairsPart& p) { return p.range().first(); })
      .def_property_readonly("last", [](const HardPairsPart& p) { return p.range().last(); })
      .def_property_readonly("rows", [](const HardPairsPart& p) { return p.range().rows; })
      .def_property_readonly("corpus_rows", &HardPairsPart::corpus_size);
  bind_table(part);
}

void bind_pairs_writer(py::module_& module) {
  using Writer = Locked<HardPairsWriter>;
  py::class_<Writer>(module, "HardPairsWriter")
      .def(
          py::init([](std::filesystem::path path, std::int64_t rows, std::int64_t k, bool replace) {
            return std::make_unique<Writer>(
                std::in_place, std::move(path), rows, k,
                replace ? ExistingTable::replace : ExistingTable::refuse);
          }),
          py::arg("path"), py::arg("rows"), py::arg("k"), py::kw_only(), py::arg("replace") = false)
      .def(
          "write",
          [](Writer& self, std::int64_t first, const Dense<std::int64_t>& ids,
             const Dense<float>& scores, const Dense<std::int32_t>& counts) {
            const HardPairBand band = band_of(first, ids, scores, counts);
            self.run([&](HardPairsWriter& own) { own.write(band); });
          },
          py::arg("first"), py::arg("ids"), py::arg("scores"), py::arg("counts"))
      .def(
          "finish",
          [](Writer& self, const std::string& fingerprint, const std::string& data_fingerprint,
             const std::string& options_json, const std::string& report_json) {
            return self.run([&](HardPairsWriter& own) {
              return own.finish({fingerprint, data_fingerprint, options_json, report_json});
            });
          },
          py::kw_only(), py::arg("fingerprint"), py::arg("data_fingerprint"),
          py::arg("options_json"), py::arg("report_json"));
}

}  // namespace

void bind_store(py::module_& module) {
  py::class_<BoundView>(module, "MatrixView")
      .def(py::init(&make_view), py::arg("address"), py::arg("rows"), py::arg("cols"),
           py::arg("dtype"), py::arg("row_stride"), py::arg("owner"), py::arg("scale") = 0,
           py::arg("scale_owner") = py::none())
      .def_property_readonly("rows", [](const BoundView& v) { return v.view.rows; })
      .def_property_readonly("cols", [](const BoundView& v) { return v.view.cols; })
      .def_property_readonly("dtype",
                             [](const BoundView& v) { return std::string(name_of(v.view.dtype)); });
  bind_embedding_store(module);
  bind_writer(module);
  bind_hard_pairs(module);
  bind_hard_negatives(module);
  bind_hard_pairs_part(module);
  bind_pairs_writer(module);
  bind_assembly(module);
  module.def(
      "block_checksums",
      [](const py::buffer& data, std::size_t block) {
        const py::buffer_info info = data.request();
        const auto bytes = static_cast<std::size_t>(info.size * info.itemsize);
        return array_of([&] {
          const py::gil_scoped_release release;
          return block_checksums(info.ptr, bytes, block);
        }());
      },
      py::arg("data"), py::arg("block"));
  bind_data_fingerprint(module);
}

}  // namespace helip::python
