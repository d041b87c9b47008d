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
constexpr std::array<const char*, 2> kScoreNames{"product", "sum"};
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

void check_channels(const std::vector<MatrixView>& matrices, const MineOptions& options) {
  const auto& channels = options.channels;
  const auto count = static_cast<std::int64_t>(channels.size());
  if (count > kMostChannels) {
    refuse("channels are " + std::to_string(count) + ", but must be at most " +
           std::to_string(kMostChannels) + "; put some together into one matrix");
  }
  if (matrices.size() != channels.size()) {
    refuse("channels are " + std::to_string(count) + ", but there are " +
           std::to_string(matrices.size()) + " matrices; give one for each");
  }
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const ChannelRule& channel = channels[c];
    const std::string name = "channel '" + excerpt(channel.name) + "'";
    for (std::size_t other = 0; other < c; ++other) {
      if (channels[other].name == channel.name) {
        refuse(name + " is named twice; name each once, with a weight");
      }
    }
    check_share(("maximum of " + name).c_str(), channel.maximum, "use 1 to keep near duplicates");
    // The root of a product by less would magnify how its score is rounded.
    if (!(channel.weight >= 0.01 && channel.weight <= 16.0)) {
      refuse("weight of " + name + " is " + std::to_string(channel.weight) +
             ", but must lie in 0.01 .. 16; leave out what is not to count");
    }
    check_matrix(name.c_str(), matrices[c]);
    if (matrices[c].rows != matrices.front().rows) {
      refuse(name + " has " + std::to_string(matrices[c].rows) + " rows and channel '" +
             excerpt(channels.front().name) + "' " + std::to_string(matrices.front().rows) +
             "; row i of all must belong to the same pair");
    }
  }
  std::int64_t dimensions = 0;
  for (const MatrixView& matrix : matrices) dimensions += matrix.cols;
  if (dimensions > 2 * kMaxDimensions) {
    refuse("the channels have " + std::to_string(dimensions) + " dimensions in all, but may have " +
           std::to_string(2 * kMaxDimensions));
  }
  const auto only = [&](bool is_used, const std::string& what) {
    if (is_used) {
      throw Error(
          ErrorCode::unsupported,
          what + ", which is of image and text alone; leave it out, or mine without channels");
    }
  };
  only(options.modality != Modality::both,
       std::string("modality is '") + name_of(options.modality) + "'");
  only(options.signed_products, "signed is on");
  only(options.margin.has_value(), "margin is " + std::to_string(options.margin.value_or(0.0)));
  only(options.collapse != Collapse::none,
       std::string("collapse is '") + name_of(options.collapse) + "'");
  only(options.method == MiningMethod::hnsw, "method is 'hnsw'");
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

const char* name_of(ScoreKind score) noexcept {
  return kScoreNames[static_cast<std::size_t>(score)];
}
ScoreKind score_from_name(const std::string& name) {
  return from_name<ScoreKind>(kScoreNames, "score", name);
}

const char* name_of(Collapse collapse) noexcept {
  return kCollapseNames[static_cast<std::size_t>(collapse)];
}
Collapse collapse_from_name(const std::string& name) {
  return from_name<Collapse>(kCollapseNames, "collapse", name);
}

namespace mining {

void validate(const Matrices& matrices, const MineOptions& options) {
  const auto& [image, text, channels] = matrices;
  check_at_least("k", options.k, 1);
  if (options.k > 0x7fffffff) {
    refuse("k is " + std::to_string(options.k) + ", but must be at most 2147483647");
  }
  check_share("image_max", options.image_max, "use 1 to keep near duplicates");
  check_share("text_max", options.text_max, "use 1 to keep near duplicates");
  check_share("min_score", options.min_score, "use 0 to keep every positive score");
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

  if (!options.channels.empty()) {
    check_channels(channels, options);
  } else {
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
    if (options.score != ScoreKind::product) {
      refuse("score is 'sum', which is of channels; give channels, such as image and text");
    }
  }
  const std::int64_t rows = row_count(matrices, options);
  if (options.method == MiningMethod::sample && options.candidates > rows) {
    refuse("candidates is " + std::to_string(options.candidates) + ", but the data set has " +
           std::to_string(rows) + " rows; use at most that many, or 0 for the default");
  }
}

Matrices matrices_of(const EmbeddingStore& store, const MineOptions& options) {
  Matrices matrices{store.image(), store.text()};
  for (const ChannelRule& channel : options.channels) {
    matrices.channels.push_back(store.matrix(channel.name));
  }
  return matrices;
}

std::int64_t row_count(const Matrices& matrices, const MineOptions& options) noexcept {
  if (!matrices.channels.empty()) return matrices.channels.front().rows;
  return options.modality == Modality::text ? matrices.text.rows : matrices.image.rows;
}

}  // namespace mining
}  // namespace helip
