// Data of every kind that bounds have trouble with.
#pragma once

#include <string>
#include <vector>

#include "mine/corpus/corpus.h"
#include "support/mine_reference.h"

namespace helip::testing {

struct Case {
  std::string name;
  Data data;
  mining::Rules rules;
};

inline Matrix floats(const std::vector<double>& values, std::int64_t rows,
                     DType dtype = DType::float32) {
  return {values, rows, static_cast<std::int64_t>(values.size()) / rows, dtype};
}

// Data of every kind that bounds have trouble with; image and text differ in depth.
inline std::vector<Case> cases(std::int64_t rows, std::int64_t image_dim, std::int64_t text_dim) {
  const auto make = [&](const char* name, const auto& values, DType dtype = DType::float32) {
    return Case{
        name,
        {floats(values(image_dim, 1U), rows, dtype), floats(values(text_dim, 2U), rows, dtype)},
        {}};
  };
  std::vector<Case> all;
  const auto clustered = [rows](std::int64_t dim, unsigned seed) {
    return clustered_values(rows, dim, 20, 0.5, seed);
  };
  all.push_back(make("random", [rows](std::int64_t dim, unsigned seed) {
    return clustered_values(rows, dim, 1, 100.0, seed);
  }));
  all.push_back(make("clustered", clustered, DType::float16));
  all.push_back(make("anisotropic", [rows](std::int64_t dim, unsigned seed) {
    return anisotropic_values(rows, dim, 10.0, seed);
  }));
  all.push_back(make("duplicated", [rows](std::int64_t dim, unsigned seed) {
    return repeated(clustered_values(rows, dim, 20, 0.5, seed), dim, 17);
  }));
  all.push_back(make("all equal", [rows](std::int64_t dim, unsigned) {
    return std::vector<double>(static_cast<std::size_t>(rows * dim), 0.3);
  }));
  all.push_back(make("all equal but one", [rows](std::int64_t dim, unsigned seed) {
    std::vector<double> values(static_cast<std::size_t>(rows * dim), 0.3);
    for (std::int64_t d = 0; d < dim; d += 2) {
      values[static_cast<std::size_t>(seed * static_cast<unsigned>(dim) + d)] = -0.4;
    }
    return values;
  }));
  all.push_back(make("tiny", [rows](std::int64_t dim, unsigned seed) {
    auto values = clustered_values(rows, dim, 20, 0.5, seed);
    for (double& value : values) value *= 1e-30;
    return values;
  }));
  all.push_back(make("sparse", [rows](std::int64_t dim, unsigned seed) {
    return sparse_values(rows, dim, seed);
  }));
  // Rows along one coordinate, half of them opposite: codes at their extremes.
  all.push_back(make("spikes", [rows](std::int64_t dim, unsigned seed) {
    std::vector<double> values(static_cast<std::size_t>(rows * dim));
    for (std::int64_t i = 0; i < rows; ++i) {
      values[static_cast<std::size_t>(i * dim + (i * 7 + seed) % dim)] = i % 2 == 0 ? 1.0 : -1.0;
    }
    return values;
  }));
  all.push_back(make("opposite", [rows](std::int64_t dim, unsigned seed) {
    auto values = clustered_values(rows, dim, 1, 0.05, seed);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i / static_cast<std::size_t>(dim) % 2 == 1) values[i] = -values[i];
    }
    return values;
  }));
  // A few rows unlike all others: the scale of the codes comes from a sample.
  all.push_back(make("outliers", [rows](std::int64_t dim, unsigned seed) {
    auto values = anisotropic_values(rows, dim, 10.0, seed);
    for (std::int64_t i = 5; i < rows; i += rows / 3) {
      for (std::int64_t d = 0; d < dim; ++d) {
        values[static_cast<std::size_t>(i * dim + d)] = d == i % dim ? -50.0 : 0.0;
      }
    }
    return values;
  }));
  Case image = make("image alone", clustered);
  image.rules.use_text = false;
  all.push_back(image);
  Case text = make("text alone", clustered, DType::int8);
  text.rules.use_image = false;
  all.push_back(text);
  return all;
}

}  // namespace helip::testing
