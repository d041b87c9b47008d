// Tables of hard pairs: helip/hard_pairs.h in C.
#include <algorithm>
#include <cstdint>

#include "c/c_control.h"
#include "c/c_handles.h"
#include "c/c_matrix.h"
#include "c/c_status.h"
#include "c/c_structs.h"

namespace helip::c {
namespace {

constexpr std::size_t kLeastPairsInfo = offsetof(helip_pairs_info, k) + sizeof(std::int64_t);

const HardPairs& object_of(const helip_pairs* pairs) { return required(pairs, "pairs").object; }

}  // namespace
}  // namespace helip::c

using namespace helip::c;

helip_status helip_pairs_open(const char* path, const helip_control* control, helip_pairs** out) {
  return create(
      out, [&] { return helip::HardPairs::open(&required(path, "path"), progress_of(control)); });
}

helip_status helip_pairs_from_arrays(const helip_matrix* ids, const helip_matrix* scores,
                                     const helip_matrix* counts, const helip_control* control,
                                     helip_pairs** out) {
  return create(out, [&] {
    return helip::HardPairs::from_arrays(view_of(ids, "ids"), view_of(scores, "scores"),
                                         view_of(counts, "counts"), {}, progress_of(control));
  });
}

void helip_pairs_free(helip_pairs* pairs) { delete pairs; }

helip_status helip_pairs_save(const helip_pairs* pairs, const char* path,
                              const helip_control* control) {
  return run([&] { object_of(pairs).save(&required(path, "path"), progress_of(control)); });
}

helip_status helip_pairs_verify(const helip_pairs* pairs, const helip_control* control) {
  return run([&] { object_of(pairs).verify(progress_of(control)); });
}

helip_status helip_pairs_get_info(const helip_pairs* pairs, helip_pairs_info* info) {
  return run([&] {
    const helip::HardPairs& ours = object_of(pairs);
    write_struct(helip_pairs_info{sizeof(helip_pairs_info), ours.size(), ours.k()}, info,
                 required(info, "info").struct_size, kLeastPairsInfo, "info");
  });
}

helip_status helip_pairs_pool(const helip_pairs* pairs, int64_t target, int64_t capacity,
                              int64_t* ids, float* scores, int64_t* count) {
  return run([&] {
    const helip::HardPairs& ours = object_of(pairs);
    if (target < 0 || target >= ours.size()) {
      helip::refuse("target is ", target, ", but the table has ", ours.size(), " rows");
    }
    if (capacity < 0) helip::refuse("capacity is ", capacity, ", but must be at least 0");
    const std::int64_t found = ours.count(target);
    required(count, "count") = found;
    for (std::int64_t rank = 0; rank < std::min(found, capacity); ++rank) {
      if (ids != nullptr) ids[rank] = ours.id(target, rank);
      if (scores != nullptr) scores[rank] = ours.score(target, rank);
    }
  });
}

helip_status helip_pairs_ids(const helip_pairs* pairs, helip_matrix* out) {
  return run([&] { required(out, "out") = matrix_of(object_of(pairs).ids()); });
}

helip_status helip_pairs_scores(const helip_pairs* pairs, helip_matrix* out) {
  return run([&] { required(out, "out") = matrix_of(object_of(pairs).scores()); });
}

helip_status helip_pairs_counts(const helip_pairs* pairs, helip_matrix* out) {
  return run([&] { required(out, "out") = matrix_of(object_of(pairs).counts()); });
}

helip_status helip_pairs_fingerprint(const helip_pairs* pairs, const char** out) {
  return run([&] { required(out, "out") = object_of(pairs).origin().fingerprint.c_str(); });
}

helip_status helip_pairs_options(const helip_pairs* pairs, const char** json) {
  return run([&] { required(json, "json") = object_of(pairs).origin().options_json.c_str(); });
}

helip_status helip_pairs_report(const helip_pairs* pairs, const char** json) {
  return run([&] { required(json, "json") = object_of(pairs).origin().report_json.c_str(); });
}
