#include "data_pipeline/duplicate_index.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kFormat = 1;

std::string hex(uint64_t value) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return to_hex(bytes);
}

uint64_t number(const std::string& text, const std::string& where) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  check(text.size() == 16 && error == std::errc() && end == text.data() + text.size(), where,
        ": a hash is not 16 hex digits");
  return value;
}

const Json& member(const Json& json, const char* key, Json::value_t type, const std::string& where) {
  const auto found = json.find(key);
  check(found != json.end() && found->type() == type, where, ": '", key, "' is missing or of the wrong type");
  return *found;
}

std::string text(const Json& json, const char* key, const std::string& where) {
  return member(json, key, Json::value_t::string, where).get<std::string>();
}

// What keys and shingles depend on: runs of other settings cannot be compared with.
uint64_t settings_of(const NearDuplicateConfig& config, const std::string& tenant) {
  return xxh3_64(
      concat(kFormat, "\n", tenant, "\n", config.bands, "x", config.rows, "\n", config_key(config.shingles)));
}

}  // namespace

DuplicateIndex::DuplicateIndex(const fs::path& folder, const std::string& tenant,
                               const NearDuplicateConfig& config)
    : tenant_(tenant), config_(config), settings_(settings_of(config, tenant)) {
  check(is_tenant_name(tenant), "duplicate index: '", tenant, "' is no name of a tenant");
  folder_ = folder / tenant;
  const fs::path path = folder_ / "index.json";
  const std::string where = path.string();
  if (!fs::exists(path)) return;
  Json json = read_json(path);
  check(json.is_object(), where, ": expected a JSON object");
  const std::string digest = text(json, "digest", where);
  json.erase("digest");
  check(digest == hex(xxh3_64(json.dump())), where,
        ": the file is damaged (digest); restore it, or remove the index and build it again");
  check(json.value("format", Json()) == kFormat, where, ": a format that this program does not read");
  check(text(json, "tenant", where) == tenant_, where, ": the index of another tenant");
  check(text(json, "settings", where) == hex(settings_), where,
        ": made with other shingles, bands or rows; remove the index and build it again");
  for (const Json& entry : member(json, "runs", Json::value_t::array, where)) {
    check(entry.is_object(), where, ": 'runs' holds something that is not an object");
    const std::string period = text(entry, "period", where), file = text(entry, "file", where);
    check(is_period(period) && (months_.empty() || months_.back().run->period() < period), where,
          ": the periods of 'runs' do not rise");
    const std::string checksum = text(entry, "checksum", where);
    check(file == period + "-" + checksum + ".run", where, ": a run has an unexpected file name");
    check(fs::exists(folder_ / file), where, ": names ", file,
          ", which is not there; restore it, or remove the ", "index and build it again");
    auto run = std::make_unique<DuplicateRun>(folder_ / file, settings_, config_.bands, checksum);
    check(run->period() == period, (folder_ / file).string(), ": holds the period '", run->period(), "'");
    std::vector<uint64_t> erased;
    for (const Json& hash : member(entry, "erased", Json::value_t::array, where)) {
      check(hash.is_string(), where, ": 'erased' must hold text");
      erased.push_back(number(hash.get<std::string>(), where));
    }
    run->set_erased(std::move(erased));
    months_.push_back({file, std::move(run)});
  }
}

std::vector<const DuplicateRun*> DuplicateIndex::runs() const {
  std::vector<const DuplicateRun*> all;
  for (const Month& month : months_) all.push_back(month.run.get());
  return all;
}

std::vector<const DuplicateRun*> DuplicateIndex::before(const std::string& period) const {
  check(is_period(period), "duplicate index: '", period, "' is no period, expected YYYY-MM");
  auto all = runs();
  std::erase_if(all, [&](const DuplicateRun* run) { return run->period() >= period; });
  return all;
}

void DuplicateIndex::write_manifest() {
  Json json = {
      {"format", kFormat}, {"tenant", tenant_}, {"settings", hex(settings_)}, {"runs", Json::array()}};
  for (const Month& month : months_) {
    Json erased = Json::array();
    for (const uint64_t hash : month.run->erased()) erased.push_back(hex(hash));
    const std::string& period = month.run->period();
    const size_t prefix = period.size() + 1;
    json["runs"].push_back({{"period", period},
                            {"file", month.file},
                            {"checksum", month.file.substr(prefix, month.file.size() - prefix - 4)},
                            {"documents", month.run->documents()},
                            {"dropped", month.run->dropped()},
                            {"erased", std::move(erased)}});
  }
  json["digest"] = hex(xxh3_64(json.dump()));
  write_file(folder_ / "index.json", json.dump(1) + "\n");
  remove_strays();
}

// What a killed writer or an older state left: nothing that index.json does not name stays.
void DuplicateIndex::remove_strays() const {
  std::unordered_set<std::string> named;
  for (const Month& month : months_) named.insert(month.file);
  std::vector<fs::path> strays;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".part" || extension == ".tmp" ||
        (extension == ".run" && !named.contains(entry.path().filename().string())))
      strays.push_back(entry.path());
  }
  for (const fs::path& path : strays) {
    std::error_code error;
    fs::remove(path, error);
    check(!error, path.string(), ": cannot remove: ", error.message());
  }
}

// Ends the file and puts its run in the place of the period's; the manifest is the caller's.
std::string DuplicateIndex::add_run(DuplicateRunWriter& writer, const std::string& period,
                                    const fs::path& part) {
  const std::string checksum = writer.commit(), file = period + "-" + checksum + ".run";
  std::error_code error;
  fs::rename(part, folder_ / file, error);
  check(!error, (folder_ / file).string(), ": cannot rename: ", error.message());
  auto run = std::make_unique<DuplicateRun>(folder_ / file, settings_, config_.bands, checksum);
  const auto place =
      std::lower_bound(months_.begin(), months_.end(), period,
                       [](const Month& m, const std::string& p) { return m.run->period() < p; });
  if (place != months_.end() && place->run->period() == period) {
    *place = {file, std::move(run)};
  } else {
    months_.insert(place, {file, std::move(run)});
  }
  return file;
}

void DuplicateIndex::commit(const std::string& period, NearDuplicates& month,
                            const NearDuplicateResult& result) {
  const auto earlier = before(period);
  check(settings_of(month.config(), tenant_) == settings_,
        "duplicate index: the month was compared with other settings than the index has");
  std::vector<const RemovedDocument*> removed(month.size(), nullptr);
  for (const RemovedDocument& r : result.removed) removed.at(r.document) = &r;
  const fs::path part = folder_ / (period + ".part");
  DuplicateRunWriter writer(part, period, settings_, MinHash(config_.bands, config_.rows));
  for (const uint32_t document : month.order()) {
    if (const RemovedDocument* r = removed[document]; r != nullptr) {
      const bool here = r->run == RemovedDocument::kThisMonth;
      check(here || r->run < earlier.size(), "duplicate index: the result is not one of this index");
      writer.drop(month.id(document), here ? month.id(r->keeper) : earlier[r->run]->id(r->keeper));
    } else if (const auto shingles = month.shingles(document); !shingles.empty()) {
      writer.keep(month.id(document), shingles);
    }
  }
  add_run(writer, period, part);
  write_manifest();
}

DuplicateIndex::Erased DuplicateIndex::erase(std::span<const std::string> ids) {
  const std::unordered_set<std::string_view> wanted(ids.begin(), ids.end());
  Erased erased;
  bool changed = false;
  for (const Month& month : months_) {
    DuplicateRun& run = *month.run;
    std::vector<uint64_t> hashes = run.erased();
    const auto note = [&](std::string_view id) {
      if (!wanted.contains(id) || run.is_erased_id(id)) return;
      hashes.push_back(DuplicateRun::id_hash(id));
      ++erased.documents;
    };
    for (size_t i = 0; i < run.documents(); ++i) note(run.id(i));
    for (size_t i = 0; i < run.dropped(); ++i) {
      const std::string_view id = run.dropped_id(i);
      note(id);
      if (wanted.contains(run.dropped_keeper(i)) && !wanted.contains(id) && !run.is_erased_id(id))
        erased.readmitted.push_back({std::string(id), run.period()});
    }
    changed = changed || hashes.size() != run.erased().size();
    run.set_erased(std::move(hashes));
  }
  if (changed) write_manifest();
  return erased;
}

int64_t DuplicateIndex::purge() {
  // A dropped document keeps no keeper that is erased, whatever month the keeper is of.
  std::vector<uint64_t> gone;
  for (const Month& month : months_)
    gone.insert(gone.end(), month.run->erased().begin(), month.run->erased().end());
  if (gone.empty()) return 0;
  std::sort(gone.begin(), gone.end());
  const auto is_gone = [&](std::string_view id) {
    return std::binary_search(gone.begin(), gone.end(), DuplicateRun::id_hash(id));
  };
  int64_t written = 0;
  std::vector<uint64_t> buffer;
  for (size_t m = 0; m < months_.size(); ++m) {
    const DuplicateRun& run = *months_[m].run;
    bool touched = !run.erased().empty();
    for (size_t i = 0; i < run.dropped() && !touched; ++i) touched = is_gone(run.dropped_keeper(i));
    if (!touched) continue;
    const std::string period = run.period();
    const fs::path part = folder_ / (period + ".part");
    DuplicateRunWriter writer(part, period, settings_, MinHash(config_.bands, config_.rows));
    for (size_t i = 0; i < run.documents(); ++i)
      if (!run.is_erased(i)) writer.keep(run.id(i), run.shingles(i, buffer));
    for (size_t i = 0; i < run.dropped(); ++i)
      if (!run.is_erased_id(run.dropped_id(i)) && !is_gone(run.dropped_keeper(i)))
        writer.drop(run.dropped_id(i), run.dropped_keeper(i));
    add_run(writer, period, part);
    ++written;
  }
  write_manifest();
  return written;
}

}  // namespace decant
