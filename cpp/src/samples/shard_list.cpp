#include "samples/shard_list.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "base/checked.h"
#include "base/refuse.h"
#include "samples/sample_name.h"
#include "samples/shard_file.h"
#include "tar/tar_header.h"

namespace helip::samples {
namespace {

namespace fs = std::filesystem;
using json = Json;

std::string text_of(const fs::path& path) {
  std::string text = path.string();
  if (clean_key(text) != text) {
    refuse("the path \"", text,
           "\" is not UTF-8, so it cannot be written to an index; rename the shard or its folder");
  }
  return text;
}

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

}  // namespace

fs::path common_root(const std::vector<SampleShard>& shards) {
  fs::path root = shards.empty() ? fs::path("/") : shards.front().path.parent_path();
  for (const SampleShard& shard : shards) {
    const auto is_below = [&] {
      return std::mismatch(root.begin(), root.end(), shard.path.begin(), shard.path.end()).first ==
             root.end();
    };
    while (!is_below() && root.has_relative_path()) root = root.parent_path();
  }
  if (!shards.empty() && is_url(shards.front().path) && !is_url(root)) {
    refuse("shards of one index must lie at one host or in one bucket, not at ",
           shards.front().path.string(), " and ", shards.back().path.string());
  }
  return root;
}

json to_json(const std::vector<SampleShard>& shards, const fs::path& root) {
  json list = json::array();
  for (const SampleShard& shard : shards) {
    json entry = {{"file", text_of(shard.path.lexically_relative(root))},
                  {"rows", shard.rows},
                  {"bytes", shard.bytes},
                  {"modified", shard.modified},
                  {"headers", shard.headers}};
    if (!shard.tag.empty()) entry["tag"] = shard.tag;
    if (!shard.contents.empty()) entry["contents"] = shard.contents;
    if (!shard.ignored.empty()) entry["ignored"] = shard.ignored;
    list.push_back(std::move(entry));
  }
  return list;
}

std::vector<SampleShard> shards_from_json(const json& list, const fs::path& root) {
  std::vector<SampleShard> shards;
  std::int64_t first_row = 0, bytes = 0;
  require(list.is_array(), "its shards are no list");
  for (const json& entry : list) {
    SampleShard shard;
    const fs::path file = entry.at("file").get<std::string>();
    const bool climbs = std::find(file.begin(), file.end(), fs::path("..")) != file.end();
    require(!file.empty() && file.is_relative() && !climbs, "a shard's path leads out of its root");
    shard.path = root / file;
    shard.first_row = first_row;
    shard.rows = integer_of(entry.at("rows"));
    shard.bytes = integer_of(entry.at("bytes"));
    shard.modified = integer_of(entry.at("modified"));
    shard.headers = entry.at("headers").get<std::string>();
    shard.tag = entry.value("tag", std::string());
    shard.contents = entry.value("contents", std::string());
    if (entry.contains("ignored")) {
      for (const auto& [kind, count] : entry.at("ignored").get_ref<const Json::object_t&>()) {
        // Each has a header in the shard, so that counts add up.
        shard.ignored[kind] = integer_of(count);
        require(shard.ignored[kind] >= 0 && shard.ignored[kind] <= shard.bytes / tar::kBlock,
                "the number of members that were left out is implausible");
      }
    }
    require(shard.rows >= 0 && shard.bytes >= 0 && checked_add(first_row, shard.rows) &&
                checked_add(bytes, shard.bytes),
            "the rows or bytes of a shard are implausible");
    shards.push_back(std::move(shard));
  }
  return shards;
}

}  // namespace helip::samples
