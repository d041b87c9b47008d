// consumer STORE PAIRS: opens a store, mines it exactly, saves the table.
#include <helip/helip.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const auto store = helip::EmbeddingStore::open(argv[1]);
    helip::MineOptions options;
    options.k = 10;
    options.method = helip::MiningMethod::exact;
    const helip::HardPairs pairs = helip::mine(store, options);
    pairs.save(argv[2]);
    std::printf("helip %s: %lld targets\n", helip::version(), static_cast<long long>(pairs.size()));
  } catch (const helip::Error& error) {
    std::fprintf(stderr, "%s: %s\n", helip::name_of(error.code()), error.what());
    return 1;
  }
  return 0;
}
