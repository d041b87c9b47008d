// An index as bytes, for another process.
#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "base/refuse.h"
#include "base/rethrow.h"
#include "helip/sample_index.h"
#include "io/json.h"
#include "samples/sample_state.h"
#include "samples/shard_list.h"

namespace helip {
namespace {

using samples::SampleRows;

// Values one after the other, as they lie in memory.
template <typename Value>
void put(std::string& bytes, const Value* values, std::size_t count) {
  bytes.append(reinterpret_cast<const char*>(values), count * sizeof(Value));
}

template <typename Value>
void get(std::string_view& bytes, Value* values, std::size_t count) {
  if (bytes.size() / sizeof(Value) < count) {
    throw Error(ErrorCode::corrupt, "the bytes of an index end too early; open the data set again");
  }
  if (count == 0) return;
  std::memcpy(values, bytes.data(), count * sizeof(Value));
  bytes.remove_prefix(count * sizeof(Value));
}

template <typename Value>
std::vector<Value> get_vector(std::string_view& bytes, std::size_t count) {
  if (bytes.size() / sizeof(Value) < count)
    count = bytes.size() / sizeof(Value) + 1;  // get() throws
  std::vector<Value> values(count);
  get(bytes, values.data(), count);
  return values;
}

}  // namespace

std::string SampleIndex::to_bytes() const try {
  const State& state = *state_;
  const std::string header = state.attributes(samples::common_root(state.shards)).dump();
  const SampleRows copied = state.reader ? state.copy(0, state.rows) : SampleRows();
  const SampleRows& rows = state.reader ? copied : state.own;
  const std::uint64_t counts[] = {header.size(), static_cast<std::uint64_t>(state.rows),
                                  rows.key_bytes.size()};
  std::string bytes;
  bytes.reserve(sizeof counts + header.size() + rows.key_bytes.size() +
                static_cast<std::size_t>(state.rows + 1) *
                    (kSampleFields * 12 + samples::kDigests * 8 + 8));
  put(bytes, counts, 3);
  bytes += header;
  put(bytes, rows.offsets.data(), rows.offsets.size());
  put(bytes, rows.sizes.data(), rows.sizes.size());
  put(bytes, rows.digests.data(), rows.digests.size());
  put(bytes, rows.key_offsets.data(), rows.key_offsets.size());
  bytes += rows.key_bytes;
  return bytes;
} catch (...) {
  rethrow_as_error();
}

SampleIndex SampleIndex::from_bytes(std::string_view bytes) try {
  std::uint64_t counts[3] = {};
  get(bytes, counts, 3);
  const auto header = get_vector<char>(bytes, counts[0]);
  const std::size_t n = counts[1];
  SampleRows rows;
  rows.offsets = get_vector<std::int64_t>(bytes, n * kSampleFields);
  rows.sizes = get_vector<std::int32_t>(bytes, n * kSampleFields);
  rows.digests = get_vector<std::uint64_t>(bytes, n * samples::kDigests);
  rows.key_offsets = get_vector<std::uint64_t>(bytes, n + 1);
  rows.key_bytes = bytes;
  // Each key has a byte or more.
  const bool ascending = std::adjacent_find(rows.key_offsets.begin(), rows.key_offsets.end(),
                                            std::greater_equal<>()) == rows.key_offsets.end();
  if (!ascending || rows.key_offsets.back() != counts[2] || bytes.size() != counts[2]) {
    throw Error(ErrorCode::corrupt, "the keys of an index are damaged; open the data set again");
  }
  auto state = std::make_shared<State>();
  try {
    state->rows = rows.size();
    state->set_attributes(parse_json({header.data(), header.size()}), {});
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    fail(ErrorCode::corrupt, "the bytes of an index are damaged: ", error.what(),
         "; open the data set again");
  }
  state->take(std::move(rows));
  return SampleIndex(std::move(state));
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
