// The C interface under allocations that fail: a status comes back, and nothing is half made.
#include <helip.h>

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <string>
#include <vector>

#include "support/c_samples.h"
#include "support/failing_allocations.h"
#include "support/temporary_folder.h"

using namespace helip;

namespace {

// Every allocation of `call` fails once.
void every_allocation_of(const std::function<helip_status(const TemporaryFolder&)>& call) {
  bool all = false;
  for (std::int64_t at = 0; !all; ++at) {
    INFO("allocation " << at);
    const TemporaryFolder folder;
    helip_status status = HELIP_OK;
    std::string message;
    {
      const FailingAllocations failing(at);
      status = call(folder);
      const NoFailingAllocations now;
      if (status != HELIP_OK) message = helip_last_error();
      all = !failing.happened();
    }
    INFO(message);
    CHECK((status == HELIP_OK || status == HELIP_ERROR_OUT_OF_MEMORY));
    CHECK((status == HELIP_OK) == message.empty());
  }
}

}  // namespace

TEST_CASE("allocations that fail: mining by the C interface") {
  const StoreRows rows = rows_between(0, 40);
  every_allocation_of([&](const TemporaryFolder&) {
    const helip_matrix image = c_image(rows), text = c_text(rows);
    auto options = initialised(helip_mine_options_init);
    options.k = 5;
    options.threads = 1;
    helip_pairs* pairs = nullptr;
    const helip_status status = helip_mine(&image, &text, &options, nullptr, nullptr, &pairs);
    CHECK((pairs != nullptr) == (status == HELIP_OK));
    helip_pairs_free(pairs);
    return status;
  });
}

TEST_CASE("allocations that fail: a store and an index by the C interface") {
  const StoreRows rows = rows_between(0, 20);
  std::vector<const char*> keys;
  for (const std::string& key : rows.keys) keys.push_back(key.c_str());
  every_allocation_of([&](const TemporaryFolder& folder) {
    const std::string path = unfailing([&] { return (folder / "store").string(); });
    const helip_matrix image = c_image(rows), text = c_text(rows);
    auto options = initialised(helip_store_options_init);
    options.image_dim = 5;
    options.text_dim = 3;
    helip_store_writer* writer = nullptr;
    helip_store* store = nullptr;
    helip_index* index = nullptr;
    std::vector<std::int64_t> ids = unfailing([] { return std::vector<std::int64_t>(40); });
    helip_status status = helip_store_writer_create(path.c_str(), &options, &writer);
    if (status == HELIP_OK) {
      status =
          helip_store_writer_append(writer, keys.data(), nullptr, &image, &text, nullptr, nullptr);
    }
    if (status == HELIP_OK) status = helip_store_writer_commit(writer, nullptr, &store);
    if (status == HELIP_OK) {
      status = helip_index_build_store(store, nullptr, 1, nullptr, &index);
    }
    if (status == HELIP_OK) {
      status = helip_index_query(index, &image, &text, 2, 0, 1, nullptr, nullptr, nullptr,
                                 ids.data(), nullptr, nullptr);
    }
    helip_index_free(index);
    helip_store_free(store);
    helip_store_writer_free(writer);
    return status;
  });
}
