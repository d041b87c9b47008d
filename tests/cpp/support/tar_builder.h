// Writes tar files byte by byte, well-formed and otherwise.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tar/tar_header.h"

// Puts the sum of a header's bytes in its place.
inline void seal(std::string& header) {
  std::memset(header.data() + 148, ' ', 8);
  unsigned sum = 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  std::snprintf(header.data() + 148, 8, "%06o", sum);
  header[155] = ' ';
}

inline std::string tar_header(const std::string& name, std::int64_t bytes, char type = '0') {
  std::string header(512, '\0');
  name.copy(header.data(), 100);
  std::snprintf(header.data() + 100, 8, "%07o", 0644U);
  std::snprintf(header.data() + 124, 12, "%011llo", static_cast<unsigned long long>(bytes));
  header[156] = type;
  std::memcpy(header.data() + 257,
              "ustar\0"
              "00",
              8);
  seal(header);
  return header;
}

// The header with another value in one of its fields.
inline std::string with_field(std::string header, std::size_t at, const std::string& value) {
  value.copy(header.data() + at, value.size());
  seal(header);
  return header;
}

inline std::string padded_body(std::string body) {
  body.resize(static_cast<std::size_t>(helip::tar::padded(static_cast<std::int64_t>(body.size()))));
  return body;
}

inline std::string tar_member(const std::string& name, const std::string& body, char type = '0') {
  return tar_header(name, static_cast<std::int64_t>(body.size()), type) + padded_body(body);
}

inline std::string pax_record(const std::string& keyword, const std::string& value) {
  const std::string rest = " " + keyword + "=" + value + "\n";
  std::size_t length = rest.size();
  while (std::to_string(length).size() + rest.size() != length) ++length;
  return std::to_string(length) + rest;
}

inline std::string tar_end() { return std::string(1024, '\0'); }

inline std::filesystem::path write_file(const std::filesystem::path& path,
                                        const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}
