#include "container.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fuzz.h"
#include "helip/error.h"
#include "io/checksum.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "io/safetensors.h"
#include "io/shard.h"
#include "support/tar_builder.h"
#include "support/whole_file.h"

namespace helip::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPage = kShardHeaderBytes;
constexpr std::size_t kMostPages = 64;
constexpr std::size_t kMostManifest = std::size_t{1} << 16;

void put_length(std::string& out, std::size_t length) {
  out.push_back(static_cast<char>(length & 255));
  out.push_back(static_cast<char>(length >> 8));
}

std::string_view take_part(std::string_view& input) {
  const std::size_t low = take_byte(input), high = take_byte(input);
  const std::string_view part = input.substr(0, low | high << 8);
  input.remove_prefix(part.size());
  return part;
}

// The first page holds the header, which ends with spaces; all others end with zeros.
char filler(std::size_t page) { return page == 0 ? ' ' : '\0'; }

// Spaces of the header stay for numbers that grow.
std::size_t kept(std::size_t page) { return page == 0 ? 64 : 0; }

void mend_shard(Json& root, const fs::path& shard, const std::string& bytes) {
  if (!root.is_object() || !root.contains("shards")) return;
  Json& shards = root["shards"];
  if (!shards.is_array() || shards.empty() || !shards[0].is_object()) return;
  Json& record = shards[0];
  record["bytes"] = bytes.size();
  record["header"] = digest_hex(bytes.data(), std::min(bytes.size(), kPage));
  try {
    const Descriptor file = open_for_reading(shard);
    for (const TensorInfo& tensor : read_safetensors_header(file, shard).tensors) {
      if (tensor.name.starts_with(kPaddingPrefix)) continue;
      record["tensors"][tensor.name] = digest_hex(
          bytes.data() + tensor.begin, static_cast<std::size_t>(tensor.end - tensor.begin));
    }
  } catch (const Error&) {
    // A header that is refused has no tensors.
  } catch (const Json::exception&) {
    // Nor has a record whose "tensors" are none.
  }
}

std::string with_checksum(Json root) {
  root.erase("checksum");
  const std::string body = root.dump(1, ' ', false, Json::error_handler_t::replace);
  root["checksum"] = digest_hex(body.data(), body.size());
  return root.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string input_of(const fs::path& directory) {
  const std::string manifest = whole_file(directory / kManifestName);
  const std::string shard = whole_file(directory / shard_name(0));
  std::string input(1, '\3');
  put_length(input, manifest.size());
  input += manifest;
  for (std::size_t page = 0; page * kPage < shard.size(); ++page) {
    std::string bytes = shard.substr(page * kPage, kPage);
    bytes.erase(std::min(bytes.size(), bytes.find_last_not_of(filler(page)) + 1 + kept(page)));
    put_length(input, bytes.size());
    input += bytes;
  }
  return input;
}

std::string with(const std::string& input, const std::string& old, const std::string& text) {
  std::string_view rest = input;
  std::string changed(1, static_cast<char>(take_byte(rest)));
  std::string manifest(take_part(rest));
  manifest.replace(manifest.find(old), old.size(), text);
  put_length(changed, manifest.size());
  return changed + manifest + std::string(rest);
}

void write_container(std::string_view input, const fs::path& directory) {
  const std::uint8_t mended = take_byte(input);
  std::string manifest(take_part(input));
  std::string shard;
  for (std::size_t page = 0; page < kMostPages && !input.empty(); ++page) {
    std::string bytes(take_part(input).substr(0, kPage));
    // What the last page holds decides where the file ends.
    if (!input.empty() || page == 0) bytes.resize(kPage, filler(page));
    shard += bytes;
  }
  write_file(directory / shard_name(0), shard);
  if (mended & 3 && manifest.size() <= kMostManifest) {
    Json root = Json::parse(manifest, nullptr, false);
    if (!root.is_discarded() && root.is_object()) {
      if (mended & 2) mend_shard(root, directory / shard_name(0), shard);
      if (mended & 1) manifest = with_checksum(std::move(root));
    }
  }
  write_file(directory / kManifestName, manifest);
}

}  // namespace helip::fuzz
