#include "mine/bound/codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "mine/bound/int8_code.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kMostSlabs = 8;  // for each of which the matrices are read
constexpr std::int64_t kSlabBytes = std::int64_t{1} << 30;  // of codes that are written together
constexpr std::int64_t kScaleRows = 1024;  // that the scale of the codes is taken from
constexpr std::int64_t kKeptPerNew = 8;    // rows in all; with fewer new ones nothing is written
constexpr double kLeastScale = 1e-4;       // of the length of a row
constexpr double kHeadroom = 1.05;         // rows outside the sample reach a little further
constexpr std::uint64_t kScaleStream = 0x7363'616c'65ULL;
// Rounding of unit vectors, weights and bounds to float32, generously.
constexpr double kRounding = 1e-6;

std::int64_t fine_padded(std::int64_t depth) { return (depth + 127) / 128 * 128; }

// No less than the value, and than its rounding to float32.
float bounded_above(double value) { return static_cast<float>(value * (1.0 + 0x1p-22)); }

// Relative error of a sum of squares in float32, 32 lanes: at most (count / 32 + 40) · 2^-24,
// generously twice that.
double sum_error(std::int64_t count) { return static_cast<double>(count / 32 + 40) * 0x1p-23; }

// No less than the length.
double norm(const float* values, std::int64_t count, const Kernel& kernel) {
  return std::sqrt(static_cast<double>(kernel.squared_length(values, count))) *
         (1.0 + sum_error(count));
}

// The scale at which these values keep the limits.
double scale_for(const float* values, std::int64_t count, const CodeLimits& limits,
                 const Kernel& kernel) {
  double scale = static_cast<double>(kernel.largest(values, count)) / limits.largest;
  if (limits.chunk_norm > 0.0) {
    for (std::int64_t at = 0; at < count; at += kCodeChunk) {
      const std::int64_t size = std::min(kCodeChunk, count - at);
      scale = std::max(scale, norm(values + at, size, kernel) / limits.chunk_norm);
    }
  }
  return scale;
}

// Codes that reach beyond the norm that the products of a chunk can hold are drawn in. Whether any
// were.
bool keep_chunk_norm(std::int64_t count, double most, std::int8_t* codes) {
  bool changed = false;
  for (std::int64_t at = 0; at < count; at += kCodeChunk) {
    const std::int64_t size = std::min(kCodeChunk, count - at);
    std::int32_t sum = 0;
    for (std::int64_t i = at; i < at + size; ++i) sum += codes[i] * codes[i];
    const double length = std::sqrt(static_cast<double>(sum));
    if (length <= most) continue;
    changed = true;
    for (std::int64_t i = at; i < at + size; ++i) {
      codes[i] = static_cast<std::int8_t>(codes[i] * most / length);  // towards zero
    }
  }
  return changed;
}

double residual(float squared, std::int64_t count) {
  return std::sqrt(static_cast<double>(squared)) * (1.0 + sum_error(count));
}

// No less than |w|.
double row_length(const FilterPlan& plan) { return std::sqrt(plan.length) * (1.0 + kRounding); }

// By how far `count` computed coordinates may be off what exact arithmetic gives, as a vector.
double coordinate_error(const FilterPlan& plan, std::int64_t dimensions, std::int64_t count) {
  const double length = row_length(plan);
  const double rounding = 2.0 * kRounding * length;
  if (plan.low == 0) return rounding;
  return rounding + std::sqrt(static_cast<double>(count)) * product_error(dimensions) * length *
                        (1.0 + plan.basis.excess);
}

}  // namespace

struct Codes::Layout {
  Layout(const Corpus& corpus, const FilterPlan& plan)
      : filters{plan.high, plan.low > 0 ? plan.low : padded_depth(corpus.dimensions()),
                plan.second},
        has_fine(!plan.light) {
    for (const Corpus::Channel& channel : corpus.channels()) {
      units.push_back(fine_padded(channel.rows.dimensions()));
    }
  }
  // Of the coarse codes of a channel and the fine ones.
  std::int64_t unit_bytes(std::int64_t depth) const { return has_fine ? depth / 2 * 3 : depth; }
  // Of the codes of a row: an odd number of lines, so that those of a column of rows lie in all
  // sets of a cache.
  std::int64_t stride() const {
    std::int64_t bytes = 0;
    for (const std::int64_t depth : filters) bytes += padded_depth(depth);
    for (const std::int64_t depth : units) bytes += unit_bytes(depth);
    return (bytes / kLine | 1) * kLine;
  }
  std::int64_t bytes() const {
    std::int64_t bytes = stride();
    for (const std::int64_t depth : filters) bytes += depth > 0 ? sizeof(FilterBounds) : 0;
    return bytes + static_cast<std::int64_t>(units.size() * sizeof(UnitBounds));
  }
  static constexpr std::int64_t kLine = 64;  // bytes of a cache line
  static_assert(kCodeAlign % kLine == 0);
  std::int64_t filters[3];
  std::vector<std::int64_t> units;
  bool has_fine;
};

// One thread's part.
class Codes::Encoder {
 public:
  Encoder(const Corpus& corpus, const FilterPlan& plan, const ProductPanels* panels)
      : corpus_(corpus),
        plan_(plan),
        panels_(panels),
        dimensions_(corpus.dimensions()),
        reader_(corpus, plan.factors),
        units_(static_cast<std::size_t>(kProductRows * dimensions_)),
        weighted_(units_.size()),
        packed_(panels == nullptr ? 0 : dimensions_, corpus.kernel()),
        coordinates_(
            panels == nullptr ? 0 : static_cast<std::size_t>(kProductRows * panels->padded())) {}

  // Coordinates of up to kProductRows rows.
  void read(const std::uint32_t* rows, std::int64_t count) {
    for (std::int64_t r = 0; r < count; ++r) {
      float* unit = units_.data() + r * dimensions_;
      reader_.read_units(rows[r], unit);
      reader_.weigh(unit, weighted_.data() + r * dimensions_);
    }
    if (panels_ == nullptr) return;
    packed_.pack(weighted_.data(), count);
    panels_->multiply(packed_.data(), packed_.tiles(), coordinates_.data());
  }

  const float* unit(std::int64_t r) const { return units_.data() + r * dimensions_; }
  // What the filters see: coordinates along the basis, or the weighted row.
  const float* values(std::int64_t r) const {
    return panels_ == nullptr ? weighted_.data() + r * dimensions_
                              : coordinates_.data() + r * panels_->padded();
  }

  // Writes one row; its slacks and errors are lengths still, see finish().
  void encode(std::int64_t r, const Codes& codes, std::int64_t place, CodeScales& longest) {
    std::int8_t* out = codes.at(place);
    const float* x = values(r);
    for (const Filter filter : {kHigh, kLow, kSecond}) {
      if (codes.depth_[filter] == 0) continue;
      codes.filter_bounds_[filter][place] = filter_codes(
          x, dimensions_of(filter), codes.depth_[filter], codes.scales_.filters[filter],
          limits_of(filter), out + codes.filter_at_[filter], longest.longest_filters[filter]);
    }
    std::int64_t first = 0;
    for (int c = 0; c < codes.channels_; ++c) {
      const std::int64_t count = corpus_.channels()[static_cast<std::size_t>(c)].rows.dimensions();
      codes.units_[c].bounds[place] =
          unit_codes(unit(r) + first, count, unit_mean(c), codes.units_[c].depth,
                     out + codes.units_[c].at, codes.has_fine_, longest.longest_units[c]);
      first += count;
    }
  }

  // The scales at which the filters' codes of row r keep the limits.
  void fit(std::int64_t r, const Codes& codes, double (&scales)[3]) {
    for (const Filter filter : {kHigh, kLow, kSecond}) {
      if (codes.depth_[filter] == 0) continue;
      centre(values(r), dimensions_of(filter), plan_.mean, codes.depth_[filter]);
      scales[filter] = std::max(scales[filter], scale_for(centred_.data(), codes.depth_[filter],
                                                          limits_of(filter), corpus_.kernel()));
    }
  }

 private:
  static constexpr CodeLimits kPlainLimits{127, 0.0, 0};

  const std::vector<float>& unit_mean(int channel) const {
    static const std::vector<float> kZero;
    const auto c = static_cast<std::size_t>(channel);
    return c < plan_.unit_means.size() ? plan_.unit_means[c] : kZero;
  }

  std::int64_t dimensions_of(Filter filter) const {
    if (filter == kHigh) return plan_.high;
    if (filter == kSecond) return plan_.second;
    return panels_ == nullptr ? dimensions_ : plan_.low;
  }
  CodeLimits limits_of(Filter filter) const {
    return filter == kSecond ? kPlainLimits : corpus_.kernel().limits;
  }

  // Fills centred_ [depth] with the first `count` of x − mean, spread evenly; depth is count
  // padded. Returns <mean, x> − |mean|²/2 of those.
  double centre(const float* x, std::int64_t count, const std::vector<float>& mean,
                std::int64_t depth) {
    centred_.assign(x, x + count);
    centred_.resize(static_cast<std::size_t>(depth));
    if (!mean.empty()) {
      for (std::int64_t i = 0; i < count; ++i) {
        centred_[static_cast<std::size_t>(i)] -= mean[static_cast<std::size_t>(i)];
      }
    }
    corpus_.kernel().spread(centred_.data(), depth);
    return offset_of(x, count, mean);
  }

  double offset_of(const float* x, std::int64_t count, const std::vector<float>& mean) const {
    if (mean.empty()) return 0.0;
    const Kernel& kernel = corpus_.kernel();
    return kernel.dot_float(mean.data(), x, count) -
           kernel.dot_float(mean.data(), mean.data(), count) / 2.0;
  }

  FilterBounds filter_codes(const float* x, std::int64_t count, std::int64_t depth, double scale,
                            const CodeLimits& limits, std::int8_t* codes, double& longest) {
    const Kernel& kernel = corpus_.kernel();
    const double offset = centre(x, count, plan_.mean, depth);
    const float* y = centred_.data();
    const auto rounded_scale = static_cast<float>(scale);
    float missed = kernel.round_codes(y, depth, rounded_scale, limits.largest, codes);
    if (limits.chunk_norm > 0.0 && keep_chunk_norm(depth, limits.chunk_norm, codes)) {
      missed = kernel.missed(y, depth, rounded_scale, codes);
    }
    const double length = row_length(plan_);
    const double off = coordinate_error(plan_, dimensions_, count);
    double rest = 0.0;
    if (panels_ != nullptr) {
      const double held =
          std::max(0.0, norm(x, count, kernel) * (1.0 - 2.0 * sum_error(count)) - off);
      rest = std::max(0.0, length * length * (1.0 + plan_.basis.excess) - held * held);
    }
    longest = std::max(longest, norm(y, depth, kernel) + off);
    const double units = 1.0 / (scale * scale);
    return {static_cast<float>(offset * units), bounded_above(std::sqrt(rest * units)),
            bounded_above(residual(missed, depth) + off), kernel.sum_codes(codes, depth)};
  }

  UnitBounds unit_codes(const float* unit, std::int64_t count, const std::vector<float>& mean,
                        std::int64_t depth, std::int8_t* codes, bool fine, double& longest) {
    const Kernel& kernel = corpus_.kernel();
    const double offset = centre(unit, count, mean, depth);
    const float* y = centred_.data();
    const Int8Code coarse = encode_int8(y, depth, kernel, codes);
    const float scale = coarse.scale;
    longest = std::max(longest, norm(y, depth, kernel) + 2.0 * kRounding);
    UnitBounds bounds{};
    bounds.scale = scale;
    bounds.offset = static_cast<float>(offset);
    bounds.error = bounded_above(residual(coarse.missed, depth) + 2.0 * kRounding);
    bounds.sum = coarse.sum;
    if (!fine) return bounds;
    for (std::int64_t i = 0; i < depth; ++i) {
      centred_[static_cast<std::size_t>(i)] -= scale * static_cast<float>(codes[i]);
    }
    const float fine_scale = scale / kFineSteps;
    fine_.resize(static_cast<std::size_t>(depth));
    kernel.round_codes(y, depth, fine_scale, 8, fine_.data());
    for (std::int8_t& code : fine_) code = std::min<std::int8_t>(code, 7);
    const float still = kernel.missed(y, depth, fine_scale, fine_.data());
    bounds.fine_error = bounded_above(residual(still, depth) + 2.0 * kRounding);
    std::int8_t* packed = codes + depth;
    for (std::int64_t k = 0; k < depth; k += 128) {
      for (std::int64_t i = 0; i < 64; ++i) {
        const int low = fine_[static_cast<std::size_t>(k + i)] + 8;
        const int high = fine_[static_cast<std::size_t>(k + 64 + i)] + 8;
        packed[k / 2 + i] = static_cast<std::int8_t>(low | high << 4);
      }
    }
    return bounds;
  }

  const Corpus& corpus_;
  const FilterPlan& plan_;
  const ProductPanels* panels_;
  const std::int64_t dimensions_;
  WeightedRow reader_;
  std::vector<float> units_, weighted_;
  PackedRows packed_;
  std::vector<float> coordinates_, centred_;
  std::vector<std::int8_t> fine_;
};

Codes::Codes(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
             const std::filesystem::path& folder, Team& team, KeptCodes* kept)
    : size_(static_cast<std::int64_t>(order.rows.size())) {
  const Layout layout(corpus, plan);
  std::int64_t next = 0;
  for (const Filter filter : {kHigh, kLow, kSecond}) {
    depth_[filter] = layout.filters[filter];
    filter_at_[filter] = next;
    next += padded_depth(depth_[filter]);
  }
  for (const std::int64_t depth : layout.units) {
    units_[channels_].depth = depth;
    units_[channels_].at = next;
    next += layout.unit_bytes(depth);
    ++channels_;
  }
  has_fine_ = layout.has_fine;
  stride_ = layout.stride();
  const bool found = kept != nullptr && kept->found();
  // Rows to forget are read too.
  const std::int64_t rows = std::max(size_, found ? kept->rows() : 0);
  const auto scratch = [&](std::int64_t bytes, std::int64_t begin = 0) {
    return folder.empty() ? ScratchMemory(bytes) : ScratchMemory(bytes, folder, begin);
  };
  memory_ = scratch(rows * stride_, found ? kept->mapped_bytes(stride_) : 0);
  bound_memory_ = scratch(rows * (layout.bytes() - stride_));
  char* free = bound_memory_.data();
  const auto take = [&](auto*& bounds, bool is_used) {
    if (!is_used) return;
    bounds = reinterpret_cast<std::remove_reference_t<decltype(bounds)>>(free);
    free += rows * static_cast<std::int64_t>(sizeof *bounds);
  };
  for (const Filter filter : {kHigh, kLow, kSecond})
    take(filter_bounds_[filter], depth(filter) > 0);
  for (int c = 0; c < channels_; ++c) take(units_[c].bounds, true);
  if (size_ == 0) return;

  std::unique_ptr<ProductPanels> panels;
  if (plan.low > 0) {
    panels = std::make_unique<ProductPanels>(plan.basis.vectors.data(), plan.basis.count,
                                             plan.basis.dimensions, corpus.kernel());
  }
  const std::int64_t first = found ? kept->read(sections(), scales_, team) : 0;
  if (found) mapped_ = kept->mapped();
  // Damaged ones: what they were to be mapped over has no room on disk yet.
  if (found && !kept->found()) memory_ = scratch(rows * stride_);
  team.begin_stage("encode", size_, size_, first);
  if (first == 0) find_scales(corpus, plan, order, panels.get(), team);
  encode(corpus, plan, order, first, panels.get(), team);
  team.end_stage();
  // Few new rows are encoded sooner than all codes are written.
  if (kept != nullptr && (size_ - first) * kKeptPerNew > size_) {
    kept->keep(plan, order, scales_, sections());
  }
  finish(plan, corpus, team);
}

Codes::~Codes() {
  if (mapped_) mapped_->end();
}

void Codes::find_scales(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
                        const ProductPanels* panels, Team& team) {
  std::vector<std::uint32_t> rows;
  for (const std::uint32_t place : draw_rows(size_, std::min(size_, kScaleRows), 0, kScaleStream)) {
    rows.push_back(order.rows[place]);
  }
  // Not zero where all rows of the sample coincide; what they do not show is measured later.
  const double least = kLeastScale * row_length(plan);
  double scales[3] = {least, least, least};
  std::mutex mutex;
  team.for_blocks(static_cast<std::int64_t>(rows.size()), kProductRows,
                  [&](std::int64_t begin, std::int64_t end, int) {
                    Encoder encoder(corpus, plan, panels);
                    double own[3] = {least, least, least};
                    encoder.read(rows.data() + begin, end - begin);
                    for (std::int64_t r = 0; r < end - begin; ++r) encoder.fit(r, *this, own);
                    const std::lock_guard lock(mutex);
                    for (int f = 0; f < 3; ++f) scales[f] = std::max(scales[f], own[f]);
                  });
  for (int f = 0; f < 3; ++f) scales_.filters[f] = static_cast<float>(scales[f] * kHeadroom);
}

// The rows from place `first` on.
void Codes::encode(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
                   std::int64_t first, const ProductPanels* panels, Team& team) {
  std::vector<std::uint32_t> place(static_cast<std::size_t>(corpus.size()), ~0U);
  for (std::int64_t i = first; i < size_; ++i) {
    place[order.rows[static_cast<std::size_t>(i)]] = static_cast<std::uint32_t>(i);
  }
  // In the order of the rows, so that a matrix on disk is read from front to back; but of so many
  // places at a time that the pages of their codes are still in memory when they are written again.
  // Not too few: each time the matrices are read once more.
  const std::int64_t slab = std::max(kSlabBytes / stride_ + 1, (size_ - first) / kMostSlabs + 1);
  std::mutex mutex;
  std::vector<std::unique_ptr<Encoder>> encoders(static_cast<std::size_t>(team.size()));
  for (; first < size_; first += slab) {
    const std::int64_t last = std::min(size_, first + slab);
    team.for_blocks(
        corpus.size(), 4 * kProductRows, [&](std::int64_t begin, std::int64_t end, int worker) {
          auto& own = encoders[static_cast<std::size_t>(worker)];
          if (!own) own = std::make_unique<Encoder>(corpus, plan, panels);
          Encoder& encoder = *own;
          std::vector<std::uint32_t> rows;
          CodeScales longest;
          std::int64_t encoded = 0;
          const auto flush = [&] {
            encoder.read(rows.data(), static_cast<std::int64_t>(rows.size()));
            for (std::size_t r = 0; r < rows.size(); ++r) {
              encoder.encode(static_cast<std::int64_t>(r), *this, place[rows[r]], longest);
            }
            encoded += static_cast<std::int64_t>(rows.size());
            rows.clear();
          };
          for (std::int64_t row = begin; row < end && !team.stopped(); ++row) {
            const std::int64_t at = place[static_cast<std::size_t>(row)];
            if (at >= first && at < last) rows.push_back(static_cast<std::uint32_t>(row));
            if (static_cast<std::int64_t>(rows.size()) == kProductRows) flush();
          }
          if (!rows.empty()) flush();
          team.add_work(encoded);
          const std::lock_guard lock(mutex);
          scales_.take_longest(longest);
        });
  }
}

// Lengths of errors become slacks, now that the greatest lengths are known.
void Codes::finish(const FilterPlan& plan, const Corpus& corpus, Team& team) {
  // Half of what both rows share is each one's: a basis a little longer than 1, and the roundings
  // of the comparison itself, relative to products of at most about the length. The offset is off
  // by the mean times the error of the coordinates.
  const double mean =
      plan.mean.empty()
          ? 0.0
          : norm(plan.mean.data(), static_cast<std::int64_t>(plan.mean.size()), corpus.kernel());
  double shared[3];
  for (const Filter filter : {kHigh, kLow, kSecond}) {
    shared[filter] = plan.length * (plan.basis.excess / 2.0 + 3.0 * kRounding) +
                     mean * coordinate_error(plan, corpus.dimensions(), depth_[filter]);
  }
  const auto slack = [](double missed, double length) {
    return length * missed + missed * missed / 2.0;
  };
  team.for_blocks(size_, 4096, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (const Filter filter : {kHigh, kLow, kSecond}) {
        if (depth_[filter] == 0) continue;
        float& own = filter_bounds_[filter][i].slack;
        own = bounded_above(factor(filter) *
                            (slack(own, scales_.longest_filters[filter]) + shared[filter]));
      }
      for (int c = 0; c < channels_; ++c) {
        UnitBounds& unit = units_[c].bounds[i];
        const double length = scales_.longest_units[c];
        // Two fine parts, each no longer than what the coarse one missed and fell short by itself,
        // are at most that long multiplied: half the squares of both.
        const double left = static_cast<double>(unit.error) + static_cast<double>(unit.fine_error);
        unit.fine_error =
            bounded_above(slack(unit.fine_error, length) + left * left / 2.0 + kRounding);
        unit.error = bounded_above(slack(unit.error, length) + kRounding);
      }
    }
  });
}

std::vector<CodeSection> Codes::sections() const {
  std::vector<CodeSection> sections{{at(0), stride_}};
  for (FilterBounds* bounds : filter_bounds_) {
    if (bounds != nullptr)
      sections.push_back({reinterpret_cast<std::int8_t*>(bounds), sizeof *bounds});
  }
  for (int c = 0; c < channels_; ++c) {
    sections.push_back(
        {reinterpret_cast<std::int8_t*>(units_[c].bounds), sizeof *units_[c].bounds});
  }
  return sections;
}

std::int64_t Codes::bytes_per_row(const Corpus& corpus, const FilterPlan& plan) noexcept {
  return Layout(corpus, plan).bytes() + static_cast<std::int64_t>(sizeof(std::uint32_t));
}

}  // namespace helip::mining
