#include "data_pipeline/duplicate_index.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {
namespace fs = std::filesystem;

// A number in letters: digits would be masked.
std::string in_letters(uint64_t n) {
  std::string word(1, static_cast<char>('a' + n % 26));
  while (n /= 26) word += static_cast<char>('a' + n % 26);
  return word;
}

// A text of `words` words that only `seed` has, the first `edits` of which are replaced.
std::string text_of(uint64_t seed, int words = 40, int edits = 0) {
  std::string text;
  for (int i = 0; i < words; ++i) {
    text += in_letters(philox(seed, purpose_stream(Purpose::kTest, 0), static_cast<uint64_t>(i))[0]);
    text += i < edits ? "+ " : " ";
  }
  return text;
}

struct Document {
  std::string id, text;
};

// Removed id -> keeper's id, the month committed.
std::map<std::string, std::string> month(DuplicateIndex& index, const std::string& period,
                                         const std::vector<Document>& documents,
                                         const NearDuplicateConfig& config = {}) {
  NearDuplicates near(config, fs::temp_directory_path());
  for (const auto& d : documents) {
    const std::string_view part = d.text;
    near.add(d.id, period, std::span(&part, 1));
  }
  const auto earlier = index.before(period);
  const auto result = near.resolve(earlier);
  std::map<std::string, std::string> removed;
  for (const auto& r : result.removed)
    removed[documents[r.document].id] =
        std::string(r.run == RemovedDocument::kThisMonth ? std::string_view(documents[r.keeper].id)
                                                         : earlier[r.run]->id(r.keeper));
  index.commit(period, near, result);
  return removed;
}

std::string all_bytes(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::string bytes;
  for (const auto& file : files) bytes += file.filename().string() + "\n" + read_file(file);
  return bytes;
}

using Ids = std::map<std::string, std::string>;

TEST(DuplicateIndex, RemembersAcrossMonthsAndReopening) {
  const fs::path folder = test::scratch_folder();
  {
    DuplicateIndex index(folder, "acme", {});
    EXPECT_TRUE(index.before("2026-01").empty());
    EXPECT_EQ(month(index, "2026-01", {{"a", text_of(1)}, {"b", text_of(2)}, {"empty", ""}}), Ids{});
    EXPECT_EQ(month(index, "2026-02", {{"c", text_of(3)}}), Ids{});
  }
  DuplicateIndex index(folder, "acme", {});
  EXPECT_EQ(index.runs().size(), 2U);
  EXPECT_EQ(month(index, "2026-03",
                  {{"d", text_of(1, 40, 1)}, {"e", text_of(4)}, {"f", text_of(3)}, {"g", text_of(4)}}),
            (Ids{{"d", "a"}, {"f", "c"}, {"g", "e"}}));
  EXPECT_EQ(index.runs()[2]->documents(), 1U);
  EXPECT_EQ(index.runs()[2]->dropped(), 3U);
  for (const auto* run : index.runs()) run->check_all();
  // A month is not compared with itself or with later ones.
  EXPECT_EQ(month(index, "2026-01", {{"a", text_of(1)}, {"x", text_of(4)}}), Ids{});
  EXPECT_EQ(index.runs().size(), 3U);
  // Another tenant knows nothing of it.
  DuplicateIndex other(folder, "other", {});
  EXPECT_EQ(month(other, "2026-04", {{"d", text_of(1)}}), Ids{});
}

TEST(DuplicateIndex, MonthByMonthIsAllAtOnce) {
  std::vector<std::vector<Document>> months(6);
  NearDuplicates all({}, fs::temp_directory_path());
  std::vector<std::string> ids;
  for (uint64_t i = 0; i < 900; ++i) {
    const auto draw = philox(4, purpose_stream(Purpose::kTest, 1), i);
    const Document d{
        "id" + std::to_string(1000 + i),
        text_of(draw[0] % 250, 30 + static_cast<int>(draw[1] % 30), static_cast<int>(draw[2] % 4))};
    months[draw[3] % 6].push_back(d);
    const std::string_view part = d.text;
    all.add(d.id, "2026-0" + std::to_string(1 + draw[3] % 6), std::span(&part, 1));
    ids.push_back(d.id);
  }
  Ids expected, found;
  for (const auto& r : all.resolve().removed) expected[ids[r.document]] = ids[r.keeper];
  DuplicateIndex index(test::scratch_folder(), "acme", {});
  for (size_t m = 0; m < 6; ++m) found.merge(month(index, "2026-0" + std::to_string(m + 1), months[m]));
  EXPECT_EQ(found, expected);
  EXPECT_GT(expected.size(), 300U);
}

// A run much larger than the month is searched instead of walked: the same is found.
TEST(DuplicateIndex, GallopingFindsTheSame) {
  DuplicateIndex index(test::scratch_folder(), "acme", {});
  std::vector<Document> history;
  for (uint64_t i = 0; i < 3000; ++i) history.push_back({"h" + std::to_string(i), text_of(i, 12)});
  month(index, "2026-01", history);
  for (const uint64_t wanted : {0, 7, 1500, 2999})
    EXPECT_EQ(month(index, "2026-02", {{"new", text_of(wanted, 12)}, {"other", text_of(99999, 12)}}),
              (Ids{{"new", "h" + std::to_string(wanted)}}));
  std::vector<Document> many;
  Ids expected;
  for (uint64_t i = 0; i < 3000; i += 3) {
    many.push_back({"n" + std::to_string(i), text_of(i, 12)});
    expected[many.back().id] = "h" + std::to_string(i);
  }
  EXPECT_EQ(month(index, "2026-02", many), expected);
}

TEST(DuplicateIndex, TombstonesReadmitAndPurgeLeavesNothing) {
  const fs::path folder = test::scratch_folder();
  DuplicateIndex index(folder, "acme", {});
  month(index, "2026-01", {{"secret-a", text_of(1)}, {"b", text_of(2)}, {"c", text_of(2)}});
  EXPECT_EQ(month(index, "2026-02", {{"d", text_of(1)}, {"e", text_of(2)}}),
            (Ids{{"d", "secret-a"}, {"e", "b"}}));
  EXPECT_EQ(index.erase(std::vector<std::string>{"nobody"}).documents, 0);
  const auto erased = index.erase(std::vector<std::string>{"secret-a", "e"});
  EXPECT_EQ(erased.documents, 2);
  ASSERT_EQ(erased.readmitted.size(), 1U);
  EXPECT_EQ(erased.readmitted[0].id, "d");
  EXPECT_EQ(erased.readmitted[0].period, "2026-02");
  EXPECT_EQ(index.erase(std::vector<std::string>{"secret-a"}).documents, 0);  // once is enough
  const std::vector<Document> march = {{"d", text_of(1)}, {"f", text_of(2)}};
  {
    DuplicateIndex again(folder, "acme", {});  // tombstones are on disk
    EXPECT_EQ(month(again, "2026-03", march), (Ids{{"f", "b"}}));
  }
  DuplicateIndex last(folder, "acme", {});
  EXPECT_NE(all_bytes(folder).find("secret-a"), std::string::npos);
  EXPECT_EQ(last.purge(), 2);  // January and February, which named it as a keeper
  EXPECT_EQ(last.purge(), 0);
  EXPECT_EQ(all_bytes(folder).find("secret-a"), std::string::npos);
  EXPECT_EQ(last.runs()[0]->documents(), 1U);
  for (const auto* run : last.runs()) run->check_all();
  // It may come back one day.
  EXPECT_EQ(month(last, "2026-04", {{"secret-a", text_of(9)}, {"g", text_of(2)}}), (Ids{{"g", "b"}}));
  EXPECT_EQ(month(last, "2026-05", {{"h", text_of(9)}}), (Ids{{"h", "secret-a"}}));
}

TEST(DuplicateIndex, SameInputSameBytes) {
  std::string bytes[2];
  const fs::path scratch = test::scratch_folder();
  for (int i = 0; i < 2; ++i) {
    DuplicateIndex index(scratch / std::to_string(i), "acme", {});
    std::vector<Document> january = {{"a", text_of(1)}, {"b", text_of(2)}, {"c", text_of(1)}};
    if (i == 1) std::reverse(january.begin(), january.end());
    month(index, "2026-01", january);
    if (i == 1) month(index, "2026-01", january);  // again
    month(index, "2026-02", {{"d", text_of(3)}});
    bytes[i] = all_bytes(scratch / std::to_string(i));
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

void overwrite(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class DamagedIndex : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = test::scratch_folder();
    DuplicateIndex index(folder_, "acme", {});
    std::vector<Document> documents;
    for (uint64_t i = 0; i < 60; ++i) documents.push_back({"id" + std::to_string(i), text_of(i)});
    documents.push_back({"copy", text_of(3)});
    month(index, "2026-01", documents);
    for (const auto& entry : fs::directory_iterator(folder_ / "acme"))
      if (entry.path().extension() == ".run") run_ = entry.path();
    bytes_ = read_file(run_);
  }
  // Opens the index and reads every part of it.
  void use() const {
    DuplicateIndex index(folder_, "acme", {});
    NearDuplicates near({}, fs::temp_directory_path());
    for (uint64_t i = 0; i < 60; ++i) {
      const std::string text = text_of(i, 40, 1);
      const std::string_view part = text;
      near.add("n" + std::to_string(i), "2026-02", std::span(&part, 1));
    }
    const auto result = near.resolve(index.before("2026-02"));
    for (const auto* run : index.runs()) run->check_all();
    EXPECT_EQ(result.removed.size(), 60U);
  }
  fs::path folder_, run_;
  std::string bytes_;
};

TEST_F(DamagedIndex, EveryTruncationIsAnError) {
  use();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{191}, size_t{192}, size_t{4096},
                            bytes_.size() / 2, bytes_.size() - 128, bytes_.size() - 8, bytes_.size() - 1}) {
    overwrite(run_, bytes_.substr(0, size));
    EXPECT_ERROR(use(), run_.string());
  }
  overwrite(run_, bytes_ + "more");
  EXPECT_ERROR(use(), run_.string());
  fs::remove(run_);
  EXPECT_ERROR(use(), "not there");
}

TEST_F(DamagedIndex, EveryFlippedBitIsAnError) {
  int seen = 0;
  for (size_t at = 0; at < bytes_.size(); at += 97) {
    std::string changed = bytes_;
    changed[at] = static_cast<char>(changed[at] ^ (1 << at % 8));
    overwrite(run_, changed);
    EXPECT_ERROR(use(), run_.string());
    ++seen;
  }
  EXPECT_GT(seen, 200);
  overwrite(run_, bytes_);
  const fs::path manifest = folder_ / "acme/index.json";
  const std::string json = read_file(manifest);
  for (size_t at = 0; at < json.size(); ++at) {
    if (json[at] == ' ' || json[at] == '\n') continue;
    std::string changed = json;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    overwrite(manifest, changed);
    EXPECT_ERROR(use(), "index.json");
  }
}

// Right checksums, wrong numbers: bounds hold without them.
TEST_F(DamagedIndex, HostileOffsetsStayInTheFile) {
  const fs::path path = folder_ / "hostile.run";
  DuplicateRunWriter writer(path, "2026-01", 7, MinHash(16, 6));
  const std::vector<uint64_t> shingles = {1ULL << 60, 2ULL << 60, 3ULL << 60};
  writer.keep("a", shingles);
  writer.commit();
  const std::string good = read_file(path);
  // A run for other settings or another number of bands.
  EXPECT_ERROR(DuplicateRun(path, 8, 16, ""), "other duplicate settings");
  EXPECT_ERROR(DuplicateRun(path, 7, 15, ""), "other duplicate settings");
  EXPECT_ERROR(DuplicateRun(path, 7, 16, "0123456789abcdef"), "expected the run");
  const DuplicateRun run(path, 7, 16, "");
  EXPECT_EQ(run.id(0), "a");
  std::vector<uint64_t> buffer;
  EXPECT_EQ(run.shingles(0, buffer).size(), 3U);
  EXPECT_ERROR(run.id(1), "asked for");
  EXPECT_ERROR(run.shingles(1, buffer), "asked for");
  EXPECT_ERROR(run.dropped_id(0), "asked for");
  // The numbers of a band, an end of a list and the counts, each changed with all checksums made right again.
  const auto put = [](std::string& bytes, size_t at, uint64_t value, size_t size = 8) {
    bytes.replace(at, size, reinterpret_cast<const char*>(&value), size);
  };
  const auto sealed = [&](std::string bytes) {
    const size_t footer = bytes.size() - 128, checks = footer - 8, tables = 64 + 8 * shingles.size();
    put(bytes, checks, xxh3_64(std::string_view(bytes).substr(tables, checks - tables)));
    put(bytes, footer + 80, xxh3_64(std::string_view(bytes).substr(checks, 8)));
    put(bytes, footer + 120, xxh3_64(std::string_view(bytes).substr(footer, 120)));
    return bytes;
  };
  const size_t tables = 64 + 8 * shingles.size(), bands = tables + 16 + 8 + 16 + 8;
  overwrite(path, sealed(good));
  EXPECT_NO_THROW(DuplicateRun(path, 7, 16, "").check_all());
  const std::vector<std::pair<size_t, uint64_t>> wrong = {
      {tables, ~0ULL},  {tables + 8, 0},  {tables + 8, 4},      {tables + 8, ~0ULL},
      {tables + 16, 1}, {tables + 24, 2}, {tables + 32, ~0ULL}, {tables + 32, 9}};
  for (const auto& [at, value] : wrong) {
    std::string bytes = good;
    put(bytes, at, value);
    overwrite(path, sealed(bytes));
    EXPECT_ERROR(DuplicateRun(path, 7, 16, "").check_all(), path.string());
  }
  for (size_t field = 0; field < 6; ++field)
    for (const uint64_t value : {100ULL, 1ULL << 32, ~0ULL, ~0ULL / 8}) {
      std::string bytes = good;
      put(bytes, bytes.size() - 128 + 8 * field, value);
      overwrite(path, sealed(bytes));
      EXPECT_ERROR(DuplicateRun(path, 7, 16, "").check_all(), path.string());
    }
  std::string bytes = good;
  uint32_t key = 0;
  std::memcpy(&key, bytes.data() + bands, sizeof key);
  put(bytes, bands + 4, 1000000, 4);  // the ordinal
  overwrite(path, sealed(bytes));
  const DuplicateRun crooked(path, 7, 16, "");
  BandEntries entries;
  entries.entries = {uint64_t{key} << 32};
  entries.set_bits();
  std::vector<EarlierCandidate> found;
  EXPECT_ERROR(crooked.find(0, entries, 256, 0, found), "names document 1000000 of 1");
}

TEST_F(DamagedIndex, AKillLeavesTheOldState) {
  const std::string manifest = read_file(folder_ / "acme/index.json");
  std::vector<Document> february;
  for (uint64_t i = 0; i < 60; ++i) february.push_back({"f" + std::to_string(i), text_of(1000 + i)});
  int killed = 0;
  for (rlim_t bytes = 0; bytes < bytes_.size() + 2000; bytes += 3000) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {  // dies by SIGXFSZ at this byte of the run
      const rlimit limit{bytes, bytes}, no_core{0, 0};
      ::setrlimit(RLIMIT_CORE, &no_core);
      ::setrlimit(RLIMIT_FSIZE, &limit);
      DuplicateIndex index(folder_, "acme", {});
      month(index, "2026-02", february);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status)) break;  // the whole run fits
    ++killed;
    EXPECT_EQ(read_file(folder_ / "acme/index.json"), manifest);
    use();
  }
  EXPECT_GT(killed, 5);
  // A run that was renamed, when the kill came before index.json, is none of the index and goes with the next
  // commit.
  fs::copy_file(run_, folder_ / "acme/2026-07-0000000000000000.run");
  use();
  DuplicateIndex index(folder_, "acme", {});
  month(index, "2026-02", february);
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "acme")) files += entry.is_regular_file();
  EXPECT_EQ(files, 3U);
  EXPECT_EQ(index.runs().size(), 2U);
}

TEST(DuplicateIndex, Errors) {
  const fs::path folder = test::scratch_folder();
  {
    DuplicateIndex index(folder, "acme", {});
    month(index, "2026-01", {{"a", text_of(1)}});
    EXPECT_ERROR(index.before("January"), "no period");
    NearDuplicateConfig other;
    other.rows = 5;
    EXPECT_ERROR(month(index, "2026-02", {{"a", text_of(1)}}, other), "other settings");
  }
  NearDuplicateConfig other;
  other.shingles.words = 4;
  EXPECT_ERROR(DuplicateIndex(folder, "acme", other), "other shingles");
  EXPECT_ERROR(DuplicateIndex(folder, "../acme", {}), "no name of a tenant");
  fs::copy(folder / "acme", folder / "rival", fs::copy_options::recursive);
  EXPECT_ERROR(DuplicateIndex(folder, "rival", {}), "another tenant");
  write_file(folder / "acme/index.json", "[");
  EXPECT_ERROR(DuplicateIndex(folder, "acme", {}), "index.json");
  write_file(folder / "acme/index.json", R"({"digest": 3})");
  EXPECT_ERROR(DuplicateIndex(folder, "acme", {}), "'digest'");
}

}  // namespace
}  // namespace decant
