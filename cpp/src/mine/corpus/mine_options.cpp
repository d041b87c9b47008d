#include "mine/corpus/mine_options.h"

#include <array>
#include <string>

#include "base/refuse.h"
#include "base/text.h"
#include "mine/corpus/corpus.h"

namespace helip {
namespace {

constexpr std::array<const char*, 5> kMethodNames{"auto", "exact", "sample", "hnsw", "partition"};
constexpr std::array<const char*, 3> kModalityNames{"both", "image", "text"};
constexpr std::array<const char*, 4> kCollapseNames{"none", "image", "text", "both"};

template <typename Enum, std::size_t n>
Enum from_name(const std::array<const char*, n>& names, const char* what, const std::string& name) {
  std::string known;
  for (std::size_t i = 0; i < n; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
    known += (i == 0 ? "" : i + 1 == n ? " or " : ", ") + std::string(names[i]);
  }
  throw Error(ErrorCode::invalid_argument,
              std::string(what) + " '" + excerpt(name) + "' is unknown; use " + known);
}

// Beyond this many dimensions the float32 error bound would swallow the scores.
constexpr std::int64_t kMaxDimensions = std::int64_t{1} << 20;
constexpr int kMaxThreads = 4096;

void check_at_least(const char* name, std::int64_t value, std::int64_t bound) {
  if (value < bound) {
    refuse(std::string(name) + " is " + std::to_string(value) + ", but must be at least " +
           std::to_string(bound));
  }
}

void check_share(const char* name, double value, const char* remedy) {
  if (!(value >= 0.0 && value <= 1.0)) {
    refuse(std::string(name) + " is " + std::to_string(value) + ", but must lie in 0 .. 1; " +
           remedy);
  }
}

void check_matrix(const char* name, const MatrixView& view) {
  const std::string subject = std::string(name) + " embeddings";
  check_at_least((subject + ": number of rows").c_str(), view.rows, 0);
  check_at_least((subject + ": number of dimensions").c_str(), view.cols, 0);
  if (view.rows > mining::kMaxRows) {
    throw Error(ErrorCode::unsupported,
                subject + " have " + std::to_string(view.rows) + " rows, but at most " +
                    std::to_string(mining::kMaxRows) + " can be mined at once; split the data set");
  }
  switch (view.dtype) {
    case DType::float64:
    case DType::float32:
    case DType::float16:
    case DType::bfloat16: break;
    case DType::int8:
      if (view.scale == nullptr && view.rows > 0) {
        refuse(subject + " are int8 without a scale for each row; give MatrixView::scale");
      }
      break;
    default:
      refuse(subject + " are " + name_of(view.dtype) +
             ", but must be float64, float32, float16, bfloat16 or int8; convert them");
  }
  if (view.rows == 0) return;
  if (view.cols < 1 || view.cols > kMaxDimensions) {
    refuse(subject + " have " + std::to_string(view.cols) + " dimensions, but must have 1 .. " +
           std::to_string(kMaxDimensions));
  }
  if (view.data == nullptr) refuse(subject + " have rows but no data");
  if (view.rows > 1 && view.row_stride < view.cols * size_of(view.dtype)) {
    refuse(subject + " have a row stride of " + std::to_string(view.row_stride) +
           " bytes, but a row takes " + std::to_string(view.cols * size_of(view.dtype)));
  }
}

void check_margin(const MatrixView& image, const MatrixView& text, const MineOptions& options) {
  if (!options.margin) return;
  if (!(*options.margin >= -2.0 && *options.margin <= 2.0)) {
    refuse("margin is " + std::to_string(*options.margin) +
           ", but must lie in -2 .. 2, the range of differences of cosines");
  }
  if (options.modality != Modality::both) {
    refuse(std::string("margin compares images with texts, but modality is '") +
           name_of(options.modality) + "'; use modality both, or no margin");
  }
  if (image.rows > 0 && image.cols != text.cols) {
    refuse("margin compares images with texts, but image embeddings have " +
           std::to_string(image.cols) + " dimensions and text embeddings " +
           std::to_string(text.cols) +
           "; embed both with one model such as CLIP, or use no margin");
  }
}

void check_collapse(const MineOptions& options) {
  const auto check = [&](const char* name, Modality unused, double maximum) {
    if (options.modality == unused) {
      refuse(std::string("collapse is '") + name_of(options.collapse) + "', but modality '" +
             name_of(options.modality) + "' has no " + name +
             " embeddings; use collapse none or '" + name_of(options.modality) + "'");
    }
    if (maximum >= 1.0) {
      refuse(std::string("collapse is '") + name_of(options.collapse) + "', but " + name +
             "_max is 1, so that nothing is a near duplicate; use a lower one, such as 0.98");
    }
  };
  if (options.collapse == Collapse::image || options.collapse == Collapse::both) {
    check("image", Modality::text, options.image_max);
  }
  if (options.collapse == Collapse::text || options.collapse == Collapse::both) {
    check("text", Modality::image, options.text_max);
  }
}

}  // namespace

const char* name_of(MiningMethod method) noexcept {
  return kMethodNames[static_cast<std::size_t>(method)];
}
MiningMethod method_from_name(const std::string& name) {
  return from_name<MiningMethod>(kMethodNames, "method", name);
}
const char* name_of(Modality modality) noexcept {
  return kModalityNames[static_cast<std::size_t>(modality)];
}
Modality modality_from_name(const std::string& name) {
  return from_name<Modality>(kModalityNames, "modality", name);
}

const char* name_of(Collapse collapse) noexcept {
  return kCollapseNames[static_cast<std::size_t>(collapse)];
}
Collapse collapse_from_name(const std::string& name) {
  return from_name<Collapse>(kCollapseNames, "collapse", name);
}

namespace mining {

void validate(const MatrixView& image, const MatrixView& text, const MineOptions& options) {
  check_at_least("k", options.k, 1);
  if (options.k > 0x7fffffff) {
    refuse("k is " + std::to_string(options.k) + ", but must be at most 2147483647");
  }
  check_share("image_max", options.image_max, "use 1 to keep near duplicates");
  check_share("text_max", options.text_max, "use 1 to keep near duplicates");
  check_share("min_score", options.min_score, "scores are products of cosines above 0");
  check_at_least("skip", options.skip, 0);
  if (!(options.checkpoint >= 0.0)) {
    refuse("checkpoint is " + std::to_string(options.checkpoint) +
           " seconds, but must be at least 0; use infinity for none");
  }
  if (options.skip > 0x7fffffff) {
    refuse("skip is " + std::to_string(options.skip) + ", but must be at most 2147483647");
  }
  check_share("recall", options.recall, "use method exact for 1");
  check_at_least("candidates", options.candidates, 0);
  check_at_least("refresh", options.refresh, 1);
  check_at_least("threads", options.threads, 0);
  if (options.threads > kMaxThreads) {
    refuse("threads is " + std::to_string(options.threads) + ", but must be at most " +
           std::to_string(kMaxThreads) + "; use 0 for one a processor");
  }
  check_at_least("memory", options.memory, 0);

  const Rules rules = rules_of(options);
  if (rules.use_image) check_matrix("image", image);
  if (rules.use_text) check_matrix("text", text);
  if (rules.use_image && rules.use_text && image.rows != text.rows) {
    refuse("image embeddings have " + std::to_string(image.rows) +
           " rows and text embeddings have " + std::to_string(text.rows) +
           " rows; row i of both must be pair i");
  }
  check_margin(image, text, options);
  check_collapse(options);
  const std::int64_t rows = row_count(image, text, options);
  if (options.method == MiningMethod::sample && options.candidates > rows) {
    refuse("candidates is " + std::to_string(options.candidates) + ", but the data set has " +
           std::to_string(rows) + " rows; use at most that many, or 0 for the default");
  }
}

std::int64_t row_count(const MatrixView& image, const MatrixView& text,
                       const MineOptions& options) noexcept {
  return options.modality == Modality::text ? text.rows : image.rows;
}

}  // namespace mining
}  // namespace helip
