#include "data_pipeline/erase_customer.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/make_documents.h"
#include "data_pipeline/normalize.h"
#include "data_pipeline/pii.h"
#include "data_pipeline/shard.h"
#include "data_pipeline/unicode.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

bool is_word_byte(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
         c == '.' || c == '@';
}

bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = 0; (at = text.find(word, at)) != std::string_view::npos; ++at) {
    const bool before = at > 0 && is_word_byte(text[at - 1]);
    const size_t end = at + word.size();
    if (!before && (end == text.size() || !is_word_byte(text[end]))) return true;
  }
  return false;
}

// What a record says that became no conversation.
Conversation said_in_record(const std::string& tenant, const StoredDocument& document) {
  Conversation c;
  c.tenant = tenant;
  c.id = document.id();
  c.messages.emplace_back();
  c.messages.back().role = "user";
  c.messages.back().content = repair_utf8(document.record());
  return c;
}

template <class T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::set<fs::path> shard_folders(const std::vector<fs::path>& paths) {
  std::set<fs::path> folders;
  const auto note = [&](const fs::path& file) {
    if (file.extension() == ".h5" && fs::exists(file.parent_path() / "index.json"))
      folders.insert(file.parent_path());
  };
  for (const fs::path& path : paths) {
    note(path);
    if (!fs::is_directory(path)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(path)) note(entry.path());
  }
  return folders;
}

// Ids stand in a shard without anything between them: here with quotes, and without the number of a part, so
// that short ones are found, too.
void scan_shard_ids(const ErasureTraces& traces, const fs::path& folder, ErasureReport& report) {
  const ShardReader reader(folder);
  TraceScanner scanner(traces, (folder / "document_id").string(), report);
  for (int64_t r = 0; r < reader.rows(); ++r) {
    const RowView row = reader.row_view(r);
    for (size_t d = 0; d < row.documents(); ++d) {
      const std::string id(row.id(d));
      scanner.feed(concat("\"", id, "\" \"", id.substr(0, id.rfind('#')), "\"\n"));
    }
  }
  scanner.finish();
}

std::string hex_number(uint64_t value) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return to_hex(bytes);
}

}  // namespace

void CustomerTrace::add(const CustomerTrace& other) {
  erasure.add(other.erasure);
  tenants.insert(other.tenants.begin(), other.tenants.end());
  customers.insert(other.customers.begin(), other.customers.end());
  ids.insert(other.ids.begin(), other.ids.end());
  std::set<std::string> known;
  for (const Conversation& c : documents) known.insert(conversation_text(c));
  for (const Conversation& c : other.documents)
    if (known.insert(conversation_text(c)).second) documents.push_back(c);
}

std::vector<std::string> CustomerTrace::ids_of(const std::string& tenant) const {
  std::vector<std::string> list;
  for (const auto& [of, id] : ids)
    if (of == tenant) list.push_back(id);
  return list;
}

Json trace_json(const CustomerTrace& trace) {
  Json json = {{"erasure", erasure_json(trace.erasure)},
               {"tenants", trace.tenants},
               {"customers", trace.customers},
               {"ids", Json::array()},
               {"documents", Json::array()}};
  for (const auto& [tenant, id] : trace.ids) json["ids"].push_back(Json::array({tenant, id}));
  for (const Conversation& c : trace.documents) json["documents"].push_back(conversation_json(c));
  return json;
}

CustomerTrace read_trace(const Json& json) {
  CustomerTrace trace;
  try {
    trace.erasure = parse_erasure(json.at("erasure"), "'erasure'");
    trace.tenants = json.at("tenants").get<std::set<std::string>>();
    trace.customers = json.at("customers").get<std::set<std::string>>();
    trace.ids = json.at("ids").get<std::set<std::pair<std::string, std::string>>>();
    for (const Json& document : json.at("documents")) trace.documents.push_back(parse_conversation(document));
  } catch (const Json::exception&) {
    fail("no trace of a customer: expected 'erasure', 'tenants', 'customers', 'ids' and 'documents'");
  }
  return trace;
}

CustomerTrace find_customer(const fs::path& store_folder, const std::string& secret,
                            const std::string& tenant, const std::string& customer) {
  const std::string name = normalize_text(customer);
  check(!name.empty(), "erase: the customer's key is empty");
  const StoreReader store(store_folder);
  CustomerTrace trace;
  trace.customers = {customer, name};
  Erasure wanted;
  for (const std::string& known : store.names()) {
    if (!is_tenant_name(known) || (!tenant.empty() && known != tenant)) continue;
    wanted.customers.insert(customer_tag(secret, known, name));
    PiiCounts ignored;
    trace.customers.insert(replace_pii(name, known, secret, ignored));
  }
  store.each_row([&](uint64_t i, const StoreRow& row) {
    const bool theirs = wanted.has_customer(row.customer_key);
    const bool nobodys = row.reason != 0 && row.customer_key == CustomerTag{};
    if (!theirs && !nobodys) return;
    const StoredDocument document = store.get(i);
    const std::string& of = store.name(row.tenant);
    if (theirs) {
      trace.erasure.customers.insert(row.customer_key);
    } else {
      if (!has_word(document.record(), customer)) return;
      trace.erasure.records.insert(
          {store.facts().at("inputs").at(row.file).at("sha256").get<std::string>(), row.byte_offset});
    }
    if (!of.empty()) trace.tenants.insert(of);
    if (!document.id().empty()) trace.ids.insert({of, std::string(document.id())});
    trace.documents.push_back(document.json().empty() ? said_in_record(of, document)
                                                      : stored_conversation(document));
    if (!document.json().empty()) trace.customers.insert(trace.documents.back().customer);
  });
  trace.customers.erase("");
  return trace;
}

std::vector<DuplicateIndex::Readmitted> erase_from_index(DuplicateIndex& index,
                                                         const std::vector<std::string>& ids) {
  if (ids.empty()) return {};
  auto readmitted = index.erase(ids).readmitted;
  index.purge();
  return readmitted;
}

ErasureProof prove_erased(const CustomerTrace& trace, const std::vector<fs::path>& stores,
                          const std::vector<fs::path>& paths) {
  ErasureProof proof;
  ErasureRequest request;
  request.customers.assign(trace.customers.begin(), trace.customers.end());
  ErasureTraces traces(request);
  for (const Conversation& c : trace.documents) traces.add(c);
  std::set<std::pair<std::string, std::string>> hashed = trace.ids;
  for (const fs::path& folder : stores) {
    const StoreReader store(folder);
    store.each([&](uint64_t, const StoredDocument& document) {
      const StoreRow& row = document.row();
      const std::pair<std::string, std::string> id = {store.name(row.tenant), std::string(document.id())};
      const auto& input = store.facts().at("inputs").at(row.file).at("sha256").get_ref<const std::string&>();
      if (trace.erasure.has_customer(row.customer_key) || trace.erasure.has_record(input, row.byte_offset)) {
        ++proof.still_stored;
        return;
      }
      // An id is not only one's own: a later conversation may have been quarantined because it has it too.
      hashed.erase(id);
      const Conversation kept =
          document.json().empty() ? said_in_record(id.first, document) : stored_conversation(document);
      proof.naming += traces.keep(kept) ? 1 : 0;
    });
  }
  for (const CustomerTag& tag : trace.erasure.customers) traces.add_bytes(TraceKind::kHash, bytes_of(tag));
  for (const auto& [tenant, id] : hashed) {
    traces.add_bytes(TraceKind::kHash, bytes_of(store_key_of(tenant, id)));
    traces.add_bytes(TraceKind::kHash, hex_number(DuplicateRun::id_hash(id)));
  }
  proof.without_piece = traces.documents_without_piece();
  proof.traces = traces.size();
  proof.report = scan_for_traces(traces, paths);
  for (const fs::path& folder : shard_folders(paths)) scan_shard_ids(traces, folder, proof.report);
  return proof;
}

}  // namespace decant
