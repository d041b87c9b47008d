#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/checked.h"
#include "base/refuse.h"
#include "base/text.h"
#include "io/json.h"

namespace helip {
namespace {

using json = Json;

constexpr std::int64_t kHeaderLimit = std::int64_t{100} << 20;  // the format's own bound

constexpr int kNestingLimit = 8;

constexpr std::array<std::pair<DType, const char*>, 9> kNames{{
    {DType::float64, "F64"},
    {DType::float32, "F32"},
    {DType::float16, "F16"},
    {DType::bfloat16, "BF16"},
    {DType::int8, "I8"},
    {DType::uint8, "U8"},
    {DType::int32, "I32"},
    {DType::int64, "I64"},
    {DType::uint64, "U64"},
}};

std::int64_t non_negative(const json& value, const std::filesystem::path& file,
                          const std::string& what) {
  std::int64_t number = -1;
  try {
    number = integer_of(value);
  } catch (const json::exception&) {
    throw_damaged(file, what + " is not a whole number, or too large");
  }
  if (number < 0) throw_damaged(file, what + " is negative");
  return number;
}

TensorInfo parse_tensor(const std::string& name, const json& entry, std::int64_t data_begin,
                        std::int64_t data_bytes, const std::filesystem::path& file) {
  const std::string label = "tensor \"" + excerpt(name) + "\"";
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
      !entry["shape"].is_array() || !entry["data_offsets"].is_array() ||
      entry["data_offsets"].size() != 2) {
    throw_damaged(file, label + " lacks dtype, shape or data_offsets");
  }
  TensorInfo info;
  info.name = name;
  const auto& dtype_name = entry["dtype"].get_ref<const std::string&>();
  const auto found = std::find_if(kNames.begin(), kNames.end(),
                                  [&](const auto& pair) { return dtype_name == pair.second; });
  if (found == kNames.end())
    throw_damaged(file, label + " has the unknown dtype " + excerpt(dtype_name));
  info.dtype = found->first;
  std::int64_t bytes = size_of(info.dtype);
  for (const json& extent : entry["shape"]) {
    info.shape.push_back(non_negative(extent, file, "a dimension of " + label));
    if (!checked_multiply(bytes, info.shape.back())) throw_damaged(file, label + " overflows");
  }
  const std::int64_t begin = non_negative(entry["data_offsets"][0], file, label + " begin");
  const std::int64_t end = non_negative(entry["data_offsets"][1], file, label + " end");
  if (begin > end || end > data_bytes) throw_damaged(file, label + " lies outside the file");
  if (end - begin != bytes) throw_damaged(file, label + " has a length that is not its shape's");
  info.begin = data_begin + begin;
  info.end = data_begin + end;
  return info;
}

}  // namespace

const TensorInfo& SafetensorsHeader::at(const std::string& name,
                                        const std::filesystem::path& file) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const TensorInfo& info) { return info.name == name; });
  if (found == tensors.end()) throw_damaged(file, "tensor \"" + name + "\" is absent");
  return *found;
}

SafetensorsHeader read_safetensors_header(const Descriptor& file,
                                          const std::filesystem::path& name) {
  const std::int64_t size = file_size(file, name);
  std::array<unsigned char, 8> prefix{};
  if (size < 8)
    throw_damaged(name, "it has " + std::to_string(size) + " bytes, fewer than a header");
  read_exactly(file, prefix.data(), prefix.size(), 0, name);
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    length |= static_cast<std::uint64_t>(prefix[i]) << (8 * i);
  }
  if (length > static_cast<std::uint64_t>(std::min(kHeaderLimit, size - 8))) {
    throw_damaged(name, "the header claims " + std::to_string(length) + " bytes, the file has " +
                            std::to_string(size));
  }
  SafetensorsHeader header;
  header.data_begin = 8 + static_cast<std::int64_t>(length);
  header.bytes.resize(static_cast<std::size_t>(header.data_begin));
  read_exactly(file, header.bytes.data(), header.bytes.size(), 0, name);

  json root;
  try {
    root = parse_json(std::string_view(header.bytes).substr(8), kNestingLimit);
  } catch (const std::invalid_argument&) {
    throw_damaged(name, "the header is not JSON");
  }
  if (!root.is_object()) throw_damaged(name, "the header is not a JSON object");
  for (const auto& [key, entry] : root.items()) {
    if (key == "__metadata__") continue;
    header.tensors.push_back(
        parse_tensor(key, entry, header.data_begin, size - header.data_begin, name));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::int64_t cursor = header.data_begin;
  for (const TensorInfo& info : header.tensors) {
    if (info.begin != cursor)
      throw_damaged(name, "tensor \"" + excerpt(info.name) + "\" overlaps or leaves a hole");
    cursor = info.end;
  }
  if (cursor != size) {
    throw_damaged(name, "tensors end at byte " + std::to_string(cursor) + ", the file at " +
                            std::to_string(size));
  }
  return header;
}

std::string make_safetensors_header(const std::vector<TensorInfo>& tensors, std::int64_t size) {
  json root = json::object();
  for (const TensorInfo& info : tensors) {
    const auto found = std::find_if(kNames.begin(), kNames.end(),
                                    [&](const auto& pair) { return info.dtype == pair.first; });
    root[info.name] = {{"dtype", found->second},
                       {"shape", info.shape},
                       {"data_offsets", {info.begin - size, info.end - size}}};
  }
  std::string text = root.dump();
  const auto room = static_cast<std::size_t>(size) - 8;
  if (text.size() > room) {
    refuse("a shard header needs ", text.size(), " bytes, ", room, " are reserved");
  }
  text.resize(room, ' ');
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>((static_cast<std::uint64_t>(room) >> (8 * i)) & 0xffU);
  }
  return bytes + text;
}

}  // namespace helip
