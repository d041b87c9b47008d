#include "support/disk_model.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "support/system_calls.h"
#include "support/whole_file.h"

namespace {

namespace fs = std::filesystem;
using Kind = DiskChange::Kind;

constexpr std::int64_t kSector = 512;

bool keeps(DiskModel::Kept kept, bool of_names, std::mt19937& random) {
  switch (kept) {
    case DiskModel::Kept::nothing: return false;
    case DiskModel::Kept::names: return of_names;
    case DiskModel::Kept::bytes: return !of_names;
    case DiskModel::Kept::all: return true;
    case DiskModel::Kept::some: break;
  }
  return random() % 2 == 0;
}

}  // namespace

DiskModel::DiskModel(fs::path folder) : folder_(std::move(folder)) {
  for (const auto& each : fs::recursive_directory_iterator(folder_)) {
    if (each.is_directory()) {
      synced_[each.path()] = {true, 0};
      continue;
    }
    const int file = ::open(each.path().c_str(), O_RDONLY);
    const std::uint64_t number = number_of(file);
    ::close(file);
    synced_[each.path()] = {false, number};
    files_[number].synced = whole_file(each.path());
  }
}

void DiskModel::take(const DiskChange& change) {
  switch (change.kind) {
    case Kind::write:
    case Kind::resize: files_[change.file].pending.push_back(change); return;
    case Kind::sync: {
      File& file = files_[change.file];
      std::mt19937 unused;
      file.synced = bytes_of(file, Kept::all, unused);
      file.pending.clear();
      return;
    }
    case Kind::sync_directory: {
      std::vector<DiskChange> left;
      for (DiskChange& each : pending_) {
        // The library renames within a directory.
        if (each.path.parent_path() == change.path) {
          apply(each, synced_);
        } else {
          left.push_back(std::move(each));
        }
      }
      pending_ = std::move(left);
      return;
    }
    case Kind::create: files_[change.file] = {}; break;
    default: break;
  }
  DiskChange named = change;
  if (change.kind == Kind::rename) {
    // Which file it is, is known now; later its name may be another's.
    Names now = synced_;
    for (const DiskChange& each : pending_) apply(each, now);
    named.file = now.contains(change.path) ? now[change.path].file : 0;
  }
  pending_.push_back(std::move(named));
}

void DiskModel::apply(const DiskChange& change, Names& names) {
  switch (change.kind) {
    case Kind::create: names[change.path] = {false, change.file}; return;
    case Kind::make_directory: names[change.path] = {true, 0}; return;
    case Kind::rename:
      names.erase(change.path);
      names[change.to] = {false, change.file};
      return;
    default: names.erase(change.path);
  }
}

std::string DiskModel::bytes_of(const File& file, Kept kept, std::mt19937& random) const {
  std::string bytes = file.synced;
  for (const DiskChange& change : file.pending) {
    if (change.kind == Kind::resize) {
      if (keeps(kept, false, random)) bytes.resize(static_cast<std::size_t>(change.offset));
      continue;
    }
    const auto end = change.offset + static_cast<std::int64_t>(change.data.size());
    for (std::int64_t at = change.offset; at < end;) {
      const std::int64_t next = std::min(end, (at / kSector + 1) * kSector);
      if (keeps(kept, false, random)) {
        if (std::ssize(bytes) < next) bytes.resize(static_cast<std::size_t>(next));
        const auto first = static_cast<std::size_t>(at - change.offset);
        bytes.replace(static_cast<std::size_t>(at), static_cast<std::size_t>(next - at),
                      change.data, first, static_cast<std::size_t>(next - at));
      }
      at = next;
    }
  }
  return bytes;
}

void DiskModel::put(Kept kept, std::mt19937& random) const {
  Names names = synced_;
  for (const DiskChange& change : pending_) {
    if (keeps(kept, true, random)) apply(change, names);
  }
  for (const auto& each : fs::directory_iterator(folder_)) fs::remove_all(each.path());
  // In order of their paths, so a directory comes before what it holds.
  for (const auto& [path, entry] : names) {
    if (!fs::is_directory(path.parent_path())) continue;
    if (entry.directory) {
      fs::create_directory(path);
      continue;
    }
    const auto file = files_.find(entry.file);
    std::ofstream out(path, std::ios::binary);
    const std::string bytes =
        file == files_.end() ? std::string() : bytes_of(file->second, kept, random);
    out.write(bytes.data(), std::ssize(bytes));
  }
}
