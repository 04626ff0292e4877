#include "data_pipeline/decontaminate.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "data_pipeline/conversation.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr uint64_t kBase = 0x9E3779B97F4A7C15ull | 1;
constexpr uint32_t kEmpty = 0xffffffff;

uint64_t mixed(uint64_t h) {
  h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ull;
  return h ^ (h >> 32);
}

// The question or the answer of an item, as tokens.
struct Part {
  uint32_t item;
  bool answer;
  uint32_t first_offset, tokens;  // in Store::offsets
};

// An n-gram: tokens of a part.
struct Ngram {
  uint32_t part, token, length;
};

// Token texts of all parts.
struct Store {
  std::string keys;
  std::vector<uint32_t> offsets;  // of each token of each part; one more at the end of a part
  std::vector<Part> parts;
  std::vector<Ngram> ngrams;

  std::string_view key(const Part& part, uint32_t token) const {
    const uint32_t begin = offsets[part.first_offset + token], end = offsets[part.first_offset + token + 1];
    return std::string_view(keys).substr(begin, end - begin);
  }
  bool equal(const Ngram& a, const Ngram& b) const {
    if (a.length != b.length) return false;
    for (uint32_t i = 0; i < a.length; ++i)
      if (key(parts[a.part], a.token + i) != key(parts[b.part], b.token + i)) return false;
    return true;
  }
  bool equal(const Ngram& ngram, const MatchingTokens& text, size_t at) const {
    const Part& part = parts[ngram.part];
    if (text.tokens.size() - at < ngram.length) return false;
    for (uint32_t i = 0; i < ngram.length; ++i)
      if (key(part, ngram.token + i) != text.key_of(at + i)) return false;
    return true;
  }
};

// N-grams by the hash of their first `anchor` tokens: all of them, but for whole short questions. Several
// n-grams may share a hash.
class Table {
 public:
  Table(size_t anchor, int hash_bits)
      : anchor_(anchor), mask_(hash_bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << hash_bits) - 1) {
    for (size_t i = 0; i + 1 < anchor; ++i) power_ *= kBase;
  }

  void add(uint64_t hash, uint32_t ngram) { pending_.emplace_back(hash & mask_, ngram); }

  // Of equal n-grams the first stays; returns how many are left.
  size_t finish(const Store& store) {
    std::sort(pending_.begin(), pending_.end());
    size_t kept = 0, group = 0;  // [group, kept): those with the current hash
    for (size_t i = 0; i < pending_.size(); ++i) {
      if (kept > 0 && pending_[kept - 1].first != pending_[i].first) group = kept;
      bool known = false;
      for (size_t k = group; k < kept && !known; ++k)
        known = store.equal(store.ngrams[pending_[k].second], store.ngrams[pending_[i].second]);
      if (!known) pending_[kept++] = pending_[i];
    }
    pending_.resize(kept);
    pending_.shrink_to_fit();
    size_t slots = 64;
    while (slots < 2 * pending_.size()) slots *= 2;
    slots_.assign(slots, kEmpty);
    shift_ = 64;
    for (size_t n = slots; n > 1; n /= 2) --shift_;
    filter_.assign(std::max<size_t>(slots / 4, 1024), 0);  // 16 bits a slot
    for (uint32_t i = 0; i < pending_.size(); ++i) {
      const uint64_t hash = pending_[i].first;
      set_bits(hash);
      if (i > 0 && pending_[i - 1].first == hash) continue;
      size_t slot = first_slot(hash);
      while (slots_[slot] != kEmpty) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = i;
    }
    return kept;
  }

  template <class Found>
  void scan(const Store& store, const MatchingTokens& text, const Found& found) const {
    const auto& tokens = text.tokens;
    if (pending_.empty() || tokens.size() < anchor_) return;
    uint64_t hash = 0;
    for (size_t i = 0; i < anchor_; ++i) hash = hash * kBase + tokens[i].hash;
    for (size_t at = 0;; ++at) {
      const uint64_t cut = hash & mask_;
      if (may_hold(cut)) look_up(cut, store, text, at, found);
      if (at + anchor_ >= tokens.size()) break;
      hash = (hash - tokens[at].hash * power_) * kBase + tokens[at + anchor_].hash;
    }
  }

  size_t anchor() const { return anchor_; }
  size_t memory_bytes() const {
    return pending_.capacity() * sizeof(pending_[0]) + slots_.capacity() * 4 + filter_.capacity() * 8;
  }

 private:
  size_t first_slot(uint64_t hash) const { return static_cast<size_t>(mixed(hash) >> shift_); }
  void set_bits(uint64_t hash) {
    const uint64_t h = hash * 0xC2B2AE3D27D4EB4Full;
    filter_[(h >> 32) & (filter_.size() - 1)] |= uint64_t{1} << (h >> 26 & 63) | uint64_t{1}
                                                                                     << (h >> 20 & 63);
  }
  bool may_hold(uint64_t hash) const {
    const uint64_t h = hash * 0xC2B2AE3D27D4EB4Full;
    const uint64_t bits = uint64_t{1} << (h >> 26 & 63) | uint64_t{1} << (h >> 20 & 63);
    return (filter_[(h >> 32) & (filter_.size() - 1)] & bits) == bits;
  }
  template <class Found>
  void look_up(uint64_t hash, const Store& store, const MatchingTokens& text, size_t at,
               const Found& found) const {
    for (size_t slot = first_slot(hash); slots_[slot] != kEmpty; slot = (slot + 1) & (slots_.size() - 1)) {
      size_t i = slots_[slot];
      if (pending_[i].first != hash) continue;
      for (; i < pending_.size() && pending_[i].first == hash; ++i) {
        const Ngram& ngram = store.ngrams[pending_[i].second];
        if (store.equal(ngram, text, at)) found(pending_[i].second, at, ngram.length);
      }
      return;
    }
  }

  size_t anchor_;
  uint64_t mask_, power_ = 1;
  std::vector<std::pair<uint64_t, uint32_t>> pending_;  // sorted by finish()
  std::vector<uint32_t> slots_;
  std::vector<uint64_t> filter_;
  int shift_ = 58;
};

uint64_t hash_of(const MatchingTokens& text, size_t at, size_t length) {
  uint64_t hash = 0;
  for (size_t i = 0; i < length; ++i) hash = hash * kBase + text.tokens[at + i].hash;
  return hash;
}

}  // namespace

struct DecontaminationIndex::State {
  DecontaminateConfig config;
  int hash_bits = 64;
  std::vector<std::pair<std::string, std::string>> items;  // set and id
  Store store;
  // By tenant ("" for all): a table for each n, and one for whole short questions under key 0.
  std::map<std::string, std::map<size_t, Table>, std::less<>> tables;
  size_t too_short = 0, distinct = 0;

  Table& table(const std::string& tenant, size_t key, size_t anchor) {
    return tables[tenant].try_emplace(key, anchor, hash_bits).first->second;
  }

  void add(const std::string& tenant, uint32_t item, bool answer, std::string_view text,
           MatchingTokens& tokens) {
    matching_tokens(text, tokens);
    const size_t count = tokens.tokens.size();
    size_t single = 0;
    for (const MatchingToken& token : tokens.tokens) single += token.single ? 1 : 0;
    const double share = count == 0 ? 0 : static_cast<double>(single) / static_cast<double>(count);
    const auto n = static_cast<size_t>(std::lround(share * static_cast<double>(config.characters) +
                                                   (1 - share) * static_cast<double>(config.words)));
    const auto least = static_cast<size_t>(config.min_question_tokens);
    if (count < n && (answer || count < least)) {
      too_short += answer ? 0 : 1;
      return;
    }
    const auto part = static_cast<uint32_t>(store.parts.size());
    store.parts.push_back(
        {item, answer, static_cast<uint32_t>(store.offsets.size()), static_cast<uint32_t>(count)});
    const auto base = static_cast<uint32_t>(store.keys.size());
    for (const MatchingToken& token : tokens.tokens) store.offsets.push_back(base + token.key_begin);
    store.offsets.push_back(base + static_cast<uint32_t>(tokens.key.size()));
    store.keys += tokens.key;
    check(store.keys.size() < kEmpty && store.offsets.size() < kEmpty && store.ngrams.size() + count < kEmpty,
          "the evaluation sets are too large to be indexed");
    const bool whole = count < n;
    Table& into = whole ? table(tenant, 0, least) : table(tenant, n, n);
    const size_t length = whole ? count : n;
    for (size_t at = 0; at + length <= count; ++at) {
      const size_t bytes = tokens.tokens[at + length - 1].key_end - tokens.tokens[at].key_begin;
      if (!whole && bytes < static_cast<size_t>(config.min_ngram_bytes)) continue;
      const uint64_t hash = hash_of(tokens, at, into.anchor());
      const auto ngram = static_cast<uint32_t>(store.ngrams.size());
      store.ngrams.push_back({part, static_cast<uint32_t>(at), static_cast<uint32_t>(length)});
      into.add(hash, ngram);
    }
  }
};

DecontaminationIndex::DecontaminationIndex(const DecontaminateConfig& config,
                                           const std::vector<EvaluationItem>& items)
    : DecontaminationIndex(config, items, 64) {}

DecontaminationIndex::DecontaminationIndex(const DecontaminateConfig& config,
                                           const std::vector<EvaluationItem>& items, int hash_bits)
    : state_(std::make_unique<State>()) {
  state_->config = config;
  state_->hash_bits = hash_bits;
  uint64_t bytes = 0;
  for (const EvaluationItem& item : items) bytes += item.question.size() + item.answer.size();
  check(bytes <= static_cast<uint64_t>(config.max_set_bytes), "the evaluation sets have ", bytes,
        " bytes of questions and answers, more than 'max_set_bytes' ", config.max_set_bytes);
  check(bytes < (uint64_t{1} << 31), "the evaluation sets have ", bytes, " bytes, at most 2 GiB are taken");
  state_->store.keys.reserve(bytes);
  MatchingTokens tokens;
  for (const EvaluationItem& item : items) {
    const auto index = static_cast<uint32_t>(state_->items.size());
    state_->items.emplace_back(item.set, item.id);
    state_->add(item.tenant, index, false, item.question, tokens);
    if (config.answers && !item.answer.empty()) state_->add(item.tenant, index, true, item.answer, tokens);
  }
  state_->store.ngrams.shrink_to_fit();
  state_->store.offsets.shrink_to_fit();
  for (auto& [tenant, tables] : state_->tables)
    for (auto& [n, table] : tables) state_->distinct += table.finish(state_->store);
}

DecontaminationIndex::~DecontaminationIndex() = default;
DecontaminationIndex::DecontaminationIndex(DecontaminationIndex&&) noexcept = default;

size_t DecontaminationIndex::ngrams() const { return state_->distinct; }
size_t DecontaminationIndex::too_short() const { return state_->too_short; }
size_t DecontaminationIndex::memory_bytes() const {
  const Store& store = state_->store;
  size_t bytes = store.keys.capacity() + store.offsets.capacity() * 4 +
                 store.parts.capacity() * sizeof(Part) + store.ngrams.capacity() * sizeof(Ngram);
  for (const auto& [tenant, tables] : state_->tables)
    for (const auto& [n, table] : tables) bytes += table.memory_bytes();
  return bytes;
}

void DecontaminationIndex::scan(std::string_view tenant, const std::vector<std::string_view>& texts,
                                Scratch& scratch, DocumentScan& out) const {
  out.clear();
  std::vector<NgramHit>& hits = scratch.hits_;
  hits.clear();
  std::vector<const std::map<size_t, Table>*> tables;
  for (const std::string_view name : {std::string_view(), tenant}) {
    const auto found = state_->tables.find(name);
    if (found != state_->tables.end() && (tables.empty() || tables[0] != &found->second))
      tables.push_back(&found->second);
  }
  if (tables.empty()) return;
  for (size_t i = 0; i < texts.size(); ++i) {
    MatchingTokens& tokens = scratch.tokens_;
    matching_tokens(texts[i], tokens);
    for (const auto* of_tenant : tables)
      for (const auto& [n, table] : *of_tenant)
        table.scan(state_->store, tokens, [&](uint32_t ngram, size_t at, size_t length) {
          hits.push_back(
              {ngram, static_cast<uint32_t>(i), tokens.tokens[at].begin, tokens.tokens[at + length - 1].end});
        });
  }
  std::sort(hits.begin(), hits.end(), [](const NgramHit& a, const NgramHit& b) {
    return std::tie(a.ngram, a.text, a.begin) < std::tie(b.ngram, b.text, b.begin);
  });
  for (const NgramHit& hit : hits)
    if (out.empty() || out.back().ngram != hit.ngram) out.push_back(hit);
}

ContaminationMatch DecontaminationIndex::ngram_place(uint32_t ngram) const {
  const Ngram& found = state_->store.ngrams.at(ngram);
  const Part& part = state_->store.parts[found.part];
  ContaminationMatch match;
  std::tie(match.set, match.item) = state_->items[part.item];
  match.in_answer = part.answer;
  match.first_token = found.token;
  match.tokens = found.length;
  return match;
}

std::string DecontaminationIndex::ngram_text(uint32_t ngram) const {
  const Ngram& found = state_->store.ngrams.at(ngram);
  std::string text;
  for (uint32_t i = 0; i < found.length; ++i)
    text.append(i == 0 ? "" : " ")
        .append(state_->store.key(state_->store.parts[found.part], found.token + i));
  return text;
}

Contamination DecontaminationIndex::judge(const DocumentScan& scan, const NgramCounts& counts) const {
  Contamination result;
  // N-grams of a part are numbered in the order of their tokens: neighbours in the scan may be neighbours
  // there.
  for (const bool common : {false, true}) {
    auto& matches = common ? result.common : result.matches;
    const NgramHit* last = nullptr;
    for (const NgramHit& hit : scan) {
      const int64_t documents = counts.documents(hit.ngram);
      const bool ignored =
          state_->config.common == CommonNgrams::kIgnore && documents > state_->config.max_documents;
      if (ignored != common) continue;
      const Ngram& ngram = state_->store.ngrams[hit.ngram];
      const bool continues = last != nullptr && last->ngram + 1 == hit.ngram && last->text == hit.text &&
                             state_->store.ngrams[last->ngram].part == ngram.part &&
                             state_->store.ngrams[last->ngram].token + 1 == ngram.token &&
                             last->begin < hit.begin && hit.begin <= last->end && last->end < hit.end;
      if (continues) {
        ++matches.back().tokens;
        matches.back().end = hit.end;
        matches.back().documents = std::max(matches.back().documents, documents);
      } else {
        matches.push_back(ngram_place(hit.ngram));
        matches.back().text = hit.text;
        matches.back().begin = hit.begin;
        matches.back().end = hit.end;
        matches.back().documents = documents;
      }
      last = &hit;
    }
  }
  result.contaminated = !result.matches.empty();
  return result;
}

void NgramCounts::add(const DocumentScan& scan) {
  for (const NgramHit& hit : scan) ++counts_[hit.ngram];
}
void NgramCounts::add(const NgramCounts& other) {
  for (const auto& [ngram, count] : other.counts_) counts_[ngram] += count;
}
int64_t NgramCounts::documents(uint32_t ngram) const {
  const auto found = counts_.find(ngram);
  return found == counts_.end() ? 0 : found->second;
}

void DecontaminateConfig::validate(const Place& place) const {
  const auto within = [&](const char* name, int64_t value, int64_t low, int64_t high) {
    check(value >= low && value <= high, place(name), ": must be ", low, " to ", high, ", found ", value);
  };
  within("words", words, 2, 1000);
  within("characters", characters, 2, 1000);
  within("min_ngram_bytes", min_ngram_bytes, 0, 100000);
  within("min_question_tokens", min_question_tokens, 1, 1000);
  within("max_documents", max_documents, 0, int64_t{1} << 40);
  within("max_set_bytes", max_set_bytes, 1, int64_t{1} << 31);
  std::set<std::string> names;
  for (const EvaluationSetConfig& set : sets) {
    check(!set.name.empty() && !set.path.empty(), place("sets"), ": each set needs a name and a path");
    check(names.insert(set.name).second, place("sets"), ": two sets are named '", set.name, "'");
    check(set.tenant.empty() || is_tenant_name(set.tenant), place("sets"), ": the tenant of '", set.name,
          "' must be 1 to 64 of a-z, 0-9 and '-'");
  }
}

namespace {

// Text of a field: a string, or the strings of a list (choices) with line ends between.
std::string field_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  std::string text;
  if (value.is_array())
    for (const Json& item : value)
      if (item.is_string()) text += (text.empty() ? "" : "\n") + item.get<std::string>();
  return text;
}

std::string first_field(const Json& json, const std::string& named,
                        std::initializer_list<const char*> known) {
  if (!named.empty()) return json.contains(named) ? field_text(json[named]) : std::string();
  for (const char* key : known)
    if (json.contains(key)) {
      std::string text = field_text(json[key]);
      if (!text.empty()) return text;
    }
  return {};
}

std::string messages_text(const Json& json, const char* role) {
  std::string text;
  const auto messages = json.find("messages");
  if (messages == json.end() || !messages->is_array()) return {};
  for (const Json& message : *messages) {
    if (!message.is_object() || message.value("role", Json()) != role || !message.contains("content"))
      continue;
    text += (text.empty() ? "" : "\n") + field_text(message["content"]);
  }
  return text;
}

EvaluationItem json_item(const Json& json, const EvaluationSetConfig& config, const std::string& where,
                         std::string place) {
  check(json.is_object(), where, ": an item must be a JSON object, found ", json.type_name());
  EvaluationItem item{config.name, config.tenant, std::move(place), {}, {}};
  for (const char* key : {"id", "task_id", "question_id"}) {
    const auto id = json.find(key);
    if (id == json.end()) continue;
    if (id->is_string()) item.id = id->get<std::string>();
    if (id->is_number_integer()) item.id = id->dump();
    break;
  }
  item.question = first_field(json, config.question,
                              {"question", "prompt", "instruction", "problem", "query", "input", "text"});
  if (item.question.empty() && config.question.empty()) item.question = messages_text(json, "user");
  item.answer = first_field(json, config.answer,
                            {"answer", "completion", "output", "response", "solution", "canonical_solution"});
  if (item.answer.empty() && config.answer.empty()) item.answer = messages_text(json, "assistant");
  check(!item.question.empty(), where, ": an item has no question",
        config.question.empty() ? " (name its key in 'question')"
                                : ": no text under '" + config.question + "'");
  return item;
}

}  // namespace

std::vector<EvaluationItem> parse_evaluation_set(std::string_view bytes, const EvaluationSetConfig& config,
                                                 const std::string& where) {
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  check(valid_utf8_prefix(bytes) == bytes.size(), where, ": an evaluation set must be UTF-8");
  std::vector<EvaluationItem> items;
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && bytes[first] == '[') {
    const Json list = parse_json(bytes, where);
    for (const Json& json : list) {
      const std::string place = concat("item ", items.size() + 1);
      items.push_back(json_item(json, config, where + ": " + place, place));
    }
  } else {
    const bool json_lines = first != std::string_view::npos && bytes[first] == '{';
    size_t number = 0;
    for (size_t at = 0; at < bytes.size();) {
      const size_t end = std::min(bytes.find('\n', at), bytes.size());
      std::string_view line = bytes.substr(at, end - at);
      at = end + 1;
      ++number;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
      const std::string place = concat("line ", number), line_where = concat(where, ":", number);
      if (json_lines) {
        items.push_back(json_item(parse_json(line, line_where), config, line_where, place));
      } else {
        const size_t tab = line.find('\t');
        EvaluationItem item{config.name, config.tenant, place, std::string(line.substr(0, tab)), {}};
        if (tab != std::string_view::npos) item.answer = std::string(line.substr(tab + 1));
        items.push_back(std::move(item));
      }
    }
  }
  check(!items.empty(), where, ": the evaluation set '", config.name, "' has no item");
  return items;
}

std::vector<EvaluationItem> read_evaluation_set(const EvaluationSetConfig& config,
                                                const std::filesystem::path& base_folder) {
  const std::filesystem::path path = base_folder / config.path;
  const MappedFile file(path);
  return parse_evaluation_set(file.bytes(), config, path.string());
}

}  // namespace decant
