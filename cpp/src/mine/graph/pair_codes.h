// Pairs as a graph compares them: both unit vectors in int8, each with a scale of its own.
//
// A unit vector x is stored as codes c, x ~ scale · c, so that a cosine is scale · scale' · <c,
// c'>, with an error of about 6e-4 where a dimension is one among hundreds. The product of the
// codes is an exact integer: every kernel compares alike.
//
// A product of two similarities of which none is negative is at most either of them. So the shorter
// vectors are multiplied first, and most pairs that cannot reach a threshold cost no more than
// that.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "mine/corpus/corpus.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// A similarity by codes is off by less, but for few pairs: at 64 dimensions it is some five
// standard deviations, at hundreds many more.
inline constexpr float kCodeError = 0.01F;
// The limit of a similarity by codes where that of the cosine is `most`; 1 leaves nothing out.
inline float code_limit(double most) noexcept {
  return most < 1.0 ? static_cast<float>(most) + kCodeError
                    : std::numeric_limits<float>::infinity();
}
// Most dimensions of a modality, beyond which products of codes could leave 32 bits.
inline constexpr std::int64_t kMostCodeDimensions = 65536;

// How a pair is stored. Row layout: a head of 64 bytes, then the codes of both modalities, those of
// fewer dimensions first, each padded with zeros to a multiple of kCodeAlign. Immutable.
class PairCodec {
 public:
  // 0 dimensions: the modality is not used, its similarity is 1.
  PairCodec(std::int64_t image_dimensions, std::int64_t text_dimensions, bool signed_products,
            const Kernel& kernel);

  std::int64_t bytes() const noexcept { return kHead + depth_[0] + depth_[1]; }  // of a row

  // A thread's buffers.
  struct Buffers {
    std::vector<float> unit;
    LoadedRow image, text;
  };
  // out [bytes()], aligned to 64 bytes: row `row` of the corpus.
  void encode(const Corpus& corpus, std::int64_t row, Buffers& buffers, std::int8_t* out) const;

  // A row compared with others. Where `similarity` is certainly at most the threshold, the cosines
  // may be missing.
  struct Compared {
    std::vector<float> similarity, image, text;
    std::vector<std::int32_t> products;
    std::vector<const std::int8_t*> columns;
    std::vector<std::int32_t> numbers;
    void resize(std::int64_t count);
  };
  // `thresholds` [count], or one for all with `step` 0. The similarity is the product of the
  // cosines, the score without any mask; but where one is not positive and products are not signed,
  // the lesser of them: it goes on falling, so that a search starting far away finds its way.
  void compare(const std::int8_t* row, const std::int8_t* const* others, std::int64_t count,
               const float* thresholds, std::int64_t step, Compared& out) const;

  // The same of one pair.
  float similarity(const std::int8_t* row, const std::int8_t* other) const noexcept;

  // Whether a row that was read from a file can be compared: its scales are finite and not
  // negative.
  bool is_sound(const std::int8_t* row) const noexcept;

  // Asks for the beginning of a row that compare() will read.
  static void prefetch(const std::int8_t* row) noexcept {
    __builtin_prefetch(row);
    __builtin_prefetch(row + kHead);
  }

 private:
  struct Head {
    float scale[2];
    std::int32_t sum[2];  // of the codes
  };
  static constexpr std::int64_t kHead = 64;
  static const Head& head(const std::int8_t* row) { return *reinterpret_cast<const Head*>(row); }
  float product_of(float first, float second) const noexcept;
  float cosine(const Head& a, const Head& b, int part, std::int32_t product) const noexcept;

  const Kernel& kernel_;
  const bool image_first_;
  const bool signed_;
  std::int64_t dimensions_[2];  // of what is multiplied first and second; 0: not used
  std::int64_t depth_[2];
};

}  // namespace helip::mining
