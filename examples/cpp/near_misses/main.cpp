// near_misses STORE NEW_STORE INDEX [K]: which pairs of STORE look *and* read like each pair of
// NEW_STORE? Prints a line for each match: the new key, the known key and the score, tab between.
//
// INDEX is opened where it is there, and else built from STORE and saved. Both stores are made by
// the same encoders, as by `helip embed` with one preset.
#include <helip/helip.h>
#include <helip/pair_index.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace {

helip::PairIndex open_or_build(const std::filesystem::path& path,
                               const helip::EmbeddingStore& store) {
  if (std::filesystem::exists(path)) return helip::PairIndex::open(path);
  helip::PairIndexOptions options;
  options.image_max = options.text_max = 1.0;  // near duplicates are matches too
  auto index = helip::PairIndex::build(store, options);
  index.save(path);
  return index;
}

void print_matches(const helip::PairMatches& found, const helip::EmbeddingStore& fresh,
                   const helip::EmbeddingStore& known) {
  for (std::int64_t query = 0; query < fresh.size(); ++query) {
    const std::string_view key = fresh.key(query);
    for (std::int64_t rank = 0; rank < found.counts[query]; ++rank) {
      const std::int64_t place = query * found.k + rank;
      const std::string_view match = known.key(found.ids[place]);
      std::printf("%.*s\t%.*s\t%.4f\n", static_cast<int>(key.size()), key.data(),
                  static_cast<int>(match.size()), match.data(),
                  static_cast<double>(found.scores[place]));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::fprintf(stderr, "usage: near_misses STORE NEW_STORE INDEX [K]\n");
    return 2;
  }
  try {
    const auto known = helip::EmbeddingStore::open(argv[1]);
    const auto fresh = helip::EmbeddingStore::open(argv[2]);
    const std::int64_t k = argc == 5 ? std::strtoll(argv[4], nullptr, 10) : 5;
    const auto index = open_or_build(argv[3], known);
    print_matches(index.query(fresh.image(), fresh.text(), k), fresh, known);
  } catch (const helip::Error& error) {
    std::fprintf(stderr, "%s: %s\n", helip::name_of(error.code()), error.what());
    return 1;
  }
  return 0;
}
