#include "mine/graph/pair_codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "mine/bound/int8_code.h"

namespace helip::mining {
namespace {

bool shorter_image(std::int64_t image, std::int64_t text) {
  return image > 0 && (text == 0 || image < text);
}

}  // namespace

PairCodec::PairCodec(std::int64_t image_dimensions, std::int64_t text_dimensions,
                     bool signed_products, const Kernel& kernel)
    : kernel_(kernel),
      image_first_(shorter_image(image_dimensions, text_dimensions)),
      signed_(signed_products),
      dimensions_{image_first_ ? image_dimensions : text_dimensions,
                  image_first_ ? text_dimensions : image_dimensions},
      depth_{padded_depth(dimensions_[0]), padded_depth(dimensions_[1])} {}

void PairCodec::encode(const Corpus& corpus, std::int64_t row, Buffers& buffers,
                       std::int8_t* out) const {
  Head own{};
  std::int8_t* codes = out + kHead;
  for (int part = 0; part < 2; ++part) {
    if (dimensions_[part] == 0) continue;
    const std::int64_t depth = depth_[part];
    buffers.unit.assign(static_cast<std::size_t>(depth), 0.0F);
    float* unit = buffers.unit.data();
    if ((part == 0) == image_first_) {
      corpus.image()->unit(row, unit, buffers.image);
    } else {
      corpus.text()->unit(row, unit, buffers.text);
    }
    kernel_.spread(unit, depth);
    const Int8Code coded = encode_int8(unit, depth, kernel_, codes);
    own.scale[part] = coded.scale;
    own.sum[part] = coded.sum;
    codes += depth;
  }
  std::memset(out, 0, kHead);
  std::memcpy(out, &own, sizeof own);
}

bool PairCodec::is_sound(const std::int8_t* row) const noexcept {
  const Head& own = head(row);
  return std::all_of(std::begin(own.scale), std::end(own.scale),
                     [](float scale) { return std::isfinite(scale) && scale >= 0.0F; });
}

void PairCodec::Compared::resize(std::int64_t count) {
  const auto size = static_cast<std::size_t>(count);
  if (similarity.size() >= size) return;
  image.resize(size);
  text.resize(size);
  products.resize(size);
  columns.resize(size);
  numbers.resize(size);
  similarity.resize(size);  // last, for any may throw
}

float PairCodec::cosine(const Head& a, const Head& b, int part,
                        std::int32_t product) const noexcept {
  const std::int32_t exact = kernel_.limits.exact_product(product, b.sum[part]);
  return a.scale[part] * b.scale[part] * static_cast<float>(exact);
}

float PairCodec::product_of(float first, float second) const noexcept {
  const bool least = !signed_ && (first <= 0.0F || second <= 0.0F);
  return least ? std::min(first, second) : first * second;
}

void PairCodec::compare(const std::int8_t* row, const std::int8_t* const* others,
                        std::int64_t count, const float* thresholds, std::int64_t step,
                        Compared& out) const {
  out.resize(count);
  const Head& own = head(row);
  float* first = (image_first_ ? out.image : out.text).data();
  float* second = (image_first_ ? out.text : out.image).data();
  for (std::int64_t i = 0; i < count; ++i) {
    out.columns[static_cast<std::size_t>(i)] = others[i] + kHead;
  }
  kernel_.gather_products(row + kHead, out.columns.data(), count, depth_[0], out.products.data());
  const bool both = depth_[1] > 0;
  std::int64_t left = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    first[i] = cosine(own, head(others[i]), 0, out.products[at]);
    out.similarity[at] = first[i];
    second[i] = 1.0F;
    if (!both || (!signed_ && first[i] <= thresholds[i * step])) continue;
    out.columns[static_cast<std::size_t>(left)] = others[i] + kHead + depth_[0];
    out.numbers[static_cast<std::size_t>(left++)] = static_cast<std::int32_t>(i);
  }
  if (left == 0) return;
  kernel_.gather_products(row + kHead + depth_[0], out.columns.data(), left, depth_[1],
                          out.products.data());
  for (std::int64_t j = 0; j < left; ++j) {
    const auto i = static_cast<std::size_t>(out.numbers[static_cast<std::size_t>(j)]);
    second[i] = cosine(own, head(others[i]), 1, out.products[static_cast<std::size_t>(j)]);
    out.similarity[i] = product_of(first[i], second[i]);
  }
}

float PairCodec::similarity(const std::int8_t* row, const std::int8_t* other) const noexcept {
  float found[2] = {1.0F, 1.0F};
  std::int64_t at = kHead;
  for (int part = 0; part < 2 && depth_[part] > 0; at += depth_[part++]) {
    const std::int8_t* codes = other + at;
    std::int32_t product = 0;
    kernel_.gather_products(row + at, &codes, 1, depth_[part], &product);
    found[part] = cosine(head(row), head(other), part, product);
  }
  return product_of(found[0], found[1]);
}

}  // namespace helip::mining
