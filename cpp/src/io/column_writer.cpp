#include "io/column_writer.h"

#include <algorithm>
#include <utility>

#include "base/refuse.h"
#include "io/column_reader.h"
#include "io/shard.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

bool is_pending(const std::string& name) { return name.starts_with(PendingFile::kPrefix); }

void refuse_committed(const fs::path& directory) {
  if (!has_manifest(directory)) return;
  refuse('"', directory.string(),
         "\" already holds a committed manifest; choose another path or remove it");
}

}  // namespace

ColumnWriter::ColumnWriter(fs::path directory, Manifest empty, bool with_keys)
    : directory_(std::move(directory)), manifest_(std::move(empty)), with_keys_(with_keys) {
  refuse_committed(directory_);
  const bool is_new = !path_exists(directory_);
  make_directory(directory_);
  for (const std::string& name : names_in(directory_)) {
    if (name == kLockName || is_pending(name) || is_shard_name(name)) continue;
    refuse('"', directory_.string(), "\" is not empty (it holds \"", name,
           "\"); choose a new directory");
  }
  try {
    lock_.emplace(directory_);
  } catch (...) {
    if (is_new) remove_empty_directory(directory_);
    throw;
  }
  refuse_committed(directory_);  // by who held the lock until now
  for (const std::string& name : names_in(directory_)) {
    if (name != kLockName) remove_file_in(directory_, name);
  }
}

ColumnWriter::ColumnWriter(fs::path directory, const std::string& format, bool with_keys)
    : directory_(std::move(directory)), with_keys_(with_keys) {
  (void)read_manifest(directory_, format);  // before a lock is made in somebody else's directory
  lock_.emplace(directory_);
  manifest_ = read_manifest(directory_, format);
  rows_ = committed_rows_ = manifest_.rows();
  std::set<std::string> listed;
  for (const ShardRecord& shard : manifest_.shards) listed.insert(shard.file);
  for (const std::string& name : names_in(directory_)) {
    // Left by a writer that was killed; no manifest names it.
    if (!listed.contains(name) && (is_shard_name(name) || is_pending(name))) {
      remove_file_in(directory_, name);
    }
  }
  first_uncommitted_shard_ = static_cast<std::int64_t>(manifest_.shards.size());
}

ColumnWriter ColumnWriter::replacing(fs::path directory, Manifest empty, bool with_keys) {
  if (!has_manifest(directory)) {
    return ColumnWriter(std::move(directory), std::move(empty), with_keys);
  }
  ColumnWriter writer(std::move(directory), empty.format, with_keys);
  for (const ShardRecord& shard : writer.manifest_.shards) {
    writer.replaced_.push_back(writer.directory_ / shard.file);
  }
  empty.generation = writer.manifest_.generation;
  empty.next_shard = writer.manifest_.next_shard;
  writer.manifest_ = std::move(empty);
  writer.rows_ = writer.committed_rows_ = 0;
  writer.first_uncommitted_shard_ = 0;
  return writer;
}

ColumnWriter::~ColumnWriter() {
  if (!owns_) return;
  tail_.reset();
  for (std::size_t i = static_cast<std::size_t>(first_uncommitted_shard_);
       i < manifest_.shards.size(); ++i) {
    if (kept_.contains(manifest_.shards[i].file)) continue;
    remove_file_in(directory_, manifest_.shards[i].file);
  }
  if (!committed()) {
    remove_file_in(directory_, kLockName);
    remove_empty_directory(directory_);
  }
}

ColumnWriter::ColumnWriter(ColumnWriter&& other) noexcept
    : directory_(std::move(other.directory_)),
      lock_(std::move(other.lock_)),
      manifest_(std::move(other.manifest_)),
      with_keys_(other.with_keys_),
      owns_(std::exchange(other.owns_, false)),
      failed_(std::exchange(other.failed_, true)),
      rows_(other.rows_),
      committed_rows_(other.committed_rows_),
      first_uncommitted_shard_(other.first_uncommitted_shard_),
      tail_(std::move(other.tail_)),
      obsolete_tail_(std::move(other.obsolete_tail_)),
      replaced_(std::move(other.replaced_)),
      kept_(std::move(other.kept_)) {}

void ColumnWriter::check_usable() const {
  if (!failed_) return;
  fail(ErrorCode::io, "an earlier write to \"", directory_.string(),
       "\" failed, so nothing can be added to it or committed; what was committed before is as it "
       "was: begin again from there");
}

bool ColumnWriter::is_named(const fs::path& shard) const {
  const std::string name = shard.filename().string();
  return std::any_of(manifest_.shards.begin(), manifest_.shards.end(),
                     [&](const ShardRecord& record) { return record.file == name; });
}

void ColumnWriter::open_shard() {
  tail_.emplace(directory_, manifest_.columns, with_keys_, manifest_.shard_rows);
}

void ColumnWriter::reload_tail() {
  const ColumnReader reader(directory_, manifest_.format);
  const std::int64_t first = rows_ / manifest_.shard_rows * manifest_.shard_rows;
  const std::int64_t n = rows_ - first;
  open_shard();
  std::vector<const void*> data;
  for (const ColumnSpec& column : manifest_.columns) {
    data.push_back(reader.column(column.name).row(first));
  }
  std::vector<std::string> keys;
  for (std::int64_t i = 0; with_keys_ && i < n; ++i) keys.emplace_back(reader.key(first + i));
  tail_->append(n, data, keys.data());
  reader.require_whole();
  obsolete_tail_ = directory_ / manifest_.shards.back().file;
}

void ColumnWriter::append(std::int64_t n, const std::vector<const void*>& data,
                          const std::string* keys) {
  check_usable();
  failed_ = true;
  append_rows(n, data, keys);
  failed_ = false;
}

void ColumnWriter::append_rows(std::int64_t n, std::vector<const void*> data,
                               const std::string* keys) {
  for (std::int64_t done = 0; done < n;) {
    if (!tail_) {
      // The committed tail is copied only now: a commit of other things leaves it as it is.
      if (rows_ % manifest_.shard_rows != 0) {
        reload_tail();
      } else {
        open_shard();
      }
    }
    const std::int64_t part = std::min(n - done, tail_->room());
    tail_->append(part, data, keys == nullptr ? nullptr : keys + done);
    for (std::size_t c = 0; c < data.size(); ++c) {
      data[c] = static_cast<const char*>(data[c]) + part * manifest_.columns[c].row_bytes();
    }
    done += part;
    rows_ += part;
    if (tail_->room() > 0) continue;
    // A full shard takes the place of the committed tail that it grew from.
    const auto index = static_cast<std::size_t>((rows_ - 1) / manifest_.shard_rows);
    manifest_.shards.reserve(index + 1);
    ShardRecord record = tail_->publish(shard_name(manifest_.next_shard++));
    tail_.reset();
    manifest_.shards.resize(index);
    first_uncommitted_shard_ = std::min(first_uncommitted_shard_, static_cast<std::int64_t>(index));
    manifest_.shards.push_back(std::move(record));
  }
}

void ColumnWriter::keep(const ShardRecord& shard) {
  check_usable();
  kept_.insert(shard.file);
  std::erase(replaced_, directory_ / shard.file);
  manifest_.shards.push_back(shard);
  rows_ += shard.rows;
}

void ColumnWriter::commit(const std::function<void(Manifest&)>& finish) { publish(finish, false); }

void ColumnWriter::close(const std::function<void(Manifest&)>& finish) { publish(finish, true); }

void ColumnWriter::publish(const std::function<void(Manifest&)>& finish, bool last) {
  check_usable();
  Manifest next = manifest_;
  next.generation += 1;
  std::optional<fs::path> tail_path;
  const auto full = static_cast<std::size_t>(rows_ / next.shard_rows);
  failed_ = true;
  try {
    if (tail_ && rows_ != committed_rows_) {
      next.shards.resize(full);
      const std::string name = shard_name(next.next_shard++);
      next.shards.push_back(tail_->publish(name));
      tail_path = directory_ / name;
    }
    if (last) tail_.reset();
    finish(next);
    replace_manifest(directory_, next);
  } catch (const Error& error) {
    if (tail_path) remove_file(*tail_path);
    // Attributes that cannot be written leave the files as they were.
    failed_ = last || error.code() != ErrorCode::invalid_argument;
    throw;
  } catch (...) {
    if (tail_path) remove_file(*tail_path);
    throw;
  }
  // Committed.
  manifest_ = std::move(next);
  committed_rows_ = rows_;
  first_uncommitted_shard_ = static_cast<std::int64_t>(manifest_.shards.size());
  sync_directory(directory_);  // where it fails, a crash may bring back what is obsolete
  failed_ = false;
  // A reader that holds an older generation keeps its mapping; the names may go.
  if (obsolete_tail_ && !is_named(*obsolete_tail_)) {
    remove_file(*obsolete_tail_);
    obsolete_tail_.reset();
  }
  if (tail_path) obsolete_tail_ = std::move(tail_path);
  for (const fs::path& shard : replaced_) remove_file(shard);
  replaced_.clear();
}

}  // namespace helip
