#include "mine/bound/kept_codes.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "helip/error.h"
#include "io/checksum.h"
#include "io/file.h"
#include "mine/bound/order_columns.h"

namespace helip::mining {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "helip.codes";
constexpr const char* kFilePrefix = "codes-";

void require(bool condition, const char* what) {
  if (!condition) throw Error(ErrorCode::corrupt, what);
}

Json plan_json(const FilterPlan& plan) {
  return {{"weight", plan.weight},
          {"length", plan.length},
          {"high_share", plan.high_share},
          {"dimensions", {plan.high, plan.low, plan.second}},
          {"basis", {plan.basis.count, plan.basis.dimensions, plan.basis.excess}},
          {"leading", {plan.leading.count, plan.leading.dimensions, plan.leading.excess}},
          {"light", plan.light},
          {"passed", {plan.passed_first, plan.passed_second, plan.passed_whole, plan.passed_score}},
          {"cycles", plan.cycles}};
}

Basis read_basis(const Json& json, const TensorFile& file, const std::string& name) {
  Basis basis;
  basis.count = json.at(0).get<std::int64_t>();
  basis.dimensions = json.at(1).get<std::int64_t>();
  basis.excess = json.at(2).get<double>();
  basis.vectors = read_column<float>(file, name);
  require(basis.count >= 0 && basis.dimensions >= 0 &&
              static_cast<std::int64_t>(basis.vectors.size()) == basis.count * basis.dimensions,
          "a basis of its filters has another length");
  return basis;
}

}  // namespace

void CodeScales::take_longest(const CodeScales& other) noexcept {
  for (int f = 0; f < 3; ++f) {
    longest_filters[f] = std::max(longest_filters[f], other.longest_filters[f]);
  }
  longest_image = std::max(longest_image, other.longest_image);
  longest_text = std::max(longest_text, other.longest_text);
}

void KeptCodes::damaged(const std::string& what) const {
  throw Error(ErrorCode::corrupt, "the codes kept in " + quoted(folder_) + " are damaged: " + what +
                                      "; remove that folder, and they are made again");
}

template <typename Read>
auto KeptCodes::checked(const Read& read) const {
  try {
    return read();
  } catch (const Json::exception& error) {
    damaged(error.what());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt) throw;
    damaged(error.what());
  }
}

KeptCodes::KeptCodes(fs::path folder, OrderedJson identity,
                     const std::function<bool(const OrderedJson&)>& fits,
                     const ProgressCallback& progress)
    : folder_(std::move(folder)), identity_(std::move(identity)), progress_(progress) {
  if (!has_manifest(folder_)) return;
  Manifest manifest;
  try {
    manifest = read_manifest(folder_, kFormat);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt) throw;
    damaged(error.what());
  }
  const Json& facts = manifest.attributes;
  if (manifest.shards.size() != 1 || !facts.contains("identity") || !facts.contains("filters") ||
      !facts.contains("scales")) {
    damaged("its manifest is not that of codes");
  }
  if (!checked([&] { return fits(OrderedJson(facts["identity"])); })) return;
  const ShardRecord& record = manifest.shards.front();
  // Another process may have put others in their place meanwhile.
  if (!path_exists(folder_ / record.file)) return;
  facts_ = facts;
  checked([&] {
    file_.emplace(folder_ / record.file, record);
    return true;
  });
}

FilterPlan KeptCodes::plan() const {
  return checked([&] {
    const Json& json = facts_.at("filters");
    FilterPlan plan;
    plan.weight = json.at("weight").get<double>();
    plan.length = json.at("length").get<double>();
    plan.high_share = json.at("high_share").get<double>();
    plan.high = json.at("dimensions").at(0).get<std::int64_t>();
    plan.low = json.at("dimensions").at(1).get<std::int64_t>();
    plan.second = json.at("dimensions").at(2).get<std::int64_t>();
    plan.basis = read_basis(json.at("basis"), *file_, "basis");
    plan.leading = read_basis(json.at("leading"), *file_, "leading");
    plan.light = json.at("light").get<bool>();
    plan.passed_first = json.at("passed").at(0).get<double>();
    plan.passed_second = json.at("passed").at(1).get<double>();
    plan.passed_whole = json.at("passed").at(2).get<double>();
    plan.passed_score = json.at("passed").at(3).get<double>();
    plan.cycles = json.at("cycles").get<double>();
    plan.mean = read_column<float>(*file_, "mean");
    plan.image_mean = read_column<float>(*file_, "image_mean");
    plan.text_mean = read_column<float>(*file_, "text_mean");
    return plan;
  });
}

RowOrder KeptCodes::whole_order() const {
  return checked([&] {
    const auto rows = facts_.at("rows").get<std::int64_t>();
    const auto directions = facts_.at("filters").at("leading").at(0).get<std::int64_t>();
    return read_order(*file_, rows, directions);
  });
}

RowOrder KeptCodes::order() const {
  RowOrder order = whole_order();
  if (forgotten_.empty()) return order;
  std::erase_if(order.rows, [&](std::uint32_t row) { return forgotten_[row] != 0; });
  order.begins = {0, static_cast<std::int64_t>(order.rows.size())};
  order.near.clear();
  order.centres.clear();
  return order;
}

RowLengths KeptCodes::lengths() const {
  return checked([&] {
    RowLengths lengths{read_column<double>(*file_, "image_length"),
                       read_column<double>(*file_, "text_length")};
    for (std::vector<double>* own : {&lengths.image, &lengths.text}) {
      for (std::size_t row = 0; row < std::min(own->size(), forgotten_.size()); ++row) {
        if (forgotten_[row] != 0) (*own)[row] = kUnknownLength;
      }
    }
    return lengths;
  });
}

std::int64_t KeptCodes::bytes() const {
  return checked([&] { return file_->elements("codes", DType::int8); });
}

std::int64_t KeptCodes::read(std::int8_t* codes, std::int64_t stride, CodeScales& scales) const {
  const std::vector<std::uint32_t> rows = whole_order().rows;
  const auto count = static_cast<std::int64_t>(rows.size());
  checked([&] {
    const Json& json = facts_.at("scales");
    for (std::size_t f = 0; f < 3; ++f) {
      scales.filters[f] = json.at("filters").at(f).get<double>();
      scales.longest_filters[f] = json.at("longest_filters").at(f).get<double>();
    }
    scales.longest_image = json.at("longest_image").get<double>();
    scales.longest_text = json.at("longest_text").get<double>();
    file_->read("codes", DType::int8, count * stride, codes);
    return true;
  });
  if (forgotten_.empty()) return count;
  std::int64_t place = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (forgotten_[rows[static_cast<std::size_t>(i)]] != 0) continue;
    if (i != place) {
      std::memcpy(codes + place * stride, codes + i * stride, static_cast<std::size_t>(stride));
    }
    ++place;
  }
  return place;
}

void KeptCodes::forget(std::vector<std::uint8_t> rows) { forgotten_ = std::move(rows); }

void KeptCodes::keep(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
                     const CodeScales& scales, const std::int8_t* codes, std::int64_t bytes) {
  make_directory(folder_);
  const std::optional<DirectoryLock> lock = DirectoryLock::if_free(folder_);
  if (!lock) return;
  TensorColumns columns;
  show_order(order, columns);
  columns.show("basis", plan.basis.vectors);
  columns.show("leading", plan.leading.vectors);
  columns.show("mean", plan.mean);
  columns.show("image_mean", plan.image_mean);
  columns.show("text_mean", plan.text_mean);
  const std::vector<double> none;
  columns.show("image_length", corpus.image() == nullptr ? none : corpus.image()->lengths());
  columns.show("text_length", corpus.text() == nullptr ? none : corpus.text()->lengths());
  columns.show("codes", std::span(codes, static_cast<std::size_t>(bytes)));
  std::int64_t all = 0;
  for (const Tensor& tensor : columns.tensors()) all += tensor.bytes();
  std::int64_t done = 0;
  const auto advance = [&](std::int64_t written) {
    done += written;
    if (progress_ && !progress_({"keep", done, all})) {
      throw Error(ErrorCode::cancelled, "mining was stopped in stage 'keep' at byte " +
                                            std::to_string(done) + " of " + std::to_string(all));
    }
  };
  advance(0);
  const std::string identity = identity_.dump();
  const std::string name =
      kFilePrefix + digest_hex(identity.data(), identity.size()) + ".safetensors";
  Manifest manifest;
  manifest.format = kFormat;
  manifest.generation = manifest.next_shard = 1;
  manifest.shard_rows = 1;
  manifest.shards = {write_tensors(folder_, name, columns.tensors(), advance)};
  manifest.attributes = {{"identity", identity_},
                         {"rows", corpus.size()},
                         {"filters", plan_json(plan)},
                         {"scales",
                          {{"filters", scales.filters},
                           {"longest_filters", scales.longest_filters},
                           {"longest_image", scales.longest_image},
                           {"longest_text", scales.longest_text}}}};
  write_manifest(folder_, manifest);
  remove_all_but(name);
}

// Codes of others, and what a process left that was killed while it wrote.
void KeptCodes::remove_all_but(const std::string& file) const noexcept {
  try {
    for (const std::string& name : names_in(folder_)) {
      const bool left = name.starts_with(kFilePrefix) || name.starts_with(PendingFile::kPrefix);
      if (left && name != file) remove_file_in(folder_, name);
    }
  } catch (const std::exception&) {  // what stays there takes room and is in nobody's way
  }
}

}  // namespace helip::mining
