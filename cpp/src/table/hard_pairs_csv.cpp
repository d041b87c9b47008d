// The CSV of the reference implementation of arXiv 2305.05208: target,h1,...,hk, a line a target.
#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "base/refuse.h"
#include "base/rethrow.h"
#include "base/text.h"
#include "helip/hard_pairs.h"
#include "io/byte_progress.h"
#include "io/file.h"
#include "table/pair_columns.h"
#include "table/pair_table.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBuffer = std::int64_t{1} << 20;
constexpr std::size_t kDigits = 20;  // of an int64, with its sign
constexpr std::int64_t kCheckRows = 4096;

std::string_view unquoted(std::string_view text) {
  constexpr std::string_view kAround = " \t\r\"";
  const std::size_t first = text.find_first_not_of(kAround);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kAround) - first + 1);
}

bool is_number(std::string_view text, std::int64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

// Calls take(line, target, ids) for each line of a target; ids below 0, which pad, are left out.
template <typename Take>
void for_each_pool(const fs::path& path, const ProgressCallback& progress, const Take& take) {
  ByteProgress state("read", file_size(open_given_file(path), path), progress);
  std::ifstream file(path, std::ios::binary);
  std::vector<std::int64_t> numbers;
  std::int64_t number = 0, untold = 0;
  for (std::string read; std::getline(file, read);) {
    std::string_view line = read;
    untold += static_cast<std::int64_t>(line.size());
    if (!file.eof()) ++untold;  // its newline, which the last line may lack
    if (untold > kBuffer) state.advance(std::exchange(untold, 0));
    if (++number == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
    numbers.clear();
    std::string_view other;  // the first field that is no number
    for (std::size_t at = 0; at <= line.size();) {
      const std::size_t end = std::min(line.find(',', at), line.size());
      const std::string_view field = unquoted(line.substr(at, end - at));
      at = end + 1;
      if (field.empty()) continue;
      std::int64_t value = 0;
      if (is_number(field, value)) {
        numbers.push_back(value);
      } else if (other.empty()) {
        other = field;
      }
    }
    // A header holds no number, and does not look like one of another dialect.
    const bool is_header =
        number == 1 && numbers.empty() && !other.empty() &&
        std::string_view("+-.0123456789").find(other[0]) == std::string_view::npos;
    if (!other.empty() && !is_header) {
      refuse("line ", number, " of ", quoted(path), " holds \"", excerpt(other),
             "\"; every field must be a row number, with commas between them");
    }
    if (numbers.empty()) continue;
    const std::int64_t target = numbers.front();
    if (target < 0) {
      refuse("line ", number, " of ", quoted(path), " is of target ", target,
             "; rows are numbered from 0");
    }
    numbers.erase(numbers.begin());
    std::erase_if(numbers, [](std::int64_t id) { return id < 0; });
    take(number, target, numbers);
  }
  if (!file.is_open() || file.bad()) fail(ErrorCode::io, "cannot read ", path);
  state.advance(untold);
}

}  // namespace

void HardPairs::save_csv(const fs::path& path, const ProgressCallback& progress) const try {
  if (k() < 1) refuse("a table without columns cannot be saved; it was moved from, or never made");
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  static_cast<void>(path_exists(path));  // a loop of links is an error, and is not replaced
  PendingFile file(directory);
  std::string text = "target";
  for (std::int64_t r = 1; r <= k(); ++r) text += ",h" + std::to_string(r);
  text += '\n';
  std::int64_t written = 0;
  const auto flush = [&] {
    file.write_at(text.data(), text.size(), written);
    written += static_cast<std::int64_t>(text.size());
    text.clear();
  };
  const auto number = [&text](std::int64_t value) {
    char digits[kDigits];
    text.append(digits, std::to_chars(digits, digits + kDigits, value).ptr);
  };
  ByteProgress state("save", size() * k() * size_of(ids().dtype), progress);
  for (std::int64_t target = 0; target < size(); ++target) {
    const std::int32_t pairs = count(target);
    if (pairs > 0) {
      number(target);
      for (std::int64_t r = 0; r < pairs; ++r) {
        text += ',';
        number(id(target, r));
      }
      text += '\n';
    }
    if (static_cast<std::int64_t>(text.size()) >= kBuffer) flush();
    if (target % kCheckRows == 0) {
      state.advance(std::min(kCheckRows, size() - target) * k() * size_of(ids().dtype));
    }
  }
  table_->require_whole();
  flush();
  file.replace(path.filename());
  sync_directory(directory);
} catch (...) {
  rethrow_as_error();
}

HardPairs HardPairs::open_csv(const fs::path& path, std::int64_t rows,
                              const ProgressCallback& progress) try {
  // Twice through the file, so that nothing but the table is held.
  std::int64_t largest = -1;
  std::int64_t k = 1;
  for_each_pool(path, progress, [&](std::int64_t, std::int64_t target, const auto& ids) {
    largest = std::max(largest, target);
    for (const std::int64_t id : ids) largest = std::max(largest, id);
    k = std::max(k, static_cast<std::int64_t>(ids.size()));
  });
  if (largest == std::numeric_limits<std::int64_t>::max()) {
    refuse(quoted(path), " names row ", largest, ", more than a data set can have");
  }
  const std::int64_t n = rows < 0 ? largest + 1 : rows;
  if (largest >= n) {
    refuse(quoted(path), " names row ", largest, "; a data set of ", n, " rows ends at ", n - 1);
  }
  const auto table = PairTable::empty(n, k);
  std::vector<bool> seen(static_cast<std::size_t>(n));
  std::vector<std::int64_t> padded;
  std::vector<float> scores;
  for_each_pool(path, {}, [&](std::int64_t line, std::int64_t target, const auto& ids) {
    const auto pairs = static_cast<std::int64_t>(ids.size());
    if (target >= n || pairs > k) refuse(quoted(path), " was changed while it was read");
    if (seen[static_cast<std::size_t>(target)]) {
      refuse("line ", line, " of ", quoted(path), " is the second one of target ", target,
             "; keep one");
    }
    seen[static_cast<std::size_t>(target)] = true;
    padded.assign(ids.begin(), ids.end());
    padded.resize(static_cast<std::size_t>(k), -1);
    scores.assign(static_cast<std::size_t>(k), 0.0F);
    for (std::int64_t r = 0; r < pairs; ++r) {
      const double share = static_cast<double>(r) / static_cast<double>(pairs);
      scores[static_cast<std::size_t>(r)] = static_cast<float>(1.0 - share);
    }
    for (const std::int64_t id : ids) {
      if (id >= n) refuse(quoted(path), " was changed while it was read");
    }
    table->put(target, padded.data(), scores.data(), static_cast<std::int32_t>(pairs));
  });
  for (std::int64_t first = 0; first < n; first += kCheckRows) {
    const std::int64_t last = std::min(first + kCheckRows, n);
    const std::string fault =
        fault_of_rows(table->ids, table->scores, table->counts, first, last, 0, {n});
    if (!fault.empty()) refuse(quoted(path), ": ", fault, "; mend the file");
  }
  table->origin.options_json = R"({"k":)" + std::to_string(k) + R"(,"method":"csv"})";
  return HardPairs(table);
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
