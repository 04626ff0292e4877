#include "data_pipeline/prepare.h"

#include <openssl/evp.h>
#include <tbb/parallel_for.h>

#include <cstdlib>
#include <map>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/dedup.h"
#include "data_pipeline/normalize.h"
#include "data_pipeline/pii.h"
#include "data_pipeline/read_jsonl.h"
#include "data_pipeline/shard.h"
#include "data_pipeline/split.h"
#include "data_pipeline/tokenizer.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxQuarantinedBytes = size_t{1} << 20;
constexpr const char* kPublicPiiKey = "decant: a public key, surrogates can be recomputed";

// One input record on its way. `reason` is set once and ends the way.
struct Record {
  RawRecord raw;
  Conversation conversation;
  std::string reason, text;
  bool duplicate = false;
  size_t kept_instead = 0;  // of a duplicate
  bool held_out = false;
  PiiCounts pii;
  int64_t merged = 0, trimmed = 0;
  std::vector<ShardDocument> documents;

  bool alive() const { return reason.empty() && !duplicate; }
  void quarantine(std::string why, std::string words) {
    reason = std::move(why);
    text = std::move(words);
    documents.clear();
  }
};

std::string pii_key(const CorpusConfig& config) {
  const char* key = std::getenv(config.pii_key_env.c_str());
  if (key != nullptr && *key != '\0') return key;
  if (config.replace_pii)
    log_warning("corpus: ", config.pii_key_env,
                " is not set: surrogates are made with a public key, so who knows a number can recognise its "
                "surrogate");
  return kPublicPiiKey;
}

void check_conversation(Record& record, const std::string& period) {
  Conversation& c = record.conversation;
  if (!is_tenant_name(c.tenant))
    return record.quarantine("bad_tenant", "'tenant' must be 1 to 64 of a-z, 0-9 and '-'");
  if (c.period.empty()) c.period = period;
  c.customer = normalize_text(c.customer);
  Cleaned cleaned = clean_conversation(c);
  record.merged = cleaned.merged;
  record.trimmed = cleaned.trimmed;
  if (!cleaned.reason.empty()) record.quarantine(std::move(cleaned.reason), std::move(cleaned.text));
}

void replace_in_json(Json& json, const std::string& tenant, const std::string& key, PiiCounts& counts) {
  if (json.is_string()) {
    json = replace_pii(json.get<std::string>(), tenant, key, counts);
  } else if (json.is_structured()) {
    for (Json& item : json) replace_in_json(item, tenant, key, counts);
  }
}

void replace_people(Record& record, const std::string& key) {
  Conversation& c = record.conversation;
  for (Message& message : c.messages) {
    message.content = replace_pii(message.content, c.tenant, key, record.pii);
    replace_in_json(message.tool_calls, c.tenant, key, record.pii);
  }
  c.customer = replace_pii(c.customer, c.tenant, key, record.pii);
  replace_in_json(c.meta, c.tenant, key, record.pii);
}

TokenizedDocument tokenized(const std::vector<Message>& messages, const RenderOptions& options,
                            const Tokenizer& tokenizer, const ChatTemplate& chat_template) {
  return tokenize_rendered(chat_template.render(messages, options), tokenizer);
}

ShardDocument shard_document(std::string id, const TokenizedDocument& d) {
  ShardDocument document{std::move(id), {}, d.loss_weight, d.target_bytes};
  document.tokens.reserve(d.tokens.size());
  for (const int64_t token : d.tokens) document.tokens.push_back(static_cast<uint32_t>(token));
  return document;
}

// Exchanges (a user turn up to the message before the next user turn) gathered into documents that fit, each
// with the system message and ending in an assistant turn. Empty when an exchange alone does not fit.
std::vector<ShardDocument> split_at_turns(const Conversation& c, const RenderOptions& options, int64_t room,
                                          const Tokenizer& tokenizer, const ChatTemplate& chat_template) {
  std::vector<Message> system;
  size_t first = 0;
  if (c.messages[0].role == "system") system.push_back(c.messages[first++]);
  std::vector<size_t> cuts = {first};  // where an exchange begins
  for (size_t i = first + 1; i < c.messages.size(); ++i)
    if (c.messages[i].role == "user" && c.messages[i - 1].role == "assistant") cuts.push_back(i);
  cuts.push_back(c.messages.size());
  const auto part = [&](size_t from, size_t to) {
    std::vector<Message> messages = system;
    messages.insert(messages.end(), c.messages.begin() + static_cast<std::ptrdiff_t>(from),
                    c.messages.begin() + static_cast<std::ptrdiff_t>(to));
    return tokenized(messages, options, tokenizer, chat_template);
  };
  std::vector<ShardDocument> documents;
  for (size_t k = 0; k + 1 < cuts.size();) {
    TokenizedDocument best = part(cuts[k], cuts[k + 1]);
    if (static_cast<int64_t>(best.tokens.size()) > room) return {};
    size_t next = k + 1;
    while (next + 1 < cuts.size()) {
      TokenizedDocument longer = part(cuts[k], cuts[next + 1]);
      if (static_cast<int64_t>(longer.tokens.size()) > room) break;
      best = std::move(longer);
      ++next;
    }
    documents.push_back(shard_document(concat(c.id, "#", documents.size() + 1), best));
    k = next;
  }
  return documents;
}

void make_documents(Record& record, const CorpusConfig& config, const Tokenizer& tokenizer,
                    const ChatTemplate& chat_template) {
  const Conversation& c = record.conversation;
  const RenderOptions options = render_options(config, c);
  TokenizedDocument document;
  try {
    document = tokenized(c.messages, options, tokenizer, chat_template);
  } catch (const Error& e) {
    return record.quarantine("not_renderable", e.what());
  }
  if (document.lost_bytes > 0)
    return record.quarantine(
        "not_representable",
        concat(document.lost_bytes, " bytes of text that the tokenizer's vocabulary lacks"));
  const auto tokens = static_cast<int64_t>(document.tokens.size());
  if (tokens <= config.sequence_length) {
    record.documents.push_back(shard_document(c.id, document));
    return;
  }
  if (config.too_long == TooLong::kSplitAtTurn)
    record.documents = split_at_turns(c, options, config.sequence_length, tokenizer, chat_template);
  if (record.documents.empty())
    record.quarantine("too_long", concat(tokens, " tokens, a row has ", config.sequence_length));
}

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

Json position_json(const Source& source) {
  return {{"file", source.file}, {"line", source.line}, {"byte_offset", source.byte_offset}};
}

void write_quarantine(const fs::path& folder, const std::vector<Record>& records) {
  AtomicFile bad(folder / "quarantine.jsonl"), duplicates(folder / "duplicates.jsonl");
  for (const Record& record : records) {
    if (!record.reason.empty()) {
      Json line = position_json(record.raw.source);
      line["reason"] = record.reason;
      line["text"] = record.text;
      const std::string_view bytes = record.raw.bytes;
      if (bytes.size() > kMaxQuarantinedBytes) {
        line["record_bytes"] = bytes.size();  // too large to be kept twice: it is found by its position
      } else if (is_utf8(bytes)) {
        line["record"] = bytes;
      } else {
        line["record_base64"] = base64(bytes);
      }
      bad.write(line.dump() + "\n");
    } else if (record.duplicate) {
      Json line = position_json(record.raw.source);
      line["tenant"] = record.conversation.tenant;
      line["id"] = record.conversation.id;
      line["kept"] = records[record.kept_instead].conversation.id;
      duplicates.write(line.dump() + "\n");
    }
  }
  bad.commit();
  duplicates.commit();
}

std::map<std::string, int64_t> quarantine_counts(const std::vector<Record>& records) {
  std::map<std::string, int64_t> counts;
  for (const Record& record : records)
    if (!record.reason.empty()) ++counts[record.reason];
  return counts;
}

void check_bad_fraction(const std::vector<Record>& records, double allowed, const fs::path& folder) {
  int64_t bad = 0;
  std::string list;
  for (const auto& [reason, count] : quarantine_counts(records)) {
    bad += count;
    list += concat(list.empty() ? "" : ", ", reason, " ", count);
  }
  check(static_cast<double>(bad) <= allowed * static_cast<double>(records.size()), "corpus: ", bad, " of ",
        records.size(), " records are quarantined (", list, "), more than 'max_bad_fraction' ", allowed,
        "; each is in ", (folder / "quarantine.jsonl").string(), " with its place");
}

void mark_duplicates(std::vector<Record>& records) {
  std::vector<const Conversation*> conversations;
  std::vector<size_t> index;
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].alive()) continue;
    conversations.push_back(&records[i].conversation);
    index.push_back(i);
  }
  const auto kept = exact_duplicates(conversations);
  for (size_t k = 0; k < kept.size(); ++k) {
    if (kept[k] == k) continue;
    records[index[k]].duplicate = true;
    records[index[k]].kept_instead = index[kept[k]];
  }
}

// An id names one conversation of a tenant.
void check_ids(std::vector<Record>& records) {
  std::set<std::pair<std::string, std::string>> seen;
  for (Record& record : records)
    if (record.alive() && !seen.emplace(record.conversation.tenant, record.conversation.id).second)
      record.quarantine("duplicate_id", "another conversation of the tenant has this id");
}

const char* side_name(bool held_out) { return held_out ? "held_out" : "train"; }

Json write_sides(const fs::path& folder, const std::vector<Record>& records, const ShardHeader& header,
                 Json counts) {
  std::map<std::pair<std::string, bool>, std::vector<const Record*>> sides;  // by tenant and held_out
  for (const Record& record : records)
    if (record.alive()) sides[{record.conversation.tenant, record.held_out}].push_back(&record);
  counts["tenants"] = Json::object();
  for (const auto& [key, members] : sides) {
    const auto& [tenant, held_out] = key;
    const std::string side = side_name(held_out);
    AtomicFile lines(folder / "conversations" / side / (tenant + ".jsonl"));
    std::vector<ShardDocument> documents;
    for (const Record* record : members) {
      lines.write(conversation_json(record->conversation).dump() + "\n");
      documents.insert(documents.end(), record->documents.begin(), record->documents.end());
    }
    lines.commit();
    const Json index = write_shards(folder / "shards" / side / tenant, header, documents);
    Json& tenant_counts = counts["tenants"][tenant];
    if (tenant_counts.is_null())
      tenant_counts = {
          {"train", 0}, {"held_out", 0}, {"tokens", 0}, {"train_tokens", 0}, {"held_out_tokens", 0}};
    const auto add = [](Json& number, int64_t amount) { number = number.get<int64_t>() + amount; };
    const auto tokens = index["tokens"].get<int64_t>();
    add(tenant_counts[side], static_cast<int64_t>(members.size()));
    add(tenant_counts["tokens"], tokens);
    add(tenant_counts[side + "_tokens"], tokens);
    add(counts[side], static_cast<int64_t>(members.size()));
    add(counts["kept"], static_cast<int64_t>(members.size()));
    add(counts["tokens"], tokens);
    add(counts[side + "_tokens"], tokens);
    add(counts["rows"], index["rows"].get<int64_t>());
    add(counts["target_tokens"], index["target_tokens"].get<int64_t>());
  }
  return counts;
}

Json first_counts(const std::vector<Record>& records) {
  PiiCounts pii;
  int64_t duplicates = 0, merged = 0, trimmed = 0;
  for (const Record& record : records) {
    duplicates += record.duplicate && record.reason.empty() ? 1 : 0;
    if (!record.alive()) continue;
    pii.email += record.pii.email;
    pii.mobile += record.pii.mobile;
    pii.id_card += record.pii.id_card;
    merged += record.merged;
    trimmed += record.trimmed;
  }
  Json quarantined = Json::object();
  for (const auto& [reason, count] : quarantine_counts(records)) quarantined[reason] = count;
  return {{"in", records.size()},
          {"quarantined", quarantined},
          {"duplicate", duplicates},
          {"pii", {{"email", pii.email}, {"mobile", pii.mobile}, {"id_card", pii.id_card}}},
          {"merged_messages", merged},
          {"trimmed_messages", trimmed},
          {"kept", 0},
          {"train", 0},
          {"held_out", 0},
          {"tokens", 0},
          {"train_tokens", 0},
          {"held_out_tokens", 0},
          {"target_tokens", 0},
          {"rows", 0}};
}

}  // namespace

void CorpusConfig::validate(const Place& place) const {
  check(!inputs.empty(), place("inputs"), ": name at least one file, folder or glob");
  check(max_bad_fraction >= 0 && max_bad_fraction <= 1, place("max_bad_fraction"), ": must be 0 to 1, found ",
        max_bad_fraction);
  check(sequence_length >= 2 && sequence_length <= (1 << 20), place("sequence_length"),
        ": must be 2 to 1048576, found ", sequence_length);
  check(held_out_fraction >= 0 && held_out_fraction < 1, place("held_out_fraction"),
        ": must be at least 0 and less than 1, found ", held_out_fraction);
  check(template_name == "model" || template_name == "plain", place("template"),
        ": must be model or plain, found '", template_name, "'");
  check(!pii_key_env.empty() && pii_key_env.find('=') == std::string::npos, place("pii_key_env"),
        ": must be the name of an environment variable");
}

RenderOptions render_options(const CorpusConfig& config, const Conversation& conversation) {
  RenderOptions options;
  options.reasoning = config.reasoning;
  options.tools = conversation.tools;
  if (!conversation.period.empty()) options.date = conversation.period + "-01";
  return options;
}

Json prepare_corpus(const CorpusConfig& config, const fs::path& base_folder, const Tokenizer& tokenizer,
                    const ChatTemplate& chat_template, const std::string& period, const fs::path& folder) {
  check(is_period(period), "corpus: the period must be YYYY-MM, found '", period, "'");
  check(tokenizer.vocab_size() <= (int64_t{1} << 32), "corpus: the vocabulary does not fit into 32 bits");
  const auto inputs = expand_inputs(config.inputs, base_folder);
  std::vector<MappedFile> files;
  std::vector<Record> records;
  uint64_t input_bytes = 0;
  for (const InputFile& input : inputs) {
    files.emplace_back(input.path);
    input_bytes += files.back().bytes().size();
    for (RawRecord& raw : split_lines(files.back().bytes(), input.name))
      records.emplace_back().raw = std::move(raw);
  }
  check(!records.empty(), "corpus: empty: no record in ", inputs.size(), " files");
  fs::create_directories(folder);
  check_free_disk(folder, 6 * input_bytes + (uint64_t{16} << 20));
  for (const char* old : {"conversations", "shards"}) fs::remove_all(folder / old);

  const auto each = [&](const auto& work) {
    tbb::parallel_for(size_t{0}, records.size(), [&](size_t i) {
      if (records[i].alive()) work(records[i]);
    });
  };
  each([&](Record& record) {
    ParsedRecord parsed = parse_record(record.raw);
    record.conversation = std::move(parsed.conversation);
    if (!parsed.reason.empty()) return record.quarantine(std::move(parsed.reason), std::move(parsed.text));
    check_conversation(record, period);
  });
  mark_duplicates(records);
  check_ids(records);
  const std::string key = pii_key(config);
  each([&](Record& record) {
    const Conversation& c = record.conversation;
    record.held_out = is_held_out(config.split_salt, c.tenant, c.customer, c.id, config.held_out_fraction);
    if (config.replace_pii) replace_people(record, key);
    make_documents(record, config, tokenizer, chat_template);
  });
  write_quarantine(folder, records);
  check_bad_fraction(records, config.max_bad_fraction, folder);

  ShardHeader header;
  header.tokenizer_sha256 = tokenizer.sha256();
  header.template_sha256 = chat_template.sha256();
  header.sequence_length = config.sequence_length;
  Json counts = write_sides(folder, records, header, first_counts(records));
  check(counts["train"].get<int64_t>() > 0, "corpus: no conversation is left to train on: of ",
        records.size(), " records ", counts["quarantined"].dump(), " are quarantined, ",
        counts["duplicate"].get<int64_t>(), " are duplicates, ", counts["held_out"].get<int64_t>(),
        " are held out");
  return counts;
}

}  // namespace decant
