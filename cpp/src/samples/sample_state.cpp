#include "samples/sample_state.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "base/refuse.h"
#include "base/text.h"
#include "io/byte_progress.h"
#include "samples/shard_list.h"

namespace helip {

using json = Json;
using samples::kAbsent;
using samples::kRefused;

std::string_view SampleIndex::State::key(std::int64_t row) const {
  if (reader) return reader->key(row);
  if (row < 0 || row >= rows) {
    refuse("row ", row, " is outside 0 .. ", rows - 1);
  }
  return own.key(row);
}

std::int64_t SampleIndex::State::shard_of(std::int64_t row) const {
  const auto behind = std::upper_bound(
      shards.begin(), shards.end(), row,
      [](std::int64_t r, const SampleShard& shard) { return r < shard.first_row; });
  return behind - shards.begin() - 1;
}

samples::SampleRows SampleIndex::State::copy(std::int64_t first, std::int64_t count) const {
  samples::SampleRows rows_copied;
  for (std::int64_t row = first; row < first + count; ++row) {
    rows_copied.add(key(row), offsets + row * kSampleFields, sizes + row * kSampleFields,
                    digests + row * samples::kDigests);
  }
  return rows_copied;
}

std::string SampleIndex::State::remedy() const {
  return path.empty() ? "open the data set again"
                      : "bring the index up to date with: helip index SHARDS --out \"" +
                            path.string() + "\"";
}

void SampleIndex::State::add_row(std::int64_t row, DataFingerprint& fingerprint) const {
  const std::uint64_t* of_row = digests + row * samples::kDigests;
  fingerprint.add(key(row), of_row[0], of_row[1]);
}

void SampleIndex::State::take(samples::SampleRows taken) {
  own = std::move(taken);
  rows = own.size();
  offsets = own.offsets.data();
  sizes = own.sizes.data();
  digests = own.digests.data();
  counts = {};
  counts.rows = rows;
  counts.shards = static_cast<std::int64_t>(shards.size());
  DataFingerprint digest;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t* from = offsets + row * kSampleFields;
    const auto has = [from](SampleField field) { return from[static_cast<int>(field)] >= 0; };
    if (!has(SampleField::image)) ++counts.missing_image;
    if (!has(SampleField::text) && !has(SampleField::json)) ++counts.missing_caption;
    add_row(row, digest);
  }
  fingerprint = digest.text();
  for (const SampleShard& shard : shards) {
    for (const auto& [reason, count] : shard.ignored) counts.ignored[reason] += count;
  }
}

// By sorted 64-bit hashes, 16 bytes a row; equal hashes are compared as text. Of several faults the
// one that comes first in the data is named, so that it does not depend on the hashes.
void SampleIndex::State::check_unique() const {
  std::vector<std::pair<std::uint64_t, std::int64_t>> hashes;
  hashes.reserve(static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::string_view text = key(row);
    hashes.emplace_back(XXH3_64bits(text.data(), text.size()), row);
  }
  std::sort(hashes.begin(), hashes.end());
  std::int64_t first = 0, second = rows;
  for (std::size_t begin = 0; begin < hashes.size();) {
    std::size_t end = begin + 1;
    while (end < hashes.size() && hashes[end].first == hashes[begin].first) ++end;
    std::unordered_map<std::string_view, std::int64_t> seen;
    for (std::size_t i = begin; end - begin > 1 && i < end; ++i) {
      const std::int64_t row = hashes[i].second;
      const auto [found, is_new] = seen.emplace(key(row), row);
      if (is_new || row >= second) continue;
      first = found->second;
      second = row;
    }
    begin = end;
  }
  if (second == rows) return;
  refuse("two samples have the key '", excerpt(key(second)), "': ", place_of(first), " and ",
         place_of(second),
         "; keys must be unique over all shards: rename one, or leave a shard out");
}

std::string SampleIndex::State::place_of(std::int64_t row) const {
  const std::int64_t* from = offsets + row * kSampleFields;
  const auto shard = static_cast<std::size_t>(shard_of(row));
  return shards[shard].path.string() + " at offset " +
         std::to_string(std::max<std::int64_t>(0, *std::max_element(from, from + kSampleFields)));
}

void SampleIndex::State::check(const ProgressCallback& progress) const {
  if (!reader) return;
  ByteProgress bytes("check", reader->bytes(), progress);
  reader->verify({}, [&](std::int64_t read) { bytes.advance(read); });
  const auto damaged = [this](const std::string& what) {
    throw_damaged(path, what, "build the index again");
  };
  DataFingerprint digest;
  for (const SampleShard& shard : shards) {
    for (std::int64_t row = shard.first_row; row < shard.first_row + shard.rows; ++row) {
      add_row(row, digest);
      for (std::int64_t i = row * kSampleFields; i < (row + 1) * kSampleFields; ++i) {
        const bool none = offsets[i] == kAbsent || offsets[i] == kRefused;
        // A size at the cap stands for any that is larger.
        const bool inside = offsets[i] >= 0 && sizes[i] >= 0 && offsets[i] <= shard.bytes &&
                            sizes[i] <= shard.bytes - offsets[i];
        if (none ? sizes[i] != 0 : !inside) {
          damaged("a member of row " + std::to_string(row) + " lies outside of its shard");
        }
      }
    }
  }
  if (digest.text() != fingerprint) damaged("the rows do not give its fingerprint");
}

json SampleIndex::State::attributes(const std::filesystem::path& root) const {
  return {{"fingerprint", fingerprint},
          {"image_extensions", options.image_extensions},
          {"missing_image", counts.missing_image},
          {"missing_caption", counts.missing_caption},
          {"root", root.string()},
          {"shards", samples::to_json(shards, root)}};
}

void SampleIndex::State::set_attributes(const json& attributes, const std::filesystem::path& root) {
  options.image_extensions = attributes.at("image_extensions").get<std::vector<std::string>>();
  shards = samples::shards_from_json(
      attributes.at("shards"),
      root.empty() ? std::filesystem::path(attributes.at("root").get<std::string>()) : root);
  fingerprint = attributes.at("fingerprint").get<std::string>();
  options.contents =
      !shards.empty() &&
      std::all_of(shards.begin(), shards.end(), [](const auto& s) { return !s.contents.empty(); });
  counts = {};
  for (const SampleShard& shard : shards) {
    counts.rows += shard.rows;
    for (const auto& [reason, count] : shard.ignored) counts.ignored[reason] += count;
  }
  counts.shards = static_cast<std::int64_t>(shards.size());
  counts.missing_image = integer_of(attributes.at("missing_image"));
  counts.missing_caption = integer_of(attributes.at("missing_caption"));
  for (const std::int64_t missing : {counts.missing_image, counts.missing_caption}) {
    if (missing < 0 || missing > rows) {
      throw std::invalid_argument("of its " + std::to_string(rows) + " rows " +
                                  std::to_string(missing) + " lack something");
    }
  }
  if (counts.rows != rows || rows == 0) {
    throw std::invalid_argument("its shards have " + std::to_string(counts.rows) +
                                " rows, and it has " + std::to_string(rows));
  }
}

}  // namespace helip
