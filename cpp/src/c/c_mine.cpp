// Mining: helip/mine.h and helip/update.h in C.
#include <cstdint>

#include "c/c_control.h"
#include "c/c_handles.h"
#include "c/c_matrix.h"
#include "c/c_status.h"
#include "c/c_structs.h"
#include "helip/mine.h"
#include "helip/update.h"

namespace helip::c {
namespace {

constexpr std::size_t kLeastMineOptions = offsetof(helip_mine_options, checkpoint) + sizeof(double);
constexpr std::size_t kLeastUpdateOptions =
    offsetof(helip_update_options, keep_codes) + sizeof(std::int32_t);
constexpr std::size_t kLeastPlan = offsetof(helip_mine_plan, reserved) + sizeof(std::int32_t);

static_assert(static_cast<int>(MiningMethod::automatic) == HELIP_METHOD_AUTO);
static_assert(static_cast<int>(MiningMethod::exact) == HELIP_METHOD_EXACT);
static_assert(static_cast<int>(MiningMethod::sample) == HELIP_METHOD_SAMPLE);
static_assert(static_cast<int>(MiningMethod::hnsw) == HELIP_METHOD_HNSW);
static_assert(static_cast<int>(MiningMethod::partition) == HELIP_METHOD_PARTITION);
static_assert(static_cast<int>(Modality::both) == HELIP_MODALITY_BOTH);
static_assert(static_cast<int>(Modality::image) == HELIP_MODALITY_IMAGE);
static_assert(static_cast<int>(Modality::text) == HELIP_MODALITY_TEXT);
static_assert(static_cast<int>(Collapse::none) == HELIP_COLLAPSE_NONE);
static_assert(static_cast<int>(Collapse::image) == HELIP_COLLAPSE_IMAGE);
static_assert(static_cast<int>(Collapse::text) == HELIP_COLLAPSE_TEXT);
static_assert(static_cast<int>(Collapse::both) == HELIP_COLLAPSE_BOTH);

helip_mine_options default_mine_options() {
  const MineOptions ours;
  helip_mine_options options{};
  options.struct_size = sizeof options;
  options.k = ours.k;
  options.method = static_cast<std::int32_t>(ours.method);
  options.modality = static_cast<std::int32_t>(ours.modality);
  options.image_max = ours.image_max;
  options.text_max = ours.text_max;
  options.min_score = ours.min_score;
  options.signed_products = ours.signed_products;
  options.use_margin = ours.margin.has_value();
  options.margin = ours.margin.value_or(0.0);
  options.skip = ours.skip;
  options.collapse = static_cast<std::int32_t>(ours.collapse);
  options.threads = ours.threads;
  options.candidates = ours.candidates;
  options.refresh = ours.refresh;
  options.seed = ours.seed;
  options.recall = ours.recall;
  options.memory = ours.memory;
  options.parts = ours.parts;
  options.checkpoint = ours.checkpoint;
  options.keep_codes = ours.keep_codes;
  return options;
}

MineOptions mine_options_of(const helip_mine_options* options) {
  const helip_mine_options given =
      read_struct(options, default_mine_options(), kLeastMineOptions, "options");
  if (given.reserved != 0) {
    refuse("options.reserved is ", given.reserved, ", but must be 0; call ",
           "helip_mine_options_init first");
  }
  MineOptions ours;
  ours.k = given.k;
  ours.method = checked_enum(given.method, MiningMethod::partition, "method");
  ours.modality = checked_enum(given.modality, Modality::text, "modality");
  ours.image_max = given.image_max;
  ours.text_max = given.text_max;
  ours.min_score = given.min_score;
  ours.signed_products = given.signed_products != 0;
  if (given.use_margin != 0) ours.margin = given.margin;
  ours.skip = given.skip;
  ours.collapse = checked_enum(given.collapse, Collapse::both, "collapse");
  ours.threads = given.threads;
  ours.candidates = given.candidates;
  ours.refresh = given.refresh;
  ours.seed = given.seed;
  ours.recall = given.recall;
  ours.memory = given.memory;
  ours.parts = given.parts;
  ours.checkpoint = given.checkpoint;
  ours.codes = optional_path(given.codes, "codes");
  ours.keep_codes = given.keep_codes != 0;
  return ours;
}

helip_update_options default_update_options() {
  const UpdateOptions ours;
  return {sizeof(helip_update_options), ours.memory, nullptr, ours.threads, ours.keep_codes};
}

UpdateOptions update_options_of(const helip_update_options* options) {
  const helip_update_options given =
      read_struct(options, default_update_options(), kLeastUpdateOptions, "options");
  return {given.threads, given.memory, optional_path(given.codes, "codes"), given.keep_codes != 0};
}

void write_plan(const MinePlan& plan, helip_mine_plan* out) {
  const helip_mine_plan values{sizeof(helip_mine_plan),
                               plan.seconds,
                               plan.memory_bytes,
                               plan.disk_bytes,
                               plan.pairs,
                               plan.scratch_bytes,
                               static_cast<std::int32_t>(plan.method),
                               0};
  write_struct(values, out, required(out, "out").struct_size, kLeastPlan, "out");
}

}  // namespace
}  // namespace helip::c

using namespace helip::c;

helip_status helip_mine_options_init(helip_mine_options* options, size_t struct_size) {
  return init_options(default_mine_options, options, struct_size, kLeastMineOptions);
}

helip_status helip_mine(const helip_matrix* image, const helip_matrix* text,
                        const helip_mine_options* options, const helip_control* control,
                        const char* path, helip_pairs** out) {
  return create(out, [&] {
    return helip::mine(view_of(image, "image"), view_of(text, "text"), mine_options_of(options),
                       progress_of(control), optional_path(path));
  });
}

helip_status helip_mine_store(const helip_store* store, const helip_mine_options* options,
                              const helip_control* control, const char* path, helip_pairs** out) {
  return create(out, [&] {
    return helip::mine(required(store, "store").object, mine_options_of(options),
                       progress_of(control), optional_path(path));
  });
}

helip_status helip_plan(const helip_matrix* image, const helip_matrix* text,
                        const helip_mine_options* options, const helip_control* control,
                        helip_mine_plan* out) {
  return run([&] {
    write_plan(helip::plan(view_of(image, "image"), view_of(text, "text"), mine_options_of(options),
                           progress_of(control)),
               out);
  });
}

helip_status helip_plan_store(const helip_store* store, const helip_mine_options* options,
                              const helip_control* control, helip_mine_plan* out) {
  return run([&] {
    write_plan(helip::plan(required(store, "store").object, mine_options_of(options),
                           progress_of(control)),
               out);
  });
}

helip_status helip_update_options_init(helip_update_options* options, size_t struct_size) {
  return init_options(default_update_options, options, struct_size, kLeastUpdateOptions);
}

helip_status helip_update(const helip_pairs* pairs, const helip_store* store,
                          const helip_update_options* options, const helip_control* control,
                          const char* path, helip_pairs** out) {
  return create(out, [&] {
    return helip::update(required(pairs, "pairs").object, required(store, "store").object,
                         update_options_of(options), progress_of(control), optional_path(path));
  });
}
