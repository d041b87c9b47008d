// pair_service FOLDER [--store STORE] [--host HOST] [--port N] [--threads N] [--add-threads N]:
// which of the pairs in an index look *and* read like a new one, over HTTP.
//
//   POST /query   {"image": [[…]], "text": [[…]], "k": 10}     the k best of each row
//   POST /add     {"ids": […], "image": [[…]], "text": [[…]]}  found by queries from then on
//   POST /remove  {"ids": […]}                                 found no more from then on
//   POST /save    writes a new generation of the index to FOLDER
//   POST /reload  serves the newest generation of FOLDER; so does SIGHUP
//   GET  /health, GET /metrics (Prometheus)
//
// Bodies have Content-Type: application/json; without it, more than 8 KiB are refused.
// FOLDER has generations of an index, named 1, 2, 3, ...; where it has none, the first is built of
// STORE. SIGTERM and Ctrl-C answer what has begun, and end. There is no password: leave it on
// loopback, or put it behind a proxy that asks for one.
#include <helip/helip.h>
#include <httplib.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "metrics.h"
#include "serving_index.h"

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = std::size_t{16} << 20;  // of a request
constexpr std::size_t kMostRows = 1024;                    // of a request
constexpr std::int64_t kMostMatches = 1000;                // of a query

[[noreturn]] void refuse(const std::string& message) {
  throw helip::Error(helip::ErrorCode::invalid_argument, message);
}

// Rows of numbers, one after the other.
struct Rows {
  Rows(const Json& body, const char* name) {
    for (const Json& row : body.at(name)) {
      const auto numbers = row.get<std::vector<float>>();
      if (count++ == 0) columns = static_cast<std::int64_t>(numbers.size());
      if (static_cast<std::int64_t>(numbers.size()) != columns) {
        refuse(std::string("rows of \"") + name + "\" must be of one length");
      }
      values.insert(values.end(), numbers.begin(), numbers.end());
    }
    if (count < 1 || count > kMostRows) {
      refuse(std::string("\"") + name + "\" has " + std::to_string(count) + " rows; give 1 to " +
             std::to_string(kMostRows));
    }
  }
  helip::MatrixView view() const {
    return helip::MatrixView::of(values.data(), static_cast<std::int64_t>(count), columns);
  }
  std::vector<float> values;
  std::size_t count = 0;
  std::int64_t columns = 0;
};

Json answer_query(const ServingIndex& index, const Json& body) {
  const Rows image(body, "image"), text(body, "text");
  const auto k = body.value("k", std::int64_t{10});
  if (k > kMostMatches) refuse("\"k\" must be at most " + std::to_string(kMostMatches));
  const helip::PairMatches found =
      index.query(image.view(), text.view(), k, body.value("breadth", std::int64_t{0}));
  Json matches = Json::array();
  for (std::size_t row = 0; row < found.counts.size(); ++row) {
    Json of_row = Json::array();
    for (std::int32_t rank = 0; rank < found.counts[row]; ++rank) {
      const std::size_t place = row * static_cast<std::size_t>(k) + static_cast<std::size_t>(rank);
      of_row.push_back({{"id", found.ids[place]}, {"score", found.scores[place]}});
    }
    matches.push_back(std::move(of_row));
  }
  return {{"matches", std::move(matches)}};
}

Json answer_add(ServingIndex& index, const Json& body) {
  const Rows image(body, "image"), text(body, "text");
  index.add(image.view(), text.view(), body.at("ids").get<std::vector<std::int64_t>>());
  return {{"pairs", index.size()}};
}

Json answer_remove(ServingIndex& index, const Json& body) {
  index.remove(body.at("ids").get<std::vector<std::int64_t>>());
  return {{"pairs", index.size()}};
}

int status_of(const helip::Error& error) {
  switch (error.code()) {
    case helip::ErrorCode::invalid_argument: return 400;
    case helip::ErrorCode::out_of_memory: return 503;
    default: return 500;
  }
}

void send(httplib::Response& response, int status, const Json& body) {
  response.status = status;
  // Messages of errors quote what came, which need not be UTF-8.
  response.set_content(body.dump(-1, ' ', false, Json::error_handler_t::replace),
                       "application/json");
}

class Service {
 public:
  Service(const fs::path& folder, std::size_t threads, int add_threads)
      : index_(folder, add_threads) {
    server_.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
    server_.set_payload_max_length(kMostBytes);
    server_.set_tcp_nodelay(true);
    server_.set_read_timeout(std::chrono::seconds(10));
    // What no handler answered: a path that is not there, a body that is too large.
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      send(response, response.status, {{"error", httplib::status_message(response.status)}});
    });
    post("/query", [this](const Json& body) { return answer_query(index_, body); });
    post("/add", [this](const Json& body) { return answer_add(index_, body); });
    post("/remove", [this](const Json& body) { return answer_remove(index_, body); });
    post("/save", [this](const Json&) -> Json { return {{"generation", index_.save()}}; });
    post("/reload", [this](const Json&) -> Json {
      return {{"generation", index_.reload()}, {"pairs", index_.size()}};
    });
    server_.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
      send(response, 200, {{"status", "ok"}, {"pairs", index_.size()}});
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      metrics_.set_gauge("pairs", static_cast<double>(index_.size()));
      metrics_.set_gauge("index_bytes", static_cast<double>(index_.bytes()));
      metrics_.set_gauge("generation", static_cast<double>(index_.generation()));
      response.set_content(metrics_.text(), "text/plain; version=0.0.4");
    });
  }

  // Port 0: one that is free. Returns the port, or -1.
  int bind(const std::string& host, int port) {
    if (port == 0) return server_.bind_to_any_port(host);
    return server_.bind_to_port(host, port) ? port : -1;
  }
  bool listen() { return server_.listen_after_bind(); }
  void wait_until_ready() const { server_.wait_until_ready(); }
  void stop() { server_.stop(); }
  void reload() {
    try {
      std::fprintf(stderr, "generation %lld\n", static_cast<long long>(index_.reload()));
    } catch (const std::exception& error) {  // helip::Error, or of the file system
      std::fprintf(stderr, "what was served is served on: %s\n", error.what());
    }
  }

 private:
  template <typename Answer>
  void post(const std::string& path, const Answer& answer) {
    server_.Post(
        path, [this, path, answer](const httplib::Request& request, httplib::Response& response) {
          const auto begin = std::chrono::steady_clock::now();
          try {
            send(response, 200, answer(request.body.empty() ? Json() : Json::parse(request.body)));
          } catch (const helip::Error& error) {
            send(response, status_of(error), {{"error", error.what()}});
          } catch (const Json::exception& error) {
            send(response, 400, {{"error", error.what()}});
          } catch (const std::exception& error) {
            send(response, 500, {{"error", error.what()}});
          }
          const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
          metrics_.record(path, response.status, seconds.count());
        });
  }

  ServingIndex index_;
  Metrics metrics_;
  httplib::Server server_;
};

// The first generation, where there is none.
void build_first(const fs::path& folder, const std::string& store) {
  fs::create_directories(folder);
  if (store.empty() || !fs::is_empty(folder)) return;
  helip::PairIndexOptions options;
  options.image_max = options.text_max = 1.0;  // near duplicates are matches too
  // Signals are blocked, see serve().
  const auto go_on = [](const helip::Progress&) {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) != 1 && sigismember(&pending, SIGINT) != 1;
  };
  helip::PairIndex::build(helip::EmbeddingStore::open(store), options, 0, go_on)
      .save(folder / "1", go_on);
}

int serve(const fs::path& folder, std::map<std::string, std::string> options) {
  // Blocked before there is another thread, which would take them: this one waits for them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  helip::check_version();
  build_first(folder, options["--store"]);
  Service service(folder, std::stoul(options["--threads"]), std::stoi(options["--add-threads"]));
  const int port = service.bind(options["--host"], std::stoi(options["--port"]));
  if (port < 0) {
    std::fprintf(stderr, "cannot listen on %s:%s\n", options["--host"].c_str(),
                 options["--port"].c_str());
    return 1;
  }
  std::thread listening([&] { service.listen(); });
  service.wait_until_ready();  // stop() does nothing before
  std::printf("listening on %s:%d\n", options["--host"].c_str(), port);
  std::fflush(stdout);
  for (int signal = 0; sigwait(&signals, &signal) == 0 && signal == SIGHUP;) service.reload();
  service.stop();
  listening.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options{{"--store", ""},
                                             {"--host", "127.0.0.1"},
                                             {"--port", "8080"},
                                             {"--threads", "8"},
                                             {"--add-threads", "1"}};
  bool known = argc >= 2 && argc % 2 == 0;
  for (int i = 2; known && i < argc; i += 2) {
    known = options.count(argv[i]) > 0;
    options[argv[i]] = argv[i + 1];
  }
  if (!known) {
    std::fprintf(stderr,
                 "usage: pair_service FOLDER [--store STORE] [--host HOST] [--port N] "
                 "[--threads N] [--add-threads N]\n");
    return 2;
  }
  try {
    return serve(argv[1], std::move(options));
  } catch (const std::exception& error) {  // helip::Error, or a number that is none
    std::fprintf(stderr, "pair_service: %s\n", error.what());
    return 1;
  }
}
