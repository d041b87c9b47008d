#include <optional>
#include <span>

#include "bindings.h"

namespace helip::python {
namespace {

SampleField field_of(const std::string& name) {
  if (name == "image") return SampleField::image;
  if (name == "text") return SampleField::text;
  if (name == "json") return SampleField::json;
  if (name == "label") return SampleField::label;
  throw Error(ErrorCode::invalid_argument,
              "field is '" + name + "'; it must be image, text, json or label");
}

const char* name_of_state(MemberState state) {
  switch (state) {
    case MemberState::present: return "present";
    case MemberState::absent: return "absent";
    case MemberState::refused: return "refused";
  }
  return "absent";
}

std::vector<std::string> keys_between(const SampleIndex& index, std::int64_t first,
                                      std::int64_t last) {
  const py::gil_scoped_release release;  // keys may wait for the disk, as members do
  std::vector<std::string> keys;
  for (std::int64_t i = first; i < last; ++i) keys.emplace_back(index.key(i));
  return keys;
}

SampleMember member_of(const SampleIndex& index, std::int64_t row, const std::string& field,
                       SampleMember (SampleIndex::*method)(std::int64_t, SampleField) const) {
  const py::gil_scoped_release release;
  return (index.*method)(row, field_of(field));
}

py::dict counts_of(const SampleIndex& index) {
  const SampleCounts& counts = index.counts();
  py::dict result;
  result["rows"] = counts.rows;
  result["shards"] = counts.shards;
  result["missing_image"] = counts.missing_image;
  result["missing_caption"] = counts.missing_caption;
  for (const auto& [reason, count] : counts.ignored) {
    result[py::str("ignored_" + reason)] = count;
  }
  return result;
}

py::list shards_of(const SampleIndex& index) {
  py::list list;
  for (const SampleShard& shard : index.shards()) {
    py::dict entry;
    // pathlib would take the slashes of a URL together.
    if (shard.path.is_absolute()) {
      entry["path"] = py::module_::import("pathlib").attr("Path")(text_of(shard.path));
    } else {
      entry["path"] = text_of(shard.path);
    }
    entry["first_row"] = shard.first_row;
    entry["rows"] = shard.rows;
    entry["bytes"] = shard.bytes;
    entry["modified"] = shard.modified;
    entry["tag"] = shard.tag;
    entry["headers"] = shard.headers;
    entry["contents"] = shard.contents;
    entry["ignored"] = shard.ignored;
    list.append(entry);
  }
  return list;
}

// Of the images and of the captions of some rows.
py::tuple digests_of(const SampleIndex& index, const Dense<std::int64_t>& rows) {
  std::vector<std::uint64_t> images, captions;
  {
    const std::span<const std::int64_t> some(rows.data(), static_cast<std::size_t>(rows.size()));
    const py::gil_scoped_release release;
    for (const std::int64_t row : some) {
      images.push_back(index.digest_of_image(row));
      captions.push_back(index.digest_of_caption(row));
    }
  }
  return py::make_tuple(array_of(images), array_of(captions));
}

py::bytes bytes_of(const SampleIndex& index, std::int64_t row, const std::string& name) {
  const SampleField field = field_of(name);
  std::vector<std::byte> data;
  {
    const py::gil_scoped_release release;
    index.read(row, field, data);
  }
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

void bind_samples(py::module_& module) {
  py::class_<SampleIndex>(module, "SampleIndex")
      .def_static(
          "build",
          [](const std::vector<std::filesystem::path>& shards,
             const std::vector<std::string>& image_extensions, bool contents, int threads,
             const std::optional<SampleIndex>& previous, const py::object& progress) {
            const SampleIndexOptions options{image_extensions, contents, threads};
            return run_with_progress(progress, [&](const ProgressCallback& callback) {
              return SampleIndex::build(shards, options, callback, previous ? &*previous : nullptr);
            });
          },
          py::arg("shards"), py::arg("image_extensions"), py::arg("contents") = false,
          py::arg("threads") = 0, py::arg("previous") = py::none(),
          py::arg("progress") = py::none())
      .def_static(
          "scan",
          [](const std::filesystem::path& file, const std::string& path, std::int64_t modified,
             const std::string& tag, const std::vector<std::string>& image_extensions,
             bool contents) {
            SampleShard as;
            as.path = path;
            as.modified = modified;
            as.tag = tag;
            const py::gil_scoped_release release;
            return SampleIndex::scan(file, as, {image_extensions, contents, 1});
          },
          py::arg("file"), py::kw_only(), py::arg("path"), py::arg("modified"), py::arg("tag"),
          py::arg("image_extensions"), py::arg("contents"))
      .def_static("join", &SampleIndex::join, py::arg("shards"),
                  py::call_guard<py::gil_scoped_release>())
      .def_static(
          "open",
          [](const std::filesystem::path& path, const std::optional<std::filesystem::path>& root,
             bool check_shards) {
            const py::gil_scoped_release release;
            return SampleIndex::open(path, root.value_or(std::filesystem::path()), check_shards);
          },
          py::arg("path"), py::arg("root") = py::none(), py::arg("check_shards") = true)
      .def(
          "save",
          [](const SampleIndex& self, const std::filesystem::path& path) {
            run_with_progress(py::none(),
                              [&](const ProgressCallback& callback) { self.save(path, callback); });
          },
          py::arg("path"))
      .def("to_bytes", [](const SampleIndex& self) { return py::bytes(self.to_bytes()); })
      .def_static(
          "from_bytes",
          [](const py::bytes& bytes) { return SampleIndex::from_bytes(std::string_view(bytes)); },
          py::arg("data"))
      .def(
          "verify",
          [](const SampleIndex& self, bool contents, int threads, const py::object& progress) {
            run_with_progress(progress, [&](const ProgressCallback& callback) {
              self.verify(contents, threads, callback);
            });
          },
          py::arg("contents") = false, py::arg("threads") = 0, py::arg("progress") = py::none())
      .def("__len__", &SampleIndex::size)
      .def("keys", &keys_between, py::arg("first"), py::arg("last"))
      .def(
          "member",
          [](const SampleIndex& self, std::int64_t row, const std::string& field) {
            const SampleMember member = member_of(self, row, field, &SampleIndex::member);
            return py::make_tuple(name_of_state(member.state), member.shard, member.offset,
                                  member.bytes);
          },
          py::arg("row"), py::arg("field"))
      .def(
          "readable",
          [](const SampleIndex& self, std::int64_t row, const std::string& field) {
            const SampleMember member = member_of(self, row, field, &SampleIndex::readable);
            return py::make_tuple(member.shard, member.offset, member.bytes);
          },
          py::arg("row"), py::arg("field"))
      .def(
          "may_be_image",
          [](const SampleIndex& self, std::int64_t row, const py::buffer& bytes) {
            const py::buffer_info info = bytes.request();
            const auto size = static_cast<std::size_t>(info.size * info.itemsize);
            return self.may_be_image(row, {static_cast<const char*>(info.ptr), size});
          },
          py::arg("row"), py::arg("bytes"))
      .def("digests", &digests_of, py::arg("rows"))
      .def(
          "will_need",
          [](const SampleIndex& self, const Dense<std::int64_t>& rows) {
            const std::span<const std::int64_t> some(rows.data(),
                                                     static_cast<std::size_t>(rows.size()));
            const py::gil_scoped_release release;
            self.will_need(some);
          },
          py::arg("rows"))
      .def("read", &bytes_of, py::arg("row"), py::arg("field"))
      .def("counts", &counts_of)
      .def("shards", &shards_of)
      .def_property_readonly("at_urls",
                             [](const SampleIndex& s) {
                               return !s.shards().empty() && !s.shards().front().path.is_absolute();
                             })
      .def_property_readonly("fingerprint", &SampleIndex::fingerprint)
      .def_property_readonly("image_extensions",
                             [](const SampleIndex& s) { return s.options().image_extensions; })
      .def_property_readonly("contents", [](const SampleIndex& s) { return s.options().contents; })
      .def_property_readonly("scanned", &SampleIndex::scanned)
      .def_property_readonly("path", [](const SampleIndex& s) { return text_of(s.path()); })
      .def_property_readonly("generation", &SampleIndex::generation);
}

}  // namespace helip::python
