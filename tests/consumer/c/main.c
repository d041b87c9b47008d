/* consumer STORE PAIRS INDEX: mines a store to PAIRS with progress, mines its matrices in place to
 * the same pools, and keeps an index of the store. Prints what it did. */
#include <helip.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program where a call failed. */
static void must(helip_status status, const char* call) {
  if (status == HELIP_OK) return;
  fprintf(stderr, "%s: %s: %s\n", call, helip_status_name(status), helip_last_error());
  exit(1);
}

static int32_t count_calls(void* user, const char* stage, int64_t done, int64_t total) {
  int* calls = user;
  (void)stage;
  if (done > total) return 1;
  ++*calls;
  return 0;
}

int main(int argc, char** argv) {
  helip_store* store = NULL;
  helip_pairs* pairs = NULL;
  helip_pairs* in_place = NULL;
  helip_index* index = NULL;
  helip_cancel* cancel = NULL;
  helip_matrix image, text;
  helip_mine_options options;
  helip_control control;
  helip_pairs_info info;
  int64_t ids[10], other[10], count, other_count, target, rank, total = 0;
  int calls = 0;

  if (argc != 4) return 2;
  must(helip_check_version(HELIP_VERSION), "helip_check_version");
  must(helip_store_open(argv[1], &store), "helip_store_open");
  must(helip_mine_options_init(&options, sizeof options), "helip_mine_options_init");
  must(helip_control_init(&control, sizeof control), "helip_control_init");
  options.k = 10;
  options.method = HELIP_METHOD_EXACT;
  control.progress = count_calls;
  control.user = &calls;
  must(helip_mine_store(store, &options, &control, argv[2], &pairs), "helip_mine_store");

  must(helip_store_image(store, &image), "helip_store_image");
  must(helip_store_text(store, &text), "helip_store_text");
  must(helip_mine(&image, &text, &options, NULL, NULL, &in_place), "helip_mine");
  info.struct_size = sizeof info;
  must(helip_pairs_get_info(pairs, &info), "helip_pairs_get_info");
  for (target = 0; target < info.targets; ++target) {
    must(helip_pairs_pool(pairs, target, 10, ids, NULL, &count), "helip_pairs_pool");
    must(helip_pairs_pool(in_place, target, 10, other, NULL, &other_count), "helip_pairs_pool");
    if (count != other_count) return 3;
    for (rank = 0; rank < count; ++rank) {
      if (ids[rank] != other[rank]) return 3;
    }
    total += count;
  }

  must(helip_index_build_store(store, NULL, 0, NULL, &index), "helip_index_build_store");
  must(helip_index_save(index, argv[3], NULL), "helip_index_save");

  must(helip_cancel_create(&cancel), "helip_cancel_create");
  helip_cancel_set(cancel);
  control.cancel = cancel;
  helip_pairs_free(in_place);
  in_place = NULL;
  if (helip_mine(&image, &text, &options, &control, NULL, &in_place) != HELIP_ERROR_CANCELLED) {
    return 4;
  }
  if (in_place != NULL || calls == 0) return 5;

  printf("helip %s: %lld targets, %lld pairs\n", helip_version(), (long long)info.targets,
         (long long)total);
  helip_cancel_free(cancel);
  helip_index_free(index);
  helip_pairs_free(pairs);
  helip_store_free(store);
  return 0;
}
