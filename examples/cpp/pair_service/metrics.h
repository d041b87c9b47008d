// What a service counts, in the text format of Prometheus.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

class Metrics {
 public:
  void record(const std::string& path, int status, double seconds);
  void set_gauge(const std::string& name, double value);
  std::string text() const;

 private:
  // Upper bounds of the buckets, in seconds; one more bucket has the rest.
  static constexpr std::array<double, 10> kBounds{0.0005, 0.001, 0.0025, 0.005, 0.01,
                                                  0.025,  0.05,  0.1,    0.5,   1.0};
  struct Latency {
    std::array<std::int64_t, kBounds.size() + 1> buckets{};
    double sum = 0;
  };

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::int64_t> requests_;
  std::map<std::string, Latency> latency_;
  std::map<std::string, double> gauges_;
};
