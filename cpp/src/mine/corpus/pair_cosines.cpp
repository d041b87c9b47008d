#include "helip/pair_cosines.h"

#include <limits>
#include <utility>

#include "base/refuse.h"
#include "base/team.h"
#include "io/mapped_files.h"
#include "mine/corpus/mine_options.h"
#include "mine/corpus/rows.h"
#include "mine/kernel/kernel.h"

namespace helip {

using mining::LoadedRow;
using mining::Rows;

namespace {

constexpr std::int64_t kGrain = 16;  // targets that a thread takes at a time
constexpr std::int64_t kAhead = 2;   // rows that are asked for before they are needed
constexpr TeamWords kWords{"comparing pairs", "target"};

// Cosines of a target's row with k others. `other` is a buffer.
void compare(const Rows& mine, const Rows& theirs, std::int64_t target, const std::int64_t* ids,
             std::int64_t k, LoadedRow& loaded, LoadedRow& other, double* out) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  mine.load(target, loaded);
  for (std::int64_t r = 0; r < k; ++r) {
    if (r + kAhead < k && ids[r + kAhead] >= 0) theirs.prefetch(ids[r + kAhead]);
    const bool known = ids[r] >= 0 && loaded.length != 0.0 && theirs.length(ids[r]) != 0.0;
    out[r] = known ? theirs.cosine(loaded, ids[r], other) : kUnknown;
  }
}

}  // namespace

class PairCosines::Matrices {
 public:
  Matrices(const MatrixView& image, const MatrixView& text, int threads)
      : image_("image", image, mining::select_kernel()),
        text_("text", text, mining::select_kernel()),
        threads_(threads) {
    image.check("image");
    text.check("text");
    if (image.rows != text.rows) {
      refuse("image has ", image.rows, " rows and text ", text.rows,
             "; row i of both must belong to the same pair");
    }
  }

  void measure(const ProgressCallback& progress) {
    Team team(threads_, progress, kWords);
    team.begin_stage("check", rows(), rows() * 2);
    image_.measure(team);
    text_.measure(team);
    require_whole();
    team.end_stage();
  }

  void require_whole() const {
    image_.require_whole();
    text_.require_whole();
  }

  std::int64_t rows() const noexcept { return image_.size(); }
  int threads() const noexcept { return threads_; }

  const Rows& of_target(PairSides sides) const noexcept {
    return sides == PairSides::image_text || sides == PairSides::image_image ? image_ : text_;
  }
  const Rows& of_other(PairSides sides) const noexcept {
    return sides == PairSides::text_image || sides == PairSides::image_image ? image_ : text_;
  }

 private:
  Rows image_, text_;
  int threads_;
};

PairCosines::PairCosines(const MatrixView& image, const MatrixView& text, int threads,
                         const ProgressCallback& progress) {
  mining::entry_point([&] {
    auto matrices = std::make_unique<Matrices>(image, text, threads);
    matrices->measure(progress);
    matrices_ = std::move(matrices);
  });
}

PairCosines::~PairCosines() = default;

std::vector<double> PairCosines::of(PairSides sides, std::int64_t first,
                                    std::span<const std::int64_t> ids, std::int64_t k,
                                    const ProgressCallback& progress) const {
  return mining::entry_point([&] {
    const Rows& mine = matrices_->of_target(sides);
    const Rows& theirs = matrices_->of_other(sides);
    const std::int64_t rows = matrices_->rows();
    const auto places = static_cast<std::int64_t>(ids.size());
    if (k < 1 || places % k != 0 || first < 0 || places / k > rows - first) {
      refuse(places, " ids with k = ", k, " from target ", first,
             " on; give n * k of targets in 0 .. ", rows - 1);
    }
    for (const std::int64_t id : ids) {
      if (id < -1 || id >= rows) refuse("id ", id, " is outside 0 .. ", rows - 1);
    }
    if (mine.dimensions() != theirs.dimensions()) {
      refuse("rows of ", mine.dimensions(), " and of ", theirs.dimensions(),
             " numbers have no cosine; embed images and texts by one model");
    }
    std::vector<double> found(ids.size());
    Team team(matrices_->threads(), progress, kWords);
    team.begin_stage("compare", places / k, places);
    team.for_blocks(places / k, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      LoadedRow loaded, other;
      for (std::int64_t i = begin; i < end; ++i) {
        compare(mine, theirs, first + i, ids.data() + i * k, k, loaded, other,
                found.data() + i * k);
      }
      team.add_work((end - begin) * k);
    });
    matrices_->require_whole();
    team.end_stage();
    return found;
  });
}

}  // namespace helip
