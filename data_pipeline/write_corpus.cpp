#include "data_pipeline/write_corpus.h"

#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/progress.h"
#include "data_pipeline/json_line.h"
#include "data_pipeline/ledger.h"
#include "data_pipeline/pii.h"
#include "data_pipeline/record_parser.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kSideVersion = 2;  // of how a side is written

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

// Begins a line of a list.
JsonLine listed(std::string& out, const StoreReader& store, const StoreRow& row) {
  JsonLine line(out);
  line.text("file", store.facts().at("inputs").at(row.file).at("name").get_ref<const std::string&>())
      .number("line", row.line)
      .number("byte_offset", row.byte_offset);
  return line;
}

// What the decisions found wrong has no record: its conversation, as it is stored, stands for it.
std::string quarantine_line(const StoreReader& store, const StoredDocument& document,
                            const std::string& reason, const std::string& text) {
  const StoreRow& row = document.row();
  std::string out;
  JsonLine line = listed(out, store, row);
  line.text("reason", reason).text("text", text);
  if (row.record_cut != 0) {
    line.number("record_bytes", row.content_bytes);
  } else if (row.record_bytes == 0) {
    line.written("conversation", document.json());
  } else if (is_utf8(document.record())) {
    line.text("record", document.record());
  } else {
    line.text("record_base64", base64(document.record()));
  }
  line.end();
  return out += '\n';
}

std::string decided_text(const StoreRow& row, const std::string& reason, int64_t sequence_length) {
  if (reason == "too_long") return concat(row.longest_part, " tokens, a row has ", sequence_length);
  if (reason == "duplicate_id") return "another conversation of the tenant has this id";
  return {};
}

// `kept`: the id of the document that stays; null: it is one of an earlier month.
std::string duplicate_line(const StoreReader& store, const StoredDocument& document, const std::string* kept,
                           const std::string& reason, const std::string& detail) {
  std::string out;
  JsonLine line = listed(out, store, document.row());
  line.text("tenant", store.name(document.row().tenant)).text("id", document.id());
  kept == nullptr ? line.written("kept", "null") : line.text("kept", *kept);
  line.text("kind", reason);
  if (!detail.empty()) line.text("detail", detail);
  line.end();
  return out += '\n';
}

std::string dropped_line(const StoreReader& store, const StoredDocument& document, const std::string& reason,
                         const std::string& detail) {
  std::string out;
  JsonLine line = listed(out, store, document.row());
  line.text("tenant", store.name(document.row().tenant)).text("id", document.id()).text("reason", reason);
  if (!detail.empty()) line.text("detail", detail);
  line.end();
  return out += '\n';
}

void note_changes(const StoreRow& row, const std::string& tenant, std::string_view id, LedgerEntry entry,
                  Ledger& ledger) {
  entry.tenant = tenant;
  entry.id = id;
  entry.fate = "altered";
  const auto add = [&](Stage stage, const char* reason, std::string detail) {
    entry.stage = stage_name(stage);
    entry.reason = reason;
    entry.detail = std::move(detail);
    ledger.add(entry);
  };
  if (row.merged > 0)
    add(Stage::kNormalize, "merged_messages", concat(row.merged, " joined to the message before"));
  if (row.trimmed > 0)
    add(Stage::kNormalize, "trimmed_messages", concat(row.trimmed, " after the last answer"));
  std::string kinds;
  for (size_t k = 0; k < kPiiKinds; ++k)
    if (row.pii[k] > 0)
      kinds += concat(kinds.empty() ? "" : ", ", pii_kind_name(static_cast<PiiKind>(k)), " ", row.pii[k]);
  if (!kinds.empty()) add(Stage::kReplace, "pii_replaced", kinds);
  if (row.parts > 1 && judged_answers(row) != JudgedAnswers::kPair)
    add(Stage::kRender, "split_at_turn", concat(row.parts, " documents"));
}

// Copies, and turns that are not learned from.
void note_mix(const Decision& decision, const MutedDocument* muted, LedgerEntry entry, Ledger& ledger) {
  entry.fate = "altered";
  entry.stage = stage_name(Stage::kMix);
  if (decision.copies > 1) {
    entry.reason = "copies";
    entry.detail = std::to_string(decision.copies);
    ledger.add(entry);
  }
  if (muted == nullptr) return;
  entry.reason = "canned_reply";
  entry.detail.clear();
  for (const uint32_t turn : muted->turns)
    entry.detail += concat(entry.detail.empty() ? "not learned from: message " : ", ", turn);
  ledger.add(entry);
}

void note_replayed(const CorpusDocuments& documents, Ledger& ledger) {
  const auto& replayed = documents.decisions().replayed();
  for (size_t k = 0; k < replayed.size(); ++k) {
    const EarlierCorpus& corpus = documents.earlier()[replayed[k].corpus];
    const StoredDocument document = documents.get(documents.store().documents() + k);
    const StoreRow& row = document.row();
    LedgerEntry entry;
    entry.document = documents.store().documents() + k;
    entry.tenant = corpus.store->name(row.tenant);
    entry.id = document.id();
    entry.file = corpus.store->facts().at("inputs").at(row.file).at("name").get<std::string>();
    entry.line = row.line;
    entry.byte_offset = row.byte_offset;
    entry.fate = replayed[k].copies > 0 ? "replayed" : "not replayed";
    entry.stage = stage_name(Stage::kMix);
    entry.reason = replayed[k].copies > 0 ? "replay" : documents.decisions().reason(replayed[k]);
    entry.detail = concat("of ", corpus.period,
                          replayed[k].copies > 1 ? concat(", ", replayed[k].copies, " copies") : "");
    ledger.add(entry);
  }
}

void write_canned_replies(const Decisions& decisions, const fs::path& folder) {
  AtomicFile lines(folder / "canned_replies.jsonl");
  for (const auto& [tenant, of] : decisions.summary().at("canned_replies").items())
    for (Json line : of.at("list")) {
      line["tenant"] = tenant;
      lines.write(line.dump() + "\n");
    }
  lines.commit();
}

}  // namespace

const char* side_name(bool held_out) { return held_out ? "held_out" : "train"; }

void write_lists(const CorpusDocuments& documents, int64_t sequence_length, const fs::path& folder) {
  const StoreReader& store = documents.store();
  const Decisions& decisions = documents.decisions();
  write_canned_replies(decisions, folder);
  AtomicFile bad(folder / "quarantine.jsonl"), duplicates(folder / "duplicates.jsonl"),
      dropped(folder / "dropped.jsonl");
  Ledger ledger(folder / "ledger.sqlite");
  store.each([&](uint64_t i, const StoredDocument& document) {
    const Decision& decision = decisions[i];
    const StoreRow& row = document.row();
    LedgerEntry entry;
    entry.document = i;
    entry.tenant = store.name(row.tenant);
    entry.id = document.id();
    entry.file = store.facts().at("inputs").at(row.file).at("name").get<std::string>();
    entry.line = row.line;
    entry.byte_offset = row.byte_offset;
    entry.stage = stage_name(decision.stage);
    switch (decision.fate) {
      case Fate::kTrain:
      case Fate::kHeldOut:
        note_changes(row, entry.tenant, entry.id, entry, ledger);
        note_mix(decision, decisions.muted(i), entry, ledger);
        return;
      case Fate::kDuplicate: {
        entry.fate = "duplicate";
        entry.reason = decisions.reason(decision);
        entry.detail = decisions.detail(i);
        std::string kept;
        const bool here = decision.kept_instead != kNoDocument;
        if (here) kept = store.get(decision.kept_instead).id();
        duplicates.write(duplicate_line(store, document, here ? &kept : nullptr, entry.reason, entry.detail));
        if (here) entry.detail = concat("of ", kept, entry.detail.empty() ? "" : ", ", entry.detail);
        break;
      }
      case Fate::kDropped:
        entry.fate = "dropped";
        entry.reason = decisions.reason(decision);
        entry.detail = decisions.detail(i);
        dropped.write(dropped_line(store, document, entry.reason, entry.detail));
        break;
      case Fate::kQuarantined:
        entry.fate = "quarantined";
        entry.reason = decisions.reason(decision);
        entry.detail = row.text_bytes > 0 && row.reason != 0 && store.name(row.reason) == entry.reason
                           ? std::string(document.text())
                           : decided_text(row, entry.reason, sequence_length);
        bad.write(quarantine_line(store, document, entry.reason, entry.detail));
        break;
    }
    ledger.add(entry);
  });
  note_replayed(documents, ledger);
  bad.commit();
  duplicates.commit();
  dropped.commit();
  ledger.commit();  // last: where it is, the lists are
}

namespace {

// The documents of one tenant on one side, in the order of the store, replayed ones after the month's, and
// what tells whether they changed.
struct Side {
  struct Document {
    uint64_t number;
    uint32_t copies;
  };
  std::vector<Document> documents;
  int64_t month = 0, replayed = 0;
  uint64_t digest = 0;
};

// sides.json: the digest of every side whose files are whole.
class SidesDone {
 public:
  explicit SidesDone(const fs::path& folder) : folder_(folder) {
    if (fs::is_regular_file(folder_ / "sides.json")) done_ = read_json(folder_ / "sides.json");
  }
  bool has(const std::string& side, const std::string& digest) const {
    return done_.contains(side) && done_[side] == digest &&
           fs::exists(folder_ / "shards" / side / "index.json") &&
           fs::exists(folder_ / "conversations" / (side + ".jsonl"));
  }
  void begin(const std::string& side) {
    if (done_.erase(side) > 0) write_json(folder_ / "sides.json", done_);
  }
  void end(const std::string& side, const std::string& digest) {
    done_[side] = digest;
    write_json(folder_ / "sides.json", done_);
  }
  // What is not among `sides` goes, with its files and with what a kill left.
  void keep_only(const std::set<std::string>& sides) {
    std::vector<std::string> gone;
    for (const auto& [side, digest] : done_.items())
      if (!sides.contains(side)) gone.push_back(side);
    for (const std::string& side : gone) begin(side);
    std::vector<fs::path> old;
    for (const char* side : {"train", "held_out"}) {
      if (fs::is_directory(folder_ / "shards" / side))
        for (const auto& entry : fs::directory_iterator(folder_ / "shards" / side))
          if (!sides.contains(concat(side, "/", entry.path().filename().string())))
            old.push_back(entry.path());
      if (fs::is_directory(folder_ / "conversations" / side))
        for (const auto& entry : fs::directory_iterator(folder_ / "conversations" / side))
          if (!sides.contains(concat(side, "/", entry.path().stem().string())) ||
              entry.path().extension() != ".jsonl")
            old.push_back(entry.path());
    }
    for (const fs::path& path : old) fs::remove_all(path);
  }

 private:
  fs::path folder_;
  Json done_ = Json::object();
};

// A shard's document is a part of a stored one.
struct Part {
  uint64_t document;
  uint32_t number, first;  // among the document's parts; its first token
};

DocumentRole role_of(JudgedAnswers judged, size_t part) {
  switch (judged) {
    case JudgedAnswers::kNone:
      return DocumentRole::kPlain;
    case JudgedAnswers::kChosen:
      return DocumentRole::kChosen;
    case JudgedAnswers::kRejected:
      return DocumentRole::kRejected;
    case JudgedAnswers::kPair:
      return part == 0 ? DocumentRole::kChosen : DocumentRole::kRejected;
  }
  throw std::logic_error("write_corpus: no such answers");
}

// Of the id of a part: none for the whole, else "#1", "#2", ... or of a pair its role.
std::string suffix_of(const StoreRow& row, uint32_t part) {
  const JudgedAnswers judged = judged_answers(row);
  if (judged == JudgedAnswers::kPair) return concat("#", role_name(role_of(judged, part)));
  return row.parts > 1 ? concat("#", part + 1) : std::string();
}

void write_conversations(const CorpusDocuments& documents, const Side& side, const fs::path& path) {
  AtomicFile lines(path);
  for (const auto& [i, copies] : side.documents)
    lines.write(documents.conversation_line(i, documents.get(i)));
  lines.commit();
}

Json write_side(const CorpusDocuments& documents, const Side& side, const ShardHeader& header,
                const fs::path& folder) {
  ShardSource source;
  std::vector<Part> parts;
  int64_t pairs = 0;
  // Vectors that grow by doubling take up to three times their size while they move.
  size_t count = 0;
  for (const auto& [i, copies] : side.documents) count += copies;
  source.lengths.reserve(count);
  source.roles.reserve(count);
  source.pairs.reserve(count);
  parts.reserve(count);
  for (const auto& [i, copies] : side.documents) {
    const StoredDocument document = documents.get(i);
    const StoreRow& row = document.row();
    const auto lengths = document.part_tokens();
    const JudgedAnswers judged = judged_answers(row);
    const bool pair = judged == JudgedAnswers::kPair;
    for (uint32_t copy = 0; copy < copies; ++copy) {
      const int64_t pair_number = pair ? pairs++ : -1;
      uint32_t first = 0;
      for (uint32_t p = 0; p < lengths.size(); ++p) {
        source.lengths.push_back(lengths[p]);
        source.roles.push_back(role_of(judged, p));
        source.pairs.push_back(pair_number);
        source.id_bytes = std::max(source.id_bytes, row.id_bytes + suffix_of(row, p).size());
        parts.push_back({i, p, first});
        first += lengths[p];
      }
    }
    source.target_bytes += int64_t{copies} * documents.target_bytes(i, row);
  }
  source.fetch = [&](const std::vector<ShardSource::Slot>& slots) {
    StoredDocument document;
    uint64_t open = UINT64_MAX;
    for (const auto& slot : slots) {
      const Part& part = parts[slot.document];
      if (part.document != open) document = documents.get(open = part.document);
      documents.copy_tokens(part.document, document, part.first, source.lengths[slot.document], slot.tokens,
                            slot.loss_weight);
      const std::string id = std::string(document.id()) + suffix_of(document.row(), part.number);
      id.copy(slot.id, id.size());
    }
  };
  return pack_shards(folder, header, source);
}

void add(Json& number, int64_t amount) { number = number.get<int64_t>() + amount; }

// What reports and manifests show of the list of canned replies.
Json shown_replies(const Json& canned_replies) {
  constexpr size_t kShown = 10;
  Json shown = canned_replies;
  for (Json& tenant : shown)
    if (Json& list = tenant["list"]; list.size() > kShown)
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(kShown), list.end());
  return shown;
}

// What of a source goes where, each document once.
struct Share {
  int64_t in = 0, documents[2] = {0, 0}, tokens[2] = {0, 0}, target_tokens = 0;  // train, held out

  void add_kept(const StoreRow& row, bool held_out) {
    ++documents[held_out];
    tokens[held_out] += row.tokens;
    target_tokens += row.target_tokens;
  }
  Json json() const {
    return {{"in", in},
            {"train", documents[0]},
            {"held_out", documents[1]},
            {"tokens", tokens[0] + tokens[1]},
            {"train_tokens", tokens[0]},
            {"held_out_tokens", tokens[1]},
            {"target_tokens", target_tokens}};
  }
};

// What the recipe calls the source of each input; the file where it has no name.
std::vector<std::string> source_names(const StoreReader& store) {
  std::vector<std::string> names;
  for (const Json& input : store.facts().at("inputs"))
    names.push_back(input.at(input.at("source") == kUnnamedSource ? "name" : "source").get<std::string>());
  return names;
}

Json first_counts(const CorpusDocuments& documents, std::map<std::pair<std::string, bool>, Side>& sides) {
  const StoreReader& store = documents.store();
  const Decisions& decisions = documents.decisions();
  std::map<std::string, int64_t> quarantined, dropped;
  std::array<int64_t, kStorePiiKinds> pii{};
  int64_t duplicates = 0, near = 0, merged = 0, trimmed = 0;
  const std::vector<std::string> source_of = source_names(store);
  std::map<std::string, Share> sources;
  std::map<std::string, int64_t> tenants_in;
  store.each_row([&](uint64_t i, const StoreRow& row) {
    Share& source = sources[source_of.at(row.file)];
    ++source.in;
    ++tenants_in[store.name(row.tenant)];
    const Decision& decision = decisions[i];
    if (decision.fate == Fate::kQuarantined) ++quarantined[decisions.reason(decision)];
    if (decision.fate == Fate::kDropped) ++dropped[decisions.reason(decision)];
    if (decision.fate == Fate::kDuplicate) ++(decisions.reason(decision) == "exact" ? duplicates : near);
    if (!decisions.kept(i)) return;
    source.add_kept(row, decision.fate == Fate::kHeldOut);
    for (size_t k = 0; k < kPiiKinds; ++k) pii[k] += row.pii[k];
    merged += row.merged;
    trimmed += row.trimmed;
  });
  documents.each([&](const CorpusDocument& document, const StoreRow& row) {
    Side& side = sides[{document.tenant, document.held_out}];
    side.documents.push_back({document.number, document.copies});
    ++(document.replayed ? side.replayed : side.month);
    side.digest = documents.digest(document, row, side.digest);
  });
  Json counts = {{"in", store.documents()}, {"quarantined", Json::object()}, {"duplicate", duplicates}};
  for (const auto& [reason, count] : quarantined) counts["quarantined"][reason] = count;
  counts["near_duplicate"] = near;
  counts["dropped"] = Json::object();
  for (const auto& [reason, count] : dropped) counts["dropped"][reason] = count;
  counts["pii"] = Json::object();
  for (size_t k = 0; k < kPiiKinds; ++k)
    counts["pii"][std::string(pii_kind_name(static_cast<PiiKind>(k)))] = pii[k];
  counts["merged_messages"] = merged;
  counts["trimmed_messages"] = trimmed;
  for (const char* key : {"kept", "train", "held_out", "replayed", "tokens", "train_tokens",
                          "held_out_tokens", "target_tokens", "train_target_tokens", "rows"})
    counts[key] = 0;
  counts["split"] = decisions.summary().at("split");
  counts["mix"] = decisions.summary().at("mix");
  counts["canned_replies"] = shown_replies(decisions.summary().at("canned_replies"));
  counts["tenants"] = counts["sources"] = Json::object();
  // One that keeps nothing has no folder, and is no tenant here.
  for (const auto& [key, side] : sides) counts["tenants"][key.first] = {{"in", tenants_in[key.first]}};
  for (const auto& [name, share] : sources) counts["sources"][name] = share.json();
  return counts;
}

}  // namespace

Json write_sides(const CorpusDocuments& documents, const ShardHeader& header, const fs::path& folder) {
  std::map<std::pair<std::string, bool>, Side> sides;  // by tenant and held_out
  Json counts = first_counts(documents, sides);
  SidesDone done_sides(folder);
  std::set<std::string> names;
  for (const auto& [key, side] : sides) names.insert(concat(side_name(key.second), "/", key.first));
  done_sides.keep_only(names);
  Progress progress("corpus: packing", counts["in"].get<int64_t>(), "documents");
  int64_t done = 0, train_tokens = 0, train_places = 0;
  for (const auto& [key, side_of] : sides) {
    const auto& [tenant, held_out] = key;
    const std::string side = side_name(held_out);
    const fs::path conversations = folder / "conversations" / side / (tenant + ".jsonl");
    const fs::path shards = folder / "shards" / side / tenant;
    const std::string name = side + "/" + tenant;
    const std::string digest =
        sha256_hex(concat("version ", kSideVersion, " documents ", side_of.digest, " ",
                          header.tokenizer_sha256, " ", header.template_sha256, " ", header.sequence_length));
    Json index;
    if (done_sides.has(name, digest)) {
      index = read_json(shards / "index.json");
    } else {
      done_sides.begin(name);
      write_conversations(documents, side_of, conversations);
      index = write_side(documents, side_of, header, shards);
      done_sides.end(name, digest);
    }
    Json& of_tenant = counts["tenants"][tenant];
    for (const char* key :
         {"train", "held_out", "replayed", "tokens", "train_tokens", "held_out_tokens", "target_tokens"})
      if (!of_tenant.contains(key)) of_tenant[key] = 0;
    const auto tokens = index["tokens"].get<int64_t>();
    const auto target_tokens = index["target_tokens"].get<int64_t>();
    add(of_tenant[side], side_of.month);
    add(of_tenant["replayed"], side_of.replayed);
    add(of_tenant["tokens"], tokens);
    add(of_tenant[side + "_tokens"], tokens);
    add(of_tenant["target_tokens"], target_tokens);
    add(counts[side], side_of.month);
    add(counts["kept"], side_of.month);
    add(counts["replayed"], side_of.replayed);
    add(counts["tokens"], tokens);
    add(counts[side + "_tokens"], tokens);
    add(counts["rows"], index["rows"].get<int64_t>());
    add(counts["target_tokens"], target_tokens);
    if (!held_out) {
      add(counts["train_target_tokens"], target_tokens);
      train_tokens += tokens;
      train_places += index["rows"].get<int64_t>() * header.sequence_length;
    }
    progress.update(done += side_of.month);
  }
  counts["packing"] =
      train_places == 0 ? 0.0 : static_cast<double>(train_tokens) / static_cast<double>(train_places);
  return counts;
}

}  // namespace decant
