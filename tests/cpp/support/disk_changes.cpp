#include "support/disk_changes.h"

#include <atomic>
#include <utility>

#include "support/system_calls.h"

namespace {

std::atomic<DiskWatch*> watch{nullptr};

}  // namespace

DiskWatch::DiskWatch(std::filesystem::path folder) : folder_(std::move(folder)) { watch = this; }

DiskWatch::~DiskWatch() { watch = nullptr; }

DiskWatch* watching() noexcept { return watch; }
