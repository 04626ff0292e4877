#include "data_pipeline/decisions.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"

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
  Decider(const CorpusConfig& config, const StoreReader& store) : config_(config), store_(store) {}

  Decisions decide() {
    read_rows();
    mark_duplicates();
    mark_repeated_ids();
    finish_rows();
    return std::move(out_);
  }

 private:
  void quarantine(uint64_t document, Stage stage, const std::string& reason) {
    auto& names = out_.reasons_;
    auto found = std::find(names.begin() + 1, names.end(), reason);
    if (found == names.end()) found = names.insert(names.end(), reason);
    if (names.size() > UINT16_MAX) throw std::logic_error("decisions: too many reasons");
    out_.rows_[document] = {Fate::kQuarantined, stage, static_cast<uint16_t>(found - names.begin())};
  }

  void read_rows() {
    const auto ranks = file_ranks(store_.facts().at("inputs"));
    out_.rows_.resize(store_.documents());
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
          if (*it != keeper) out_.rows_[*it] = {Fate::kDuplicate, Stage::kDeduplicate, 0, 0, keeper};
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

  void finish_rows() {
    store_.each_row([&](uint64_t i, const StoreRow& row) {
      if (!out_.kept(i)) return;
      if (row.reason != 0)
        quarantine(i, row.stage, store_.name(row.reason));
      else if (row.longest_part > config_.sequence_length)
        quarantine(i, Stage::kPack, "too_long");
      else if (row.split_rank < config_.held_out_fraction)
        out_.rows_[i].fate = Fate::kHeldOut;
    });
  }

  void drop_the_dead() {
    std::erase_if(alive_, [&](uint64_t i) { return !out_.kept(i); });
  }

  const CorpusConfig& config_;
  const StoreReader& store_;
  Decisions out_;
  std::vector<Compared> compared_;
  std::vector<uint64_t> alive_;
};

Decisions decide(const CorpusConfig& config, const StoreReader& store) {
  return Decider(config, store).decide();
}

// --- on disk: "decisions", key, reasons, rows; each with its size as u64 before it, XXH3 of all at the end

namespace {

void append(std::string& out, std::string_view bytes) {
  const uint64_t size = bytes.size();
  out.append(reinterpret_cast<const char*>(&size), sizeof size).append(bytes);
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
  std::string head, names;
  for (const std::string& reason : reasons_) append(names, reason);
  append(head, key);
  append(head, names);
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
  std::string_view in = file.bytes(), found, names;
  if (!take(in, found) || found != key || !take(in, names)) return false;
  const std::string_view head = file.bytes().substr(0, file.bytes().size() - in.size());
  uint64_t digest = 0;
  if (in.size() < sizeof digest) return false;
  std::memcpy(&digest, in.data(), sizeof digest);
  in.remove_prefix(sizeof digest);
  if (in.size() % sizeof(Decision) != 0 || xxh3_64(in, xxh3_64(head)) != digest) return false;
  out.reasons_.clear();
  for (std::string_view name; take(names, name);) out.reasons_.emplace_back(name);
  out.rows_.resize(in.size() / sizeof(Decision));
  std::memcpy(out.rows_.data(), in.data(), in.size());
  return true;
}

}  // namespace decant
