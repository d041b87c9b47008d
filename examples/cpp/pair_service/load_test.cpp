// load_test PORT D_IMAGE D_TEXT [SECONDS [CLIENTS]]: how many queries a second a pair_service on
// this machine answers, and how long they take; alone, and while pairs are added without a break.
//
// Queries are random unit vectors, one a request, k = 10. Each client asks as soon as it has its
// answer.
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kPairsAtOnce = 32;  // that one request adds

struct Load {
  int port = 0;
  int d_image = 0, d_text = 0;
  double seconds = 5;
  int clients = 4;
};

Json rows(std::mt19937& random, int count, int dimensions) {
  std::normal_distribution<float> normal(0.2F, 1.0F);
  Json made = Json::array();
  for (int i = 0; i < count; ++i) {
    std::vector<float> row(static_cast<std::size_t>(dimensions));
    for (float& value : row) value = normal(random);
    made.push_back(row);
  }
  return made;
}

// Posts until the time is over; appends how long each took, in milliseconds.
template <typename Body>
void ask(const Load& load, const char* path, const Body& body, std::vector<double>& times) {
  httplib::Client client("127.0.0.1", load.port);
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  const auto end = Clock::now() + std::chrono::duration<double>(load.seconds);
  while (Clock::now() < end) {
    const std::string text = body();
    const auto begin = Clock::now();
    const auto answer = client.Post(path, text, "application/json");
    if (!answer || answer->status != 200) {
      std::fprintf(stderr, "%s: %s\n", path,
                   answer ? answer->body.c_str() : httplib::to_string(answer.error()).c_str());
      std::exit(1);
    }
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  }
}

double quantile(std::vector<double>& times, double share) {
  const auto place = static_cast<std::ptrdiff_t>(share * static_cast<double>(times.size() - 1));
  std::nth_element(times.begin(), times.begin() + place, times.end());
  return times[static_cast<std::size_t>(place)];
}

void measure(const Load& load, bool adding) {
  // Of no run before, and greater than rows of a store.
  static std::atomic<std::int64_t> next_id =
      std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::system_clock::now().time_since_epoch())
          .count();
  std::vector<std::vector<double>> times(static_cast<std::size_t>(load.clients));
  std::vector<double> adds;
  std::vector<std::thread> threads;
  for (int i = 0; i < load.clients; ++i) {
    threads.emplace_back([&, i] {
      // Bodies are made beforehand: what is measured is the service.
      std::mt19937 random(static_cast<unsigned>(i));
      std::vector<std::string> bodies;
      for (int j = 0; j < 64; ++j) {
        bodies.push_back(Json{{"image", rows(random, 1, load.d_image)},
                              {"text", rows(random, 1, load.d_text)},
                              {"k", 10}}
                             .dump());
      }
      std::size_t at = 0;
      ask(
          load, "/query", [&] { return bodies[at++ % bodies.size()]; },
          times[static_cast<std::size_t>(i)]);
    });
  }
  if (adding) {
    threads.emplace_back([&] {
      std::mt19937 random(1000);
      const auto body = [&] {
        std::vector<std::int64_t> ids(kPairsAtOnce);
        for (std::int64_t& id : ids) id = next_id++;
        return Json{{"ids", ids},
                    {"image", rows(random, kPairsAtOnce, load.d_image)},
                    {"text", rows(random, kPairsAtOnce, load.d_text)}}
            .dump();
      };
      ask(load, "/add", body, adds);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<double> all;
  for (const auto& of_client : times) all.insert(all.end(), of_client.begin(), of_client.end());
  std::printf("| %s | %d | %.0f | %.2f | %.2f | %.0f |\n",
              adding ? "while adding" : "queries alone", load.clients,
              static_cast<double>(all.size()) / load.seconds, quantile(all, 0.5),
              quantile(all, 0.99), static_cast<double>(adds.size()) * kPairsAtOnce / load.seconds);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 6) {
    std::fprintf(stderr, "usage: load_test PORT D_IMAGE D_TEXT [SECONDS [CLIENTS]]\n");
    return 2;
  }
  Load load{std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3])};
  if (argc > 4) load.seconds = std::atof(argv[4]);
  if (argc > 5) load.clients = std::atoi(argv[5]);
  std::printf("| | clients | queries a second | p50, ms | p99, ms | pairs added a second |\n");
  std::printf("|---|---|---|---|---|---|\n");
  measure(load, false);
  measure(load, true);
  return 0;
}
