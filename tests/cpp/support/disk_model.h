// What a disk may hold after the power failed: the legal states of POSIX, by the changes that were
// made and what was synchronised.
//
// The bytes of a file that were not synchronised are there, not there, or there in part (by sectors
// of 512 bytes). A name that was given, changed or taken away counts for certain once its directory
// was synchronised; before that each such change may have reached the disk or not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "support/disk_changes.h"

class DiskModel {
 public:
  // What lies in the folder now is on the disk.
  explicit DiskModel(std::filesystem::path folder);

  void take(const DiskChange& change);

  enum class Kept { nothing, names, bytes, all, some };
  // Puts a state into the folder, in the place of all that is there. `random` decides for `some`.
  void put(Kept kept, std::mt19937& random) const;

 private:
  struct File {
    std::string synced;
    std::vector<DiskChange> pending;  // writes and sizes since
  };
  struct Entry {
    bool directory = false;
    std::uint64_t file = 0;
  };
  using Names = std::map<std::filesystem::path, Entry>;

  static void apply(const DiskChange& change, Names& names);
  std::string bytes_of(const File& file, Kept kept, std::mt19937& random) const;

  std::filesystem::path folder_;
  std::map<std::uint64_t, File> files_;
  Names synced_;                     // names that are on the disk
  std::vector<DiskChange> pending_;  // changes of names since, in order
};
