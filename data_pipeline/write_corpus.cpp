#include "data_pipeline/write_corpus.h"

#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/progress.h"
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

Json position_json(const StoreReader& store, const StoreRow& row) {
  return {{"file", store.facts().at("inputs").at(row.file).at("name")},
          {"line", row.line},
          {"byte_offset", row.byte_offset}};
}

// What the decisions found wrong has no record: its conversation, as it is stored, stands for it.
Json quarantine_line(const StoreReader& store, const StoredDocument& document, const std::string& reason,
                     const std::string& text) {
  const StoreRow& row = document.row();
  Json line = position_json(store, row);
  line["reason"] = reason;
  line["text"] = text;
  if (row.record_cut != 0) {
    line["record_bytes"] = row.content_bytes;
  } else if (row.record_bytes == 0) {
    line["conversation"] = parse_json(document.json(), "store");
  } else if (is_utf8(document.record())) {
    line["record"] = document.record();
  } else {
    line["record_base64"] = base64(document.record());
  }
  return line;
}

std::string decided_text(const StoreRow& row, const std::string& reason, int64_t sequence_length) {
  if (reason == "too_long") return concat(row.longest_part, " tokens, a row has ", sequence_length);
  if (reason == "duplicate_id") return "another conversation of the tenant has this id";
  return {};
}

Json duplicate_line(const StoreReader& store, const StoredDocument& document, const Decision& decision,
                    const std::string& reason, const std::string& detail) {
  Json line = position_json(store, document.row());
  line["tenant"] = store.name(document.row().tenant);
  line["id"] = document.id();
  line["kept"] = decision.kept_instead == kNoDocument ? Json() : Json(store.get(decision.kept_instead).id());
  line["kind"] = reason;
  if (!detail.empty()) line["detail"] = detail;
  return line;
}

Json dropped_line(const StoreReader& store, const StoredDocument& document, const std::string& reason,
                  const std::string& detail) {
  Json line = position_json(store, document.row());
  line["tenant"] = store.name(document.row().tenant);
  line["id"] = document.id();
  line["reason"] = reason;
  if (!detail.empty()) line["detail"] = detail;
  return line;
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

}  // namespace

const char* side_name(bool held_out) { return held_out ? "held_out" : "train"; }

void write_lists(const StoreReader& store, const Decisions& decisions, int64_t sequence_length,
                 const fs::path& folder) {
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
        return;
      case Fate::kDuplicate: {
        entry.fate = "duplicate";
        entry.reason = decisions.reason(decision);
        entry.detail = decisions.detail(i);
        const Json line = duplicate_line(store, document, decision, entry.reason, entry.detail);
        duplicates.write(line.dump() + "\n");
        if (line["kept"].is_string())
          entry.detail =
              concat("of ", line["kept"].get<std::string>(), entry.detail.empty() ? "" : ", ", entry.detail);
        break;
      }
      case Fate::kDropped:
        entry.fate = "dropped";
        entry.reason = decisions.reason(decision);
        entry.detail = decisions.detail(i);
        dropped.write(dropped_line(store, document, entry.reason, entry.detail).dump() + "\n");
        break;
      case Fate::kQuarantined:
        entry.fate = "quarantined";
        entry.reason = decisions.reason(decision);
        entry.detail = row.text_bytes > 0 && row.reason != 0 && store.name(row.reason) == entry.reason
                           ? std::string(document.text())
                           : decided_text(row, entry.reason, sequence_length);
        bad.write(quarantine_line(store, document, entry.reason, entry.detail).dump() + "\n");
        break;
    }
    ledger.add(entry);
  });
  bad.commit();
  duplicates.commit();
  dropped.commit();
  ledger.commit();  // last: where it is, the lists are
}

namespace {

// The documents of one tenant on one side, in the order of the store, and what tells whether they changed.
struct Side {
  std::vector<uint64_t> documents;
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
  std::string suffix;  // of its id: none for the whole, else "#1", "#2", ... or of a pair its role
  uint32_t first;      // token
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

void write_conversations(const StoreReader& store, const std::vector<uint64_t>& documents,
                         const fs::path& path) {
  AtomicFile lines(path);
  for (const uint64_t i : documents) {
    lines.write(store.get(i).json());
    lines.write("\n");
  }
  lines.commit();
}

Json write_side(const StoreReader& store, const std::vector<uint64_t>& documents, const ShardHeader& header,
                const fs::path& folder) {
  ShardSource source;
  std::vector<Part> parts;
  for (const uint64_t i : documents) {
    const StoredDocument document = store.get(i);
    const StoreRow& row = document.row();
    const auto lengths = document.part_tokens();
    const JudgedAnswers judged = judged_answers(row);
    const bool pair = judged == JudgedAnswers::kPair;
    uint32_t first = 0;
    for (uint32_t p = 0; p < lengths.size(); ++p) {
      const DocumentRole role = role_of(judged, p);
      std::string suffix;
      if (pair)
        suffix = concat("#", role_name(role));
      else if (lengths.size() > 1)
        suffix = concat("#", p + 1);
      source.lengths.push_back(lengths[p]);
      source.roles.push_back(role);
      source.pairs.push_back(pair ? static_cast<int64_t>(i) : -1);
      source.id_bytes = std::max(source.id_bytes, row.id_bytes + suffix.size());
      parts.push_back({i, std::move(suffix), first});
      first += lengths[p];
    }
    source.target_bytes += row.target_bytes;
  }
  source.fetch = [&](const std::vector<ShardSource::Slot>& slots) {
    StoredDocument document;
    uint64_t open = UINT64_MAX;
    for (const auto& slot : slots) {
      const Part& part = parts[slot.document];
      if (part.document != open) document = store.get(open = part.document);
      document.copy_tokens(part.first, source.lengths[slot.document], slot.tokens, slot.loss_weight);
      const std::string id = std::string(document.id()) + part.suffix;
      id.copy(slot.id, id.size());
    }
  };
  return pack_shards(folder, header, source);
}

void add(Json& number, int64_t amount) { number = number.get<int64_t>() + amount; }

// What of a source or a tenant goes where.
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
    names.push_back(input.contains("source") ? input["source"].get<std::string>()
                                             : input.at("name").get<std::string>());
  return names;
}

Json first_counts(const StoreReader& store, const Decisions& decisions,
                  std::map<std::pair<std::string, bool>, Side>& sides) {
  std::map<std::string, int64_t> quarantined, dropped;
  std::array<int64_t, kStorePiiKinds> pii{};
  int64_t duplicates = 0, near = 0, merged = 0, trimmed = 0;
  const std::vector<std::string> source_of = source_names(store);
  std::map<std::string, Share> sources, tenants;
  store.each_row([&](uint64_t i, const StoreRow& row) {
    Share &source = sources[source_of.at(row.file)], &tenant = tenants[store.name(row.tenant)];
    ++source.in;
    ++tenant.in;
    const Decision& decision = decisions[i];
    if (decision.fate == Fate::kQuarantined) ++quarantined[decisions.reason(decision)];
    if (decision.fate == Fate::kDropped) ++dropped[decisions.reason(decision)];
    if (decision.fate == Fate::kDuplicate) ++(decisions.reason(decision) == "exact" ? duplicates : near);
    if (!decisions.kept(i)) return;
    Side& side = sides[{store.name(row.tenant), decision.fate == Fate::kHeldOut}];
    side.documents.push_back(i);
    const uint64_t content[2] = {row.digest, row.judged};
    side.digest = xxh3_64({reinterpret_cast<const char*>(content), sizeof content}, side.digest);
    source.add_kept(row, decision.fate == Fate::kHeldOut);
    tenant.add_kept(row, decision.fate == Fate::kHeldOut);
    for (size_t k = 0; k < kPiiKinds; ++k) pii[k] += row.pii[k];
    merged += row.merged;
    trimmed += row.trimmed;
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
  for (const char* key :
       {"kept", "train", "held_out", "tokens", "train_tokens", "held_out_tokens", "target_tokens", "rows"})
    counts[key] = 0;
  counts["tenants"] = counts["sources"] = Json::object();
  for (const auto& [name, share] : tenants)  // one that keeps nothing has no folder, and is no tenant here
    if (share.documents[0] + share.documents[1] > 0) counts["tenants"][name] = share.json();
  for (const auto& [name, share] : sources) counts["sources"][name] = share.json();
  return counts;
}

}  // namespace

Json write_sides(const StoreReader& store, const Decisions& decisions, const ShardHeader& header,
                 const fs::path& folder) {
  std::map<std::pair<std::string, bool>, Side> sides;  // by tenant and held_out
  Json counts = first_counts(store, decisions, sides);
  SidesDone done_sides(folder);
  std::set<std::string> names;
  for (const auto& [key, side] : sides) names.insert(concat(side_name(key.second), "/", key.first));
  done_sides.keep_only(names);
  Progress progress("corpus: packing", counts["in"].get<int64_t>(), "documents");
  int64_t done = 0, train_tokens = 0, train_places = 0;
  for (const auto& [key, side_of] : sides) {
    const auto& [tenant, held_out] = key;
    const std::string side = side_name(held_out);
    const auto documents = static_cast<int64_t>(side_of.documents.size());
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
      write_conversations(store, side_of.documents, conversations);
      index = write_side(store, side_of.documents, header, shards);
      done_sides.end(name, digest);
    }
    const auto tokens = index["tokens"].get<int64_t>();
    add(counts[side], documents);
    add(counts["kept"], documents);
    add(counts["tokens"], tokens);
    add(counts[side + "_tokens"], tokens);
    add(counts["rows"], index["rows"].get<int64_t>());
    add(counts["target_tokens"], index["target_tokens"].get<int64_t>());
    if (!held_out) {
      train_tokens += tokens;
      train_places += index["rows"].get<int64_t>() * header.sequence_length;
    }
    progress.update(done += documents);
  }
  counts["packing"] =
      train_places == 0 ? 0.0 : static_cast<double>(train_tokens) / static_cast<double>(train_places);
  return counts;
}

}  // namespace decant
