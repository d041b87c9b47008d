#include <algorithm>

#include "filter.h"

namespace helip::mining {
namespace {

class Float32Filter final : public Filter {
 public:
  explicit Float32Filter(const Corpus& corpus)
      : corpus_(corpus),
        image_dimensions_(corpus.image_dimensions()),
        text_dimensions_(corpus.text_dimensions()) {}

  std::int64_t row_panel_size() const override { return panel_size(kTileRows); }
  std::int64_t column_panel_size() const override { return panel_size(kTileColumns); }

  void pack_rows(const RowList& list, std::int64_t first, float* panel) const override {
    pack(list, first, kTileRows, panel);
  }
  void pack_columns(const RowList& list, std::int64_t first, float* panel) const override {
    pack(list, first, kTileColumns, panel);
  }

  void similarities(const float* rows, const float* columns, float* image,
                    float* text) const override {
    one_modality(rows, columns, image_dimensions_, image);
    one_modality(rows + image_dimensions_ * kTileRows, columns + image_dimensions_ * kTileColumns,
                 text_dimensions_, text);
  }

  double image_error() const override {
    return corpus_.image() != nullptr ? float32_error(image_dimensions_) : 0.0;
  }
  double text_error() const override {
    return corpus_.text() != nullptr ? float32_error(text_dimensions_) : 0.0;
  }

 private:
  std::int64_t panel_size(std::int64_t lanes) const {
    return (lanes * (image_dimensions_ + text_dimensions_) + 15) / 16 * 16;
  }

  void one_modality(const float* rows, const float* columns, std::int64_t dimensions,
                    float* tile) const {
    if (dimensions == 0) {
      std::fill_n(tile, kTileRows * kTileColumns, 1.0F);
    } else {
      corpus_.kernel().similarities(rows, columns, dimensions, tile);
    }
  }

  void pack(const RowList& list, std::int64_t first, int lanes, float* panel) const {
    float* out = panel;
    for (const Rows* rows : {corpus_.image(), corpus_.text()}) {
      if (rows == nullptr) continue;
      const std::int64_t dimensions = rows->dimensions();
      Scratch scratch(dimensions);
      std::vector<float> units(static_cast<std::size_t>(dimensions * lanes));
      const std::int64_t present = std::clamp<std::int64_t>(list.size - first, 0, lanes);
      for (std::int64_t i = 0; i < present; ++i) {
        rows->unit(list[first + i], units.data() + i * dimensions, scratch);
      }
      corpus_.kernel().interleave(units.data(), dimensions, lanes, out);
      out += dimensions * lanes;
    }
  }

  const Corpus& corpus_;
  const std::int64_t image_dimensions_;
  const std::int64_t text_dimensions_;
};

}  // namespace

std::unique_ptr<Filter> make_float32_filter(const Corpus& corpus) {
  return std::make_unique<Float32Filter>(corpus);
}

double float32_error(std::int64_t dimensions) noexcept {
  constexpr double u = 0x1p-24;
  const double sum = static_cast<double>(dimensions) * u;
  const double gamma = sum / (1.0 - sum);
  // The last term stands for float64's own rounding and for float32 underflow.
  return (gamma + 2.0 * u + u * u) * (1.0 + u) * (1.0 + u) + 1e-12;
}

}  // namespace helip::mining
