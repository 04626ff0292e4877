#include "data_pipeline/contract.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/build_store.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/make_documents.h"
#include "data_pipeline/pii.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr size_t kSampled = 200, kShown = 20;

using Counts = std::map<std::string, int64_t>;

// Powers of two, so that a bucket means the same in every month.
std::string length_bucket(uint64_t n) {
  const int bits = std::bit_width(n);
  std::string low = std::to_string(n == 0 ? 0 : uint64_t{1} << (bits - 1));
  return std::string(7 - std::min<size_t>(low.size(), 7), '0') + low;
}

struct Measured {
  Counts language, tokens, tenant, reason, messages;
  int64_t documents = 0, kept = 0, train = 0, too_long = 0, duplicates = 0;
  int64_t all_tokens = 0, kept_tokens = 0;
  std::vector<std::array<uint64_t, 2>> train_content, held_out_content;
  std::vector<std::pair<uint64_t, uint64_t>> sample;  // hash of the id, document: the lowest are taken
};

std::string language_of(const StoreRow& row) {
  return {row.language.data(), strnlen(row.language.data(), row.language.size())};
}

Measured measure_rows(const StoreReader& store, const Decisions& decisions) {
  Measured m;
  store.each_row([&](uint64_t i, const StoreRow& row) {
    const Decision& decision = decisions[i];
    ++m.documents;
    m.all_tokens += row.tokens;
    if (decision.fate == Fate::kDuplicate) ++m.duplicates;
    if (!decisions.kept(i)) {
      const std::string& reason = decisions.reason(decision);
      ++m.reason[decision.fate == Fate::kDuplicate ? "duplicate" : reason];
      if (reason == "too_long") ++m.too_long;
      return;
    }
    ++m.kept;
    m.kept_tokens += row.tokens;
    ++m.language[language_of(row)];
    ++m.tokens[length_bucket(row.tokens)];
    ++m.tenant[store.name(row.tenant)];
    ++m.messages[length_bucket(row.messages)];
    if (decision.fate == Fate::kHeldOut) {
      m.held_out_content.push_back(row.content_key);
      return;
    }
    m.train_content.push_back(row.content_key);
    ++m.train;
    const std::pair<uint64_t, uint64_t> entry{row.id_key[0], i};
    if (m.sample.size() < kSampled || entry < m.sample.front()) {
      m.sample.push_back(entry);
      std::push_heap(m.sample.begin(), m.sample.end());
      if (m.sample.size() > kSampled) {
        std::pop_heap(m.sample.begin(), m.sample.end());
        m.sample.pop_back();
      }
    }
  });
  std::sort(m.sample.begin(), m.sample.end());
  return m;
}

int64_t overlap(Measured& m) {
  std::sort(m.held_out_content.begin(), m.held_out_content.end());
  return std::count_if(m.train_content.begin(), m.train_content.end(), [&](const auto& key) {
    return std::binary_search(m.held_out_content.begin(), m.held_out_content.end(), key);
  });
}

struct Sampled {
  int64_t documents = 0, round_trips = 0, doubled_bos = 0, open_ends = 0, pii_left = 0;
  std::map<int64_t, int64_t> specials;  // by id
};

std::string without_leading_space(std::string text) {
  return text.starts_with(' ') ? text.substr(1) : text;  // SentencePiece adds and removes one
}

// A document of a shard, which is `count` of the stored tokens, as the tokenizer reads it back.
void measure_render(const CorpusConfig& corpus, const CorpusJob& job, const StoredDocument& document,
                    const Conversation& c, uint32_t first, uint32_t count, Sampled& s) {
  ++s.documents;
  std::vector<uint32_t> tokens(count);
  std::vector<uint8_t> weights(count);
  document.copy_tokens(first, count, tokens.data(), weights.data());
  const std::vector<int64_t> ids(tokens.begin(), tokens.end());
  const std::string text = job.chat_template->render(c.messages, render_options(corpus, c)).text;
  s.round_trips += without_leading_space(job.tokenizer->decode(ids)) == without_leading_space(text) ? 1 : 0;
  const auto special = [&](size_t t) { return job.tokenizer->is_special(ids[t]); };
  for (size_t t = 0; t < ids.size(); ++t)
    if (special(t)) ++s.specials[ids[t]];
  s.doubled_bos += ids.size() > 1 && ids[0] == ids[1] && special(0) ? 1 : 0;
  size_t last = ids.size();
  while (last > 0 && weights[last - 1] == 0) --last;
  s.open_ends += last == 0 || !special(last - 1) ? 1 : 0;
  for (const Message& message : c.messages)
    s.pii_left += static_cast<int64_t>(find_pii(message.content).size());
}

// Documents of the sample.
Sampled measure_sample(const CorpusConfig& corpus, const StoreReader& store, const CorpusJob& job,
                       const Measured& m) {
  Sampled s;
  for (const auto& [hash, i] : m.sample) {
    const StoredDocument document = store.get(i);
    std::vector<Conversation> conversations = stored_conversations(document);
    if (judged_answers(document.row()) != JudgedAnswers::kNone) learn_answers_only(conversations);
    const std::vector<uint32_t> parts = document.part_tokens();
    if (parts.size() != conversations.size()) continue;  // its parts are not one render
    uint32_t first = 0;
    for (size_t p = 0; p < parts.size(); first += parts[p++])
      measure_render(corpus, job, document, conversations[p], first, parts[p], s);
  }
  return s;
}

Json json_of(const Counts& counts) {
  Json json = Json::object();
  for (const auto& [name, n] : counts) json[name.empty() ? "und" : name] = n;
  return json;
}

// Total variation distance of two distributions: half of the sum of differences, 0 to 1.
double distance(const Json& a, const Json& b) {
  const auto total = [](const Json& counts) {
    double sum = 0;
    for (const auto& [name, n] : counts.items()) sum += n.get<double>();
    return sum;
  };
  const double of_a = total(a), of_b = total(b);
  if (of_a == 0 || of_b == 0) return of_a == of_b ? 0 : 1;
  double sum = 0;
  for (const auto& [name, n] : a.items())
    sum += std::abs(n.get<double>() / of_a - (b.contains(name) ? b[name].get<double>() / of_b : 0));
  for (const auto& [name, n] : b.items())
    if (!a.contains(name)) sum += n.get<double>() / of_b;
  return sum / 2;
}

Json drift_from(const Json& distributions, const fs::path& previous) {
  const fs::path path = previous / "contract.json";
  check(fs::is_regular_file(path), path.string(),
        ": not found: 'contract.previous' must name the corpus folder of an earlier month");
  const Json before = read_json(path);
  Json drift = Json::object();
  for (const auto& [name, counts] : distributions.items()) {
    const bool known = before.contains("distributions") && before["distributions"].contains(name) &&
                       before["distributions"][name].is_object();
    check(known, path.string(), ": has no distribution '", name, "'");
    for (const auto& [key, n] : before["distributions"][name].items())
      check(n.is_number_integer(), path.string(), ": '", name, ".", key, "' must be a whole number");
    drift[name] = distance(counts, before["distributions"][name]);
  }
  return drift;
}

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

void add_check(Json& checks, const std::string& name, const Json& found, const Json& bound, bool ok) {
  checks.push_back({{"name", name}, {"found", found}, {"bound", bound}, {"ok", ok}});
}

}  // namespace

void ContractConfig::validate(const Place& place) const {
  const auto is_share = [&](const char* key, double value) {
    check(value >= 0 && value <= 1, place(key), " must be 0 to 1, found ", value);
  };
  is_share("min_supervised_share", min_supervised_share);
  is_share("max_supervised_share", max_supervised_share);
  is_share("max_too_long_share", max_too_long_share);
  is_share("max_dropped_token_share", max_dropped_token_share);
  is_share("max_duplicate_share", max_duplicate_share);
  is_share("min_round_trip", min_round_trip);
  is_share("max_open_end_share", max_open_end_share);
  is_share("max_unknown_language_share", max_unknown_language_share);
  is_share("min_packing", min_packing);
  is_share("max_drift", max_drift);
  for (const auto& [language, value] : min_language_share)
    check(value >= 0 && value <= 1, place("min_language_share"), ": the share of '", language,
          "' must be 0 to 1, found ", value);
  check(max_overlap >= 0 && max_doubled_bos >= 0 && max_pii_left >= 0, place("max_overlap"),
        ": counts must not be negative");
  check(min_mean_tokens >= 0 && max_mean_tokens >= 0, place("min_mean_tokens"), " must not be negative");
}

Json measure_contract(const CorpusConfig& corpus, const StoreReader& store, const Decisions& decisions,
                      const CorpusJob& job, const Json& counts, const fs::path& previous) {
  const ContractConfig& config = corpus.contract;
  Measured m = measure_rows(store, decisions);
  const Sampled s = measure_sample(corpus, store, job, m);
  Json contract;
  Json checks = Json::array();
  const auto most = [&](const char* name, auto found, auto bound) {
    add_check(checks, name, found, bound, !(found > bound));
  };
  const auto least = [&](const char* name, auto found, auto bound) {
    add_check(checks, name, found, bound, !(found < bound));
  };
  // Of what is trained on: with copies and replayed documents, without canned replies beyond their cap.
  const auto train_tokens = counts.at("train_tokens").get<int64_t>();
  const auto train_target_tokens = counts.at("train_target_tokens").get<int64_t>();
  const double supervised = share(train_target_tokens, train_tokens);
  least("min_supervised_share", supervised, config.min_supervised_share);
  most("max_supervised_share", supervised, config.max_supervised_share);
  most("max_too_long_share", share(m.too_long, m.documents), config.max_too_long_share);
  most("max_dropped_token_share", share(m.all_tokens - m.kept_tokens, m.all_tokens),
       config.max_dropped_token_share);
  most("max_duplicate_share", share(m.duplicates, m.documents), config.max_duplicate_share);
  most("max_overlap", overlap(m), config.max_overlap);
  if (s.documents > 0) {
    least("min_round_trip", share(s.round_trips, s.documents), config.min_round_trip);
    most("max_doubled_bos", s.doubled_bos, config.max_doubled_bos);
    most("max_open_end_share", share(s.open_ends, s.documents), config.max_open_end_share);
    if (corpus.replace_pii) most("max_pii_left", s.pii_left, config.max_pii_left);
  }
  most("max_unknown_language_share", share(m.language["und"] + m.language[""], m.kept),
       config.max_unknown_language_share);
  for (const auto& [language, bound] : config.min_language_share)
    least(("min_language_share." + language).c_str(), share(m.language[language], m.kept), bound);
  const double mean = share(m.kept_tokens, m.kept);
  least("min_mean_tokens", mean, config.min_mean_tokens);
  if (config.max_mean_tokens > 0) most("max_mean_tokens", mean, config.max_mean_tokens);
  const double packing = counts.value("packing", 0.0);
  least("min_packing", packing, config.min_packing);

  std::erase_if(m.language, [](const auto& entry) { return entry.second == 0; });
  Json distributions;
  distributions["language"] = json_of(m.language);
  distributions["tokens"] = json_of(m.tokens);
  distributions["tenant"] = json_of(m.tenant);
  distributions["reason"] = json_of(m.reason);
  distributions["messages"] = json_of(m.messages);
  Json drift = nullptr;
  if (!config.previous.empty()) {
    drift = drift_from(distributions, previous);
    for (const auto& [name, value] : drift.items())
      most(("max_drift." + name).c_str(), value.get<double>(), config.max_drift);
  }
  contract["checks"] = std::move(checks);
  Json specials = Json::object();
  for (const auto& [id, n] : s.specials) specials[job.tokenizer->decode({id})] = n;
  contract["measures"] = {{"documents", m.documents},
                          {"kept", m.kept},
                          {"train", m.train},
                          {"tokens", m.all_tokens},
                          {"kept_tokens", m.kept_tokens},
                          {"train_tokens", train_tokens},
                          {"train_target_tokens", train_target_tokens},
                          {"sampled", s.documents},
                          {"special_tokens_of_the_sample", specials},
                          {"tenants", counts.value("tenants", Json::object())},
                          {"sources", counts.value("sources", Json::object())}};
  contract["distributions"] = std::move(distributions);
  contract["drift"] = std::move(drift);
  contract["samples"] = Json::array();
  for (size_t i = 0; i < std::min(kShown, m.sample.size()); ++i)
    contract["samples"].push_back(m.sample[i].second);
  return contract;
}

void check_contract(const Json& contract, const fs::path& folder) {
  std::string broken;
  for (const Json& c : contract.at("checks"))
    if (!c.at("ok").get<bool>()) {
      const auto name = c.at("name").get<std::string>();
      broken += concat("\n  'corpus.contract.", name, "': expected ",
                       name.starts_with("min") ? "at least " : "at most ", c.at("bound").dump(), ", found ",
                       c.at("found").dump());
    }
  if (broken.empty()) return;
  throw Error(
      concat("corpus: the contract is broken; ", (folder / "report.html").string(), " shows how:", broken),
      Exit::kGateSaidNo);
}

}  // namespace decant
