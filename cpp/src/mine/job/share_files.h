// What the shares of a job write, in directories of its folder that are there whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/team.h"
#include "io/json.h"
#include "io/tensor_columns.h"
#include "io/tensor_file.h"
#include "mine/pool/pools.h"

namespace helip::mining {

inline constexpr std::int64_t kBandRows = 65536;  // whose pools are united at a time

class ShareFiles {
 public:
  // `identity` of the job, with the number of its shares.
  ShareFiles(std::filesystem::path folder, OrderedJson identity, std::int64_t count);

  const OrderedJson& identity() const noexcept { return identity_; }
  // Of a job that compares all pairs: the rows of each range.
  std::filesystem::path ranges() const { return folder_ / "ranges"; }
  // Of a job of clusters: what it has found in the steps so far.
  std::filesystem::path rounds() const { return folder_ / "rounds"; }
  std::filesystem::path place_of(std::int64_t step, std::int64_t index) const;
  // Of all shares of a step.
  std::vector<std::filesystem::path> places_of(std::int64_t step) const;

  // Whether it is there. Throws Error as open() does where another job's is.
  bool has(const std::filesystem::path& place) const;
  // Throws Error: mismatch with what differs, corrupt, io.
  TensorFile open(const std::filesystem::path& place) const;
  // Unless it is there, from another attempt.
  void save(const std::filesystem::path& place, const TensorColumns& columns) const;

  // Pools of these rows, and what was kept out of them. `with_empty`: those as well for which
  // nothing was found, for the sake of their thresholds.
  void save_pools(const std::filesystem::path& place, Pools& pools,
                  const std::vector<std::uint32_t>& rows, bool with_empty) const;
  // What is known from there of the thresholds of these rows, the targets of `pools`.
  void raise_thresholds(const std::vector<std::filesystem::path>& places,
                        const std::vector<std::uint32_t>& rows, std::int64_t all,
                        Pools& pools) const;
  // The pools there of kBandRows rows from `first` on, to the targets that `slots` names; -1: a
  // zero row. Of `all` rows. Each thread has one file open at a time: there may be more of them
  // than a process may open.
  void unite(const std::vector<std::filesystem::path>& places, std::int64_t first,
             std::span<const std::int64_t> slots, std::int64_t all, Pools& pools, Team& team) const;

 private:
  const std::filesystem::path folder_;
  const std::int64_t count_;
  OrderedJson identity_;
};

}  // namespace helip::mining
