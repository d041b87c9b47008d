#include <chrono>
#include <memory>
#include <optional>

#include "bindings.h"
#include "locked.h"

namespace helip::python {
namespace {

// How long a wait holds back Ctrl-C.
constexpr std::chrono::milliseconds kPatience{100};

std::shared_ptr<ImageFiles> make_files(std::vector<std::string> roots,
                                       const Dense<std::int64_t>& starts, const py::bytes& blob,
                                       const Dense<std::int64_t>& offsets, bool follow_links,
                                       bool absolute_paths) {
  const PathList paths{std::string_view(blob),
                       {offsets.data(), static_cast<std::size_t>(offsets.size())}};
  return std::make_shared<ImageFiles>(std::move(roots), values_of(starts), paths, follow_links,
                                      absolute_paths);
}

using Assembler = Locked<BatchAssembler>;

std::uint64_t submit(Assembler& self, const Dense<std::int64_t>& rows,
                     const Dense<std::int64_t>& names, std::int64_t epoch,
                     const std::vector<std::uintptr_t>& out) {
  AssembleRequest request;
  request.epoch = epoch;
  request.rows = values_of(rows);
  request.names = values_of(names);
  for (const std::uintptr_t address : out) {
    request.out.push_back(reinterpret_cast<std::byte*>(address));
  }
  return self.run([&](BatchAssembler& own) { return own.submit(std::move(request)); });
}

py::list wait(Assembler& self, std::uint64_t ticket) {
  std::optional<std::vector<MissingImage>> missing;
  while (!missing) {
    missing = run_without_gil([&] {
      return self.alone([&](BatchAssembler& own) { return own.wait_for(ticket, kPatience); });
    });
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  py::list result;
  for (const MissingImage& image : *missing) {
    result.append(py::make_tuple(image.place, image.reason, image.message));
  }
  return result;
}

}  // namespace

void bind_assembler(py::module_& module) {
  py::class_<ImageSource, std::shared_ptr<ImageSource>>(module, "ImageSource")
      .def("__len__", [](const ImageSource& self) { return self.size(); });
  py::class_<ImageFiles, ImageSource, std::shared_ptr<ImageFiles>>(module, "ImageFiles")
      .def(py::init(&make_files), py::arg("roots"), py::arg("starts"), py::arg("blob"),
           py::arg("offsets").noconvert(), py::arg("follow_links"), py::arg("absolute_paths"),
           py::keep_alive<1, 4>(), py::keep_alive<1, 5>());
  py::class_<ShardImages, ImageSource, std::shared_ptr<ShardImages>>(module, "ShardImages")
      .def(py::init<SampleIndex>(), py::arg("index"));
  // Its end waits for threads that may be reading through Python.
  py::class_<Assembler>(module, "BatchAssembler", py::release_gil_before_calling_cpp_dtor())
      .def(py::init([](std::shared_ptr<ImageSource> source,
                       const std::vector<const ImageTransform*>& views, std::uint64_t seed,
                       int threads) {
             std::vector<ImageTransform> own;
             for (const ImageTransform* view : views) own.emplace_back(view->options());
             return Assembler(BatchAssembler(std::move(source), std::move(own),
                                             {.seed = seed, .threads = threads}));
           }),
           py::arg("source"), py::arg("views"), py::kw_only(), py::arg("seed"), py::arg("threads"),
           py::keep_alive<1, 2>())
      .def_property_readonly("threads", [](Assembler& self) { return self.value().threads(); })
      .def("submit", &submit, py::arg("rows"), py::arg("names"), py::arg("epoch"), py::arg("out"))
      .def("wait", &wait, py::arg("ticket"))
      .def(
          "take_unsupported",
          [](Assembler& self, std::uint64_t ticket, double seconds) {
            const auto patience =
                std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000.0));
            const py::gil_scoped_release release;
            return self.value().take_unsupported(ticket, patience);
          },
          py::arg("ticket"), py::arg("seconds"))
      .def("time",
           [](Assembler& self) {
             const AssembleTime spent = self.value().time();
             return std::pair(spent.reading, spent.decoding);
           })
      .def("clear", alone(&BatchAssembler::clear));
}

}  // namespace helip::python
