// follow_store STORE TABLE [K [SECONDS]]: keeps the hard pairs of a store that others append to and
// delete from. Looks every SECONDS for a new generation, and brings TABLE up to date with it.
//
// TABLE is replaced in one step, so whoever opens it finds a whole table: that of the generation
// before, or the new one. SIGTERM or Ctrl-C ends the program between two generations; a kill at any
// other time loses nothing but the work of one update.
#include <helip/helip.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>

namespace {

helip::HardPairs brought_up_to_date(const std::filesystem::path& table,
                                    const helip::EmbeddingStore& store, std::int64_t k) {
  if (std::filesystem::exists(table)) {
    return helip::update(helip::HardPairs::open(table), store, {}, {}, table);
  }
  helip::MineOptions options;
  options.k = k;
  options.method = helip::MiningMethod::exact;  // what another method found, nobody can update
  return helip::mine(store, options, {}, table);
}

// Whether SIGTERM or SIGINT came, now or within the time.
bool asked_to_stop(const sigset_t& signals, double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  const timespec patience{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
  return sigtimedwait(&signals, nullptr, &patience) > 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::fprintf(stderr, "usage: follow_store STORE TABLE [K [SECONDS]]\n");
    return 2;
  }
  const std::int64_t k = argc > 3 ? std::strtoll(argv[3], nullptr, 10) : 50;
  const double seconds = argc > 4 ? std::strtod(argv[4], nullptr) : 10.0;
  // Blocked before a thread is made, they wait until they are asked for: no work is cut short.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    helip::check_version();
    std::int64_t generation = 0;
    do {
      const auto store = helip::EmbeddingStore::open(argv[1]);
      if (store.generation() == generation) continue;
      const helip::HardPairs pairs = brought_up_to_date(argv[2], store, k);
      generation = store.generation();
      std::printf("generation %lld: %lld rows, %zu deleted\n", static_cast<long long>(generation),
                  static_cast<long long>(pairs.size()), store.deleted().size());
      std::fflush(stdout);
    } while (!asked_to_stop(signals, seconds));
  } catch (const helip::Error& error) {
    std::fprintf(stderr, "%s: %s\n", helip::name_of(error.code()), error.what());
    return 1;
  }
  std::printf("stopped\n");
  return 0;
}
