#include "io/manifest.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/checked.h"
#include "base/refuse.h"
#include "base/text.h"
#include "io/checksum.h"
#include "io/file.h"
#include "io/json.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using json = Json;

constexpr std::int64_t kManifestLimit = std::int64_t{256} << 20;
constexpr std::string_view kChecksumLine = "\n \"checksum\": \"";

// The bytes of a manifest follow from its content, with their digest in a line of its own.
std::string serialise(json root) {
  const std::string body = root.dump(1);
  root["checksum"] = digest_hex(body.data(), body.size());
  return root.dump(1) + "\n";
}

// Whether the digest is that of all the rest, so that a flipped bit anywhere shows. Before the text
// is parsed, which takes many times its memory.
bool is_whole(std::string_view text) {
  // No text within a manifest has a line break in it.
  const std::size_t at = text.find(kChecksumLine);
  if (at == std::string_view::npos) return false;
  const std::string_view rest = text.substr(at + kChecksumLine.size());
  const std::size_t end = rest.find('"');
  if (end == std::string_view::npos || rest.substr(end, 3) != "\",\n" || !text.ends_with("}\n")) {
    return false;
  }
  Digest digest;
  digest.update(text.data(), at);
  const std::string_view behind = rest.substr(end + 2);
  digest.update(behind.data(), behind.size() - 1);
  return digest.hex() == rest.substr(0, end);
}

json to_json(const Manifest& manifest) {
  json columns = json::array();
  for (const ColumnSpec& column : manifest.columns) {
    columns.push_back(
        {{"name", column.name}, {"dtype", name_of(column.dtype)}, {"cols", column.cols}});
  }
  json shards = json::array();
  for (const ShardRecord& shard : manifest.shards) {
    shards.push_back({{"file", shard.file},
                      {"rows", shard.rows},
                      {"bytes", shard.bytes},
                      {"header", shard.header_digest},
                      {"tensors", shard.digests}});
  }
  return {{"format", manifest.format},
          {"version", kManifestVersion},
          {"requires", manifest.features},
          {"generation", manifest.generation},
          {"rows", manifest.rows()},
          {"shard_rows", manifest.shard_rows},
          {"next_shard", manifest.next_shard},
          {"columns", columns},
          {"shards", shards},
          {"attributes", manifest.attributes}};
}

void require(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument(what);
}

// So that the generation and the shard after these have numbers, and sums of rows and bytes fit.
std::int64_t count_of(const json& object, const char* name, std::int64_t least) {
  const std::int64_t count = integer_of(object.at(name));
  require(count >= least && count <= kMostCount, std::string(name) + " is " +
                                                     std::to_string(count) + ", outside " +
                                                     std::to_string(least) + " .. 2^62");
  return count;
}

Manifest from_json(const json& root) {
  Manifest manifest;
  manifest.format = root.at("format").get<std::string>();
  manifest.generation = count_of(root, "generation", 1);
  manifest.shard_rows = integer_of(root.at("shard_rows"));
  manifest.next_shard = count_of(root, "next_shard", 0);
  manifest.features = root.at("requires").get<std::vector<std::string>>();
  manifest.attributes = root.at("attributes");
  require(manifest.shard_rows >= 1, "shard_rows is below 1");
  require(manifest.attributes.is_object(), "attributes is not an object");
  std::set<std::string> names;
  for (const json& entry : root.at("columns")) {
    ColumnSpec column;
    column.name = entry.at("name").get<std::string>();
    column.dtype = dtype_from_name(entry.at("dtype").get<std::string>());
    column.cols = integer_of(entry.at("cols"));
    require(column.cols >= 0 && column.cols <= (std::int64_t{1} << 32), "a width is implausible");
    require(names.insert(column.name).second, "a column is listed twice");
    manifest.columns.push_back(std::move(column));
  }
  std::int64_t rows = 0, bytes = 0;
  for (const json& entry : root.at("shards")) {
    ShardRecord shard;
    shard.file = entry.at("file").get<std::string>();
    shard.rows = count_of(entry, "rows", 1);
    shard.bytes = count_of(entry, "bytes", 0);
    shard.header_digest = entry.at("header").get<std::string>();
    shard.digests = entry.at("tensors").get<std::map<std::string, std::string>>();
    require(!shard.file.empty() && shard.file.find('/') == std::string::npos &&
                shard.file.front() != '.',
            "a shard's file is not a plain name");
    require(shard.rows <= manifest.shard_rows, "a shard's rows are implausible");
    require(rows % manifest.shard_rows == 0, "a shard before the last is not full");
    require(checked_add(rows, shard.rows) && checked_add(bytes, shard.bytes),
            "the number of rows or of bytes overflows");
    manifest.shards.push_back(std::move(shard));
  }
  require(integer_of(root.at("rows")) == rows, "rows is not the sum over the shards");
  return manifest;
}

}  // namespace

std::int64_t Manifest::rows() const {
  std::int64_t sum = 0;
  for (const ShardRecord& shard : shards) sum += shard.rows;
  return sum;
}

json parse_json_object(const std::string& text, const std::string& what) {
  try {
    json value = parse_json(text);
    if (value.is_object()) return value;
  } catch (const std::invalid_argument& error) {
    refuse(what, " is not JSON: ", error.what());
  }
  refuse(what, " is not a JSON object; pass {...}");
}

bool has_manifest(const fs::path& directory) { return path_exists(directory / kManifestName); }

Manifest read_manifest(const fs::path& directory, const std::string& format) {
  const fs::path path = directory / kManifestName;
  if (!has_manifest(directory)) {
    fail(ErrorCode::io, '"', directory.string(), "\" holds no ", kManifestName,
         "; was it written by helip, and to its end?");
  }
  const std::string text = read_small_file(path, kManifestLimit);
  if (!is_whole(text)) throw_damaged(path, "its checksum does not match");
  try {
    const json root = parse_json(text);
    require(root.is_object(), "it is not a JSON object");
    const auto found = root.at("format").get<std::string>();
    if (found != format) {
      fail(ErrorCode::mismatch, '"', directory.string(), "\" is a ", excerpt(found), ", not a ",
           format, "; give the path of one");
    }
    const auto version = integer_of(root.at("version"));
    const auto features = root.at("requires").get<std::vector<std::string>>();
    if (version > kManifestVersion) {
      fail(ErrorCode::unsupported, '"', directory.string(), "\" has version ", version,
           ", this helip reads versions up to ", kManifestVersion, "; upgrade helip");
    }
    for (const std::string& feature : features) {
      if (feature == kDeletedRows || feature == kCorpus || feature == kMatrices) continue;
      fail(ErrorCode::unsupported, '"', directory.string(), "\" needs the feature \"",
           excerpt(feature), "\", which this helip lacks; upgrade helip");
    }
    return from_json(root);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    throw_damaged(path, error.what());
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw_damaged(path, error.what());
  }
}

void replace_manifest(const fs::path& directory, const Manifest& manifest) {
  if (std::max(manifest.generation, manifest.next_shard) > kMostCount) {
    fail(ErrorCode::unsupported, quoted(directory), " would have generation ", manifest.generation,
         " and next_shard ", manifest.next_shard,
         ", at most 2^62; copy what it holds to a new folder");
  }
  std::string text;
  try {
    text = serialise(to_json(manifest));
    check_json_bounds(text);
  } catch (const json::exception& error) {
    refuse("the metadata cannot be written as JSON: ", error.what());
  } catch (const std::invalid_argument& error) {
    refuse("the metadata could not be read again: it has ", error.what());
  }
  if (static_cast<std::int64_t>(text.size()) > kManifestLimit) {
    refuse("the manifest would have ", text.size(), " bytes, more than the ", kManifestLimit,
           " that can be read; use fewer, larger shards, or write a new store without the deleted "
           "rows");
  }
  PendingFile file(directory);
  file.write_at(text.data(), text.size(), 0);
  file.replace(kManifestName);
}

void write_manifest(const fs::path& directory, const Manifest& manifest) {
  replace_manifest(directory, manifest);
  sync_directory(directory);
}

}  // namespace helip
