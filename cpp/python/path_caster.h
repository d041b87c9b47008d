// Paths from Python: str, bytes and os.PathLike, also with bytes that are no UTF-8.
#pragma once

#include <pybind11/pybind11.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "helip/error.h"

namespace helip::python {

// As Python names files: bytes that are no UTF-8 become letters of os.fsdecode.
inline pybind11::str text_of(const std::filesystem::path& path) {
  const std::string& name = path.native();
  return pybind11::reinterpret_steal<pybind11::str>(
      PyUnicode_DecodeFSDefaultAndSize(name.data(), static_cast<Py_ssize_t>(name.size())));
}

}  // namespace helip::python

namespace pybind11::detail {

// In place of pybind11's own, for which a NUL makes a path no path at all.
template <>
struct type_caster<std::filesystem::path> {
  PYBIND11_TYPE_CASTER(std::filesystem::path, const_name("os.PathLike | str | bytes"));

  bool load(handle source, bool) {
    auto given = reinterpret_steal<object>(PyOS_FSPath(source.ptr()));
    if (given && PyUnicode_Check(given.ptr())) {
      given = reinterpret_steal<object>(PyUnicode_EncodeFSDefault(given.ptr()));
    }
    char* bytes = nullptr;
    Py_ssize_t size = 0;
    if (!given || PyBytes_AsStringAndSize(given.ptr(), &bytes, &size) != 0) {
      PyErr_Clear();
      return false;
    }
    const std::string_view name(bytes, static_cast<std::size_t>(size));
    if (const auto nul = name.find('\0'); nul != std::string_view::npos) {
      throw helip::Error(helip::ErrorCode::invalid_argument,
                         "the path \"" + std::string(name.substr(0, nul)) +
                             "\\0…\" holds a NUL at " + std::to_string(nul) +
                             ", which no file has in its name; leave it out");
    }
    value = name;
    return true;
  }

  static handle cast(const std::filesystem::path& path, return_value_policy, handle) {
    return helip::python::text_of(path).release();
  }
};

}  // namespace pybind11::detail
