#include "metrics.h"

#include <algorithm>
#include <cstddef>
#include <sstream>

void Metrics::record(const std::string& path, int status, double seconds) {
  const std::lock_guard lock(mutex_);
  ++requests_[{path, status}];
  Latency& latency = latency_[path];
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  ++latency.buckets[static_cast<std::size_t>(bucket - kBounds.begin())];
  latency.sum += seconds;
}

void Metrics::set_gauge(const std::string& name, double value) {
  const std::lock_guard lock(mutex_);
  gauges_[name] = value;
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::ostringstream out;
  out << "# TYPE pair_service_requests_total counter\n";
  for (const auto& [which, count] : requests_) {
    out << "pair_service_requests_total{path=\"" << which.first << "\",status=\"" << which.second
        << "\"} " << count << '\n';
  }
  out << "# TYPE pair_service_request_seconds histogram\n";
  for (const auto& [path, latency] : latency_) {
    const std::string name = "pair_service_request_seconds";
    std::int64_t below = 0;
    for (std::size_t i = 0; i < kBounds.size(); ++i) {
      below += latency.buckets[i];
      out << name << "_bucket{path=\"" << path << "\",le=\"" << kBounds[i] << "\"} " << below
          << '\n';
    }
    below += latency.buckets[kBounds.size()];
    out << name << "_bucket{path=\"" << path << "\",le=\"+Inf\"} " << below << '\n'
        << name << "_sum{path=\"" << path << "\"} " << latency.sum << '\n'
        << name << "_count{path=\"" << path << "\"} " << below << '\n';
  }
  for (const auto& [name, value] : gauges_) {
    out << "# TYPE pair_service_" << name << " gauge\npair_service_" << name << ' ' << value
        << '\n';
  }
  return out.str();
}
