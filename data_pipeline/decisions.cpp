#include "data_pipeline/decisions.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <span>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "data_pipeline/attributes.h"
#include "data_pipeline/decide_mix.h"
#include "data_pipeline/decide_replies.h"
#include "data_pipeline/decide_split.h"
#include "data_pipeline/duplicate_index.h"
#include "data_pipeline/filter_rules.h"
#include "data_pipeline/make_documents.h"
#include "data_pipeline/near_duplicates.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

// Of a row, what is compared between documents.
struct Compared {
  std::array<uint64_t, 2> content_key, id_key;
  uint64_t byte_offset;
  uint32_t file;  // rank of its name
  uint16_t period;
};

// The inputs' places among their names: what is first does not depend on the order that they are given in.
std::vector<uint32_t> file_ranks(const Json& inputs) {
  std::vector<std::string> names;
  for (const Json& input : inputs) names.push_back(input.at("name").get<std::string>());
  std::vector<uint32_t> order(names.size()), ranks(names.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return names[a] < names[b]; });
  for (uint32_t i = 0; i < order.size(); ++i) ranks[order[i]] = i;
  return ranks;
}

}  // namespace

class Decider {
 public:
  Decider(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
          const EarlierCorpora& earlier, const fs::path& scratch)
      : config_(config),
        job_(job),
        store_(store),
        earlier_(earlier),
        scratch_(scratch),
        out_(store.documents()) {}

  Decisions decide() {
    read_rows();
    mark_duplicates();
    mark_repeated_ids();
    std::vector<Compared>().swap(compared_);  // `= {}` would keep the memory
    filter_documents();
    mark_contaminated();
    if (config_.duplicates.near) mark_near_duplicates();
    SplitLedgers ledgers(config_, job_.base_folder);
    Json& summary = out_.summary();
    summary["split"] = decide_split(config_, store_, earlier_keepers_, ledgers, out_);
    ledgers.save();
    withdraw(config_, job_, store_, out_);
    summary["canned_replies"] = decide_replies(config_, job_, store_, out_);
    summary["mix"] = decide_mix(config_, job_, store_, earlier_, ledgers, out_);
    return std::move(out_);
  }

 private:
  void quarantine(uint64_t document, Stage stage, const std::string& reason) {
    out_.leave_out(document, Fate::kQuarantined, stage, reason);
  }

  void drop(uint64_t document, Stage stage, const std::string& reason, std::string detail = {}) {
    out_.leave_out(document, Fate::kDropped, stage, reason, std::move(detail));
  }

  void duplicate(uint64_t document, uint64_t keeper, const std::string& reason, std::string detail = {}) {
    out_.leave_out(document, Fate::kDuplicate, Stage::kDeduplicate, reason, std::move(detail));
    out_.at(document).kept_instead = keeper;
  }

  void read_rows() {
    const auto ranks = file_ranks(store_.facts().at("inputs"));
    compared_.reserve(store_.documents());
    store_.each_row([&](uint64_t i, const StoreRow& row) {
      compared_.push_back({row.content_key, row.id_key, row.byte_offset, ranks.at(row.file), row.period});
      if (row.reason != 0 && row.stage < Stage::kRender)
        quarantine(i, row.stage, store_.name(row.reason));
      else
        alive_.push_back(i);
    });
  }

  bool is_earlier_place(uint64_t a, uint64_t b) const {
    const Compared &x = compared_[a], &y = compared_[b];
    return std::tie(x.file, x.byte_offset) < std::tie(y.file, y.byte_offset);
  }

  // The first by id of documents of one period; ids are read only here, since few documents are compared.
  uint64_t first_by_id(std::vector<uint64_t>::const_iterator begin,
                       std::vector<uint64_t>::const_iterator end) const {
    if (end - begin == 1) return *begin;
    uint64_t first = 0;
    std::string first_id;
    for (auto it = begin; it != end; ++it) {
      std::string id(store_.get(*it).id());
      if (it == begin || id < first_id || (id == first_id && is_earlier_place(*it, first))) {
        first = *it;
        first_id = std::move(id);
      }
    }
    return first;
  }

  void mark_duplicates() {
    std::vector<uint64_t> order = alive_;
    const auto& c = compared_;
    std::sort(order.begin(), order.end(), [&](uint64_t a, uint64_t b) {
      return std::tie(c[a].content_key, c[a].period, a) < std::tie(c[b].content_key, c[b].period, b);
    });
    for (auto begin = order.cbegin(); begin != order.cend();) {
      const auto other = [&](auto get) {
        return std::find_if(begin, order.cend(), [&](uint64_t d) { return get(d) != get(*begin); });
      };
      const auto end = other([&](uint64_t d) { return c[d].content_key; });
      if (end - begin > 1) {
        const auto oldest = std::min(end, other([&](uint64_t d) { return c[d].period; }));
        const uint64_t keeper = first_by_id(begin, oldest);
        for (auto it = begin; it != end; ++it)
          if (*it != keeper) duplicate(*it, keeper, "exact");
      }
      begin = end;
    }
    drop_the_dead();
  }

  // An id names one conversation of a tenant.
  void mark_repeated_ids() {
    std::vector<uint64_t> order = alive_;
    const auto& c = compared_;
    std::sort(order.begin(), order.end(), [&](uint64_t a, uint64_t b) {
      return std::tie(c[a].id_key, c[a].period, c[a].file, c[a].byte_offset) <
             std::tie(c[b].id_key, c[b].period, c[b].file, c[b].byte_offset);
    });
    for (size_t i = 1; i < order.size(); ++i)
      if (c[order[i]].id_key == c[order[i - 1]].id_key)
        quarantine(order[i], Stage::kDeduplicate, "duplicate_id");
    drop_the_dead();
  }

  // What rendering found, and what each document's own numbers say. Documents with hits are remembered.
  void filter_documents() {
    const Filter filter(config_.filter);
    store_.each_facts([&](uint64_t i, const StoredFacts& facts) {
      if (!out_.kept(i)) return;
      const StoreRow& row = facts.row;
      if (row.reason != 0) {
        const std::string& reason = store_.name(row.reason);
        return row.stage == Stage::kMix ? drop(i, row.stage, reason) : quarantine(i, row.stage, reason);
      }
      if (row.longest_part > config_.sequence_length) return quarantine(i, Stage::kPack, "too_long");
      if (const auto reason = filter.decide(read_attributes_row(facts.attributes)))
        return drop(i, Stage::kFilter, *reason);
      if (row.hits > 0) scans_.emplace_back(i, facts.hits());
    });
    drop_the_dead();
  }

  void mark_contaminated() {
    if (scans_.empty()) return;
    const auto index = decontamination_index(config_, job_.base_folder);
    NgramCounts counts;
    for (const auto& [document, scan] : scans_) counts.add(scan);
    for (const auto& [document, scan] : scans_) {
      const Contamination found = index->judge(scan, counts);
      if (!found.contaminated) continue;
      const ContaminationMatch& match = found.matches.front();
      drop(document, Stage::kDecontaminate, "contaminated:" + match.set,
           concat("message ", match.text, ", bytes ", match.begin, " to ", match.end, ": tokens ",
                  match.first_token, " to ", match.first_token + match.tokens, " of the ",
                  match.in_answer ? "answer" : "question", " of ", match.set, " ", match.item));
    }
    std::vector<std::pair<uint64_t, DocumentScan>>().swap(scans_);
    drop_the_dead();
  }

  // Tenant by tenant: one's documents are never compared with another's.
  void mark_near_duplicates() {
    struct Month {
      std::unique_ptr<NearDuplicates> near;
      std::vector<uint64_t> documents;  // as they were added
    };
    std::map<std::string, Month> tenants;
    const NearDuplicateConfig& compare = config_.duplicates.compare;
    // Counted first: what grows to an unknown size takes up to three times its memory.
    std::map<std::string, size_t> documents;
    store_.each_row([&](uint64_t i, const StoreRow& row) {
      if (out_.kept(i)) ++documents[store_.name(row.tenant)];
    });
    store_.each_facts([&](uint64_t i, const StoredFacts& facts) {
      if (!out_.kept(i)) return;
      const StoreRow& row = facts.row;
      Month& month = tenants[store_.name(row.tenant)];
      if (month.near == nullptr) {
        month.near = std::make_unique<NearDuplicates>(compare, scratch_, [this, &month](size_t document) {
          return duplicate_texts(stored_conversation(store_.get(month.documents[document])));
        });
        const size_t count = documents[store_.name(row.tenant)];
        month.near->reserve(count);
        month.documents.reserve(count);
      }
      month.documents.push_back(i);
      // The shingles are made again where they are needed; only their number counts here.
      const std::vector<uint32_t> keys = facts.band_keys();
      no_shingles_.resize(std::max<size_t>(no_shingles_.size(), row.shingles));
      const std::span<const uint64_t> shingles(no_shingles_.data(), row.shingles);
      const std::string period =
          concat(row.period / 12, "-", row.period % 12 < 9 ? "0" : "", row.period % 12 + 1);
      month.near->add(facts.id, period, Sketch{shingles, keys});
    });
    for (auto& [tenant, month] : tenants) {
      std::unique_ptr<DuplicateIndex> index;
      std::vector<const DuplicateRun*> earlier;
      if (!config_.duplicates.index.empty()) {
        index =
            std::make_unique<DuplicateIndex>(job_.base_folder / config_.duplicates.index, tenant, compare);
        earlier = index->before(job_.period);
      }
      const NearDuplicateResult result = month.near->resolve(earlier);
      for (const RemovedDocument& removed : result.removed) {
        const uint64_t document = month.documents[removed.document];
        const bool here = removed.run == RemovedDocument::kThisMonth;
        const std::string similarity = concat("similarity ", removed.shared, "/", removed.total);
        if (here) {
          duplicate(document, month.documents[removed.keeper], "near", similarity);
          continue;
        }
        const DuplicateRun& run = *earlier[removed.run];
        const std::string keeper(run.id(removed.keeper));
        duplicate(document, kNoDocument, "near_earlier_month",
                  concat(similarity, " with ", keeper, " of ", run.period()));
        earlier_keepers_.emplace(document, keeper);
      }
      if (index != nullptr) index->commit(job_.period, *month.near, result);
      month = {};
    }
    drop_the_dead();
  }

  void drop_the_dead() {
    std::erase_if(alive_, [&](uint64_t i) { return !out_.kept(i); });
  }

  const CorpusConfig& config_;
  const CorpusJob& job_;
  const StoreReader& store_;
  const EarlierCorpora& earlier_;
  fs::path scratch_;
  Decisions out_;
  std::map<uint64_t, std::string> earlier_keepers_;  // of duplicates of earlier months: ids
  std::vector<std::pair<uint64_t, DocumentScan>> scans_;
  std::vector<uint64_t> no_shingles_;
  std::vector<Compared> compared_;
  std::vector<uint64_t> alive_;
};

Decisions decide(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                 const EarlierCorpora& earlier, const fs::path& scratch) {
  return Decider(config, job, store, earlier, scratch).decide();
}

uint16_t Decisions::reason_index(const std::string& reason) {
  auto found = std::find(reasons_.begin() + 1, reasons_.end(), reason);
  if (found == reasons_.end()) found = reasons_.insert(reasons_.end(), reason);
  if (reasons_.size() > UINT16_MAX) throw std::logic_error("decisions: too many reasons");
  return static_cast<uint16_t>(found - reasons_.begin());
}

void Decisions::leave_out(uint64_t document, Fate fate, Stage stage, const std::string& reason,
                          std::string detail) {
  rows_[document] = {fate, stage, reason_index(reason), 0};
  if (detail.empty())
    details_.erase(document);
  else
    details_[document] = std::move(detail);
  muted_.erase(document);
}

std::unique_ptr<DecontaminationIndex> decontamination_index(const CorpusConfig& config,
                                                            const fs::path& base_folder) {
  if (config.decontaminate.sets.empty()) return nullptr;
  std::vector<EvaluationItem> items;
  for (const EvaluationSetConfig& set : config.decontaminate.sets)
    for (EvaluationItem& item : read_evaluation_set(set, base_folder)) items.push_back(std::move(item));
  return std::make_unique<DecontaminationIndex>(config.decontaminate, items);
}

std::string earlier_months_digest(const CorpusConfig& config, const CorpusJob& job) {
  if (config.duplicates.index.empty() || !config.duplicates.near) return {};
  const fs::path folder = job.base_folder / config.duplicates.index;
  std::map<std::string, std::string> tenants;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (!fs::is_regular_file(entry.path() / "index.json")) continue;
      const Json index = read_json(entry.path() / "index.json");
      std::string text;
      if (index.contains("runs") && index["runs"].is_array())
        for (const Json& run : index["runs"])
          if (run.is_object() && run.value("period", std::string()) < job.period) text += run.dump() + "\n";
      if (!text.empty()) tenants[entry.path().filename().string()] = text;
    }
  std::string all;
  for (const auto& [tenant, text] : tenants) all += tenant + "\n" + text;
  return sha256_hex(all);
}

// --- on disk: key, reasons, details, muted documents, replayed ones and summary, each with its size as u64
// before it; XXH3 of all; rows

namespace {

void append(std::string& out, std::string_view bytes) {
  const uint64_t size = bytes.size();
  out.append(reinterpret_cast<const char*>(&size), sizeof size).append(bytes);
}

template <class T>
std::string_view bytes_of(const T* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(T)};
}

template <class T>
bool copy_all(std::string_view bytes, std::vector<T>& values) {
  if (bytes.size() % sizeof(T) != 0) return false;
  values.resize(bytes.size() / sizeof(T));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(values.data()));
  return true;
}

template <class T>
bool copy_one(std::string_view bytes, T& value) {
  if (bytes.size() != sizeof(T)) return false;
  std::memcpy(&value, bytes.data(), sizeof value);
  return true;
}

bool take(std::string_view& in, std::string_view& bytes) {
  uint64_t size = 0;
  if (in.size() < sizeof size) return false;
  std::memcpy(&size, in.data(), sizeof size);
  in.remove_prefix(sizeof size);
  if (in.size() < size) return false;
  bytes = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

}  // namespace

void Decisions::save(const fs::path& path, const std::string& key) const {
  std::string head, names, details, muted;
  for (const std::string& reason : reasons_) append(names, reason);
  for (const auto& [document, detail] : details_) {
    append(details, {reinterpret_cast<const char*>(&document), sizeof document});
    append(details, detail);
  }
  append(head, key);
  append(head, names);
  append(head, details);
  for (const auto& [document, of] : muted_) {
    append(muted, bytes_of(&document, 1));
    append(muted, bytes_of(of.turns.data(), of.turns.size()));
    append(muted, bytes_of(of.runs.data(), of.runs.size()));
    append(muted, bytes_of(&of.target_tokens, 1));
    append(muted, bytes_of(&of.target_bytes, 1));
  }
  append(head, muted);
  append(head, bytes_of(replayed_.data(), replayed_.size()));
  append(head, summary_.dump());
  const std::string_view rows = {reinterpret_cast<const char*>(rows_.data()),
                                 rows_.size() * sizeof(Decision)};
  const uint64_t digest = xxh3_64(rows, xxh3_64(head));
  AtomicFile file(path);
  file.write(head);
  file.write({reinterpret_cast<const char*>(&digest), sizeof digest});
  file.write(rows);
  file.commit();
}

bool Decisions::load(const fs::path& path, const std::string& key, Decisions& out) {
  if (!fs::is_regular_file(path)) return false;
  const MappedFile file(path);
  std::string_view in = file.bytes(), found, names, details, muted, replayed, summary;
  if (!take(in, found) || found != key || !take(in, names) || !take(in, details) || !take(in, muted) ||
      !take(in, replayed) || !take(in, summary))
    return false;
  const std::string_view head = file.bytes().substr(0, file.bytes().size() - in.size());
  uint64_t digest = 0;
  if (in.size() < sizeof digest) return false;
  std::memcpy(&digest, in.data(), sizeof digest);
  in.remove_prefix(sizeof digest);
  if (in.size() % sizeof(Decision) != 0 || xxh3_64(in, xxh3_64(head)) != digest) return false;
  out.reasons_.clear();
  for (std::string_view name; take(names, name);) out.reasons_.emplace_back(name);
  out.details_.clear();
  for (std::string_view document, detail; take(details, document) && take(details, detail);) {
    uint64_t number = 0;
    if (document.size() != sizeof number) return false;
    std::memcpy(&number, document.data(), sizeof number);
    out.details_[number] = detail;
  }
  out.muted_.clear();
  for (std::string_view document, turns, runs, tokens, bytes; take(muted, document) && take(muted, turns) &&
                                                              take(muted, runs) && take(muted, tokens) &&
                                                              take(muted, bytes);) {
    uint64_t number = 0;
    MutedDocument of;
    if (!copy_one(document, number) || !copy_all(turns, of.turns) || !copy_all(runs, of.runs) ||
        !copy_one(tokens, of.target_tokens) || !copy_one(bytes, of.target_bytes))
      return false;
    out.muted_[number] = std::move(of);
  }
  out.summary_ = parse_json(summary, path.string());
  return copy_all(replayed, out.replayed_) && copy_all(in, out.rows_);
}

}  // namespace decant
