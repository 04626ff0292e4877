#include "data_pipeline/erase_customer.h"

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/ledger.h"
#include "data_pipeline/normalize.h"
#include "data_pipeline/shard.h"

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

// A line of quarantine.jsonl: a record that can be read is the customer's when it says so, any other when the
// name stands in it.
bool names_customer(const Json& line, const std::string& tenant, const std::string& customer) {
  const auto says_so = [&](const Json& json) {
    const std::string of = json.value("tenant", std::string("default"));
    return (tenant.empty() || of == tenant) && json["customer"] == customer;
  };
  if (line.contains("conversation")) return says_so(line["conversation"]);
  if (!line.contains("record")) return false;
  const auto record = line["record"].get<std::string>();
  try {
    const Json json = parse_json(record, "record");
    if (json.is_object() && json.contains("customer") && json["customer"].is_string() &&
        (!json.contains("tenant") || json["tenant"].is_string()))
      return says_so(json);
  } catch (const Error&) {  // not JSON: the words decide
  }
  return has_word(record, customer);
}

void each_line(const fs::path& path, ErasureProof& proof, const std::function<void(const Json&)>& work) {
  if (!fs::is_regular_file(path)) return;
  const MappedFile file(path);
  ++proof.files;
  proof.bytes += static_cast<int64_t>(file.bytes().size());
  for (size_t at = 0; at < file.bytes().size();) {
    const size_t end = std::min(file.bytes().find('\n', at), file.bytes().size());
    work(parse_json(file.bytes().substr(at, end - at), path.string()));
    at = end + 1;
  }
}

}  // namespace

CustomerTrace find_customer(const fs::path& store_folder, const std::string& secret,
                            const std::string& tenant, const std::string& customer) {
  const std::string name = normalize_text(customer);
  check(!name.empty(), "erase: the customer's key is empty");
  const StoreReader store(store_folder);
  CustomerTrace trace;
  for (const std::string& known : store.names())
    if (!known.empty() && (tenant.empty() || known == tenant))
      trace.erasure.customers.insert(customer_tag(secret, known, name));
  store.each_row([&](uint64_t i, const StoreRow& row) {
    const bool theirs = trace.erasure.has_customer(row.customer_key);
    const bool nobodys = row.reason != 0 && row.customer_key == CustomerTag{};
    if (!theirs && !nobodys) return;
    const StoredDocument document = store.get(i);
    if (!theirs) {
      if (!has_word(document.record(), customer)) return;
      trace.erasure.records.insert(
          {store.facts().at("inputs").at(row.file).at("sha256").get<std::string>(), row.byte_offset});
    }
    ++trace.documents;
    const std::string& of = store.name(row.tenant);
    trace.tenants.insert(of);
    if (!document.id().empty()) trace.ids.insert({of, std::string(document.id())});
    trace.customers.insert({of, name});
    if (!document.json().empty())
      trace.customers.insert({of, parse_json(document.json(), "store").at("customer").get<std::string>()});
  });
  // Tags of tenants that have nothing of the customer say nothing, and would only make the list longer.
  std::erase_if(trace.erasure.customers, [&](const CustomerTag& tag) {
    return std::none_of(trace.tenants.begin(), trace.tenants.end(),
                        [&](const std::string& t) { return customer_tag(secret, t, name) == tag; });
  });
  return trace;
}

ErasureProof prove_erased(const fs::path& corpus, const fs::path& store, const std::string& secret,
                          const std::string& tenant, const std::string& customer,
                          const CustomerTrace& trace) {
  ErasureProof proof;
  const auto found = [&](const fs::path& file, const char* what) {
    proof.found.push_back(file.string() + ": " + what);
  };
  for (const auto& entry : fs::directory_iterator(store)) {
    ++proof.files;
    proof.bytes += static_cast<int64_t>(entry.file_size());
  }
  if (find_customer(store, secret, tenant, customer).documents > 0) found(store, "documents of the customer");
  each_line(corpus / "quarantine.jsonl", proof, [&](const Json& line) {
    if (names_customer(line, tenant, customer))
      found(corpus / "quarantine.jsonl", "a record of the customer");
  });
  each_line(corpus / "duplicates.jsonl", proof, [&](const Json& line) {
    for (const char* key : {"id", "kept"})
      if (trace.ids.contains({line.at("tenant").get<std::string>(), line.at(key).get<std::string>()}))
        found(corpus / "duplicates.jsonl", "an erased document");
  });
  each_line(corpus / "canned_replies.jsonl", proof, [&](const Json& line) {
    if (trace.ids.contains({line.at("tenant").get<std::string>(), line.at("document").get<std::string>()}))
      found(corpus / "canned_replies.jsonl", "an erased document");
  });
  for (const auto& [of, id] : trace.ids)
    for (const LedgerEntry& e : ledger_entries(corpus / "ledger.sqlite", id))
      if (e.tenant == of) found(corpus / "ledger.sqlite", "an entry of an erased document");
  for (const std::string& of : trace.tenants) {
    for (const char* side : {"train", "held_out"}) {
      const fs::path lines = corpus / "conversations" / side / (of + ".jsonl");
      each_line(lines, proof, [&](const Json& c) {
        if (trace.ids.contains({of, c.at("id").get<std::string>()}) ||
            trace.customers.contains({of, c.at("customer").get<std::string>()}))
          found(lines, "a conversation of the customer");
      });
      const fs::path shards = corpus / "shards" / side / of;
      if (!fs::exists(shards / "index.json")) continue;
      const ShardReader reader(shards);
      for (int64_t r = 0; r < reader.rows(); ++r) {
        const RowView row = reader.row_view(r);
        for (size_t d = 0; d < row.documents(); ++d) {
          const std::string id(row.id(d));
          if (trace.ids.contains({of, id}) || trace.ids.contains({of, id.substr(0, id.rfind('#'))}))
            found(shards, "a document of the customer");
        }
      }
      for (const auto& entry : fs::directory_iterator(shards)) {
        ++proof.files;
        proof.bytes += static_cast<int64_t>(entry.file_size());
      }
    }
  }
  return proof;
}

}  // namespace decant
