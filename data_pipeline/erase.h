// Erasing a customer, the part that needs no corpus layout: which stored documents are the customer's,
// and the proof that nothing of them is left in any byte of what is kept.
//
//   ErasureTraces traces(request);
//   for each stored document with erasure_reason(document, request) != kNone: drop it, traces.add(document);
//   for each document that stays: traces.keep(document);  // what is not the customer's alone proves nothing
//   traces.add_bytes(TraceKind::kHash, ...);  // the ledger's split key, an index's document hash
//   ErasureReport report = scan_for_traces(traces, {corpus folder, index folder, ledger file, ...});
//   report.clean() or the places in report.leftovers
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/conversation.h"

namespace decant {

struct ErasureRequest {
  std::string tenant;
  std::vector<std::string> customers;  // the customer's key in all its forms: as given, and its surrogate
  std::vector<std::string>
      values;  // optional: numbers, addresses and their surrogates that are the customer's
};

enum class ErasureReason { kNone, kCustomer, kValue };

// kCustomer: a document of the tenant whose customer is one of request.customers (as normalize_text
// writes them); kValue: one of the tenant in whose texts, tool calls, tools or meta a value occurs: not
// within a longer word or number, ASCII case aside, compatibility forms folded; the digits of a number
// may have one space, '-' or '.' between them.
ErasureReason erasure_reason(const Conversation& conversation, const ErasureRequest& request);

enum class TraceKind { kCustomer, kValue, kDocumentId, kText, kHash };
const char* trace_kind_name(TraceKind kind);  // "customer", "value", "document_id", "text", "hash"

// Byte strings that must occur nowhere:
// - customers, values and document ids as they are, as JSON escapes them (with and without \u), and
//   within base64; not as a part of a longer word of ASCII letters and digits. What is shorter than
//   kShortKey bytes occurs by chance, and is looked for as a JSON value only (in quotes, or a number of
//   three digits or more after a colon), also within a JSON string of JSON;
// - pieces of kPiece bytes of the documents' texts and reasoning, that JSON writes as they are, and
//   within base64.
// What a kept document has too proves nothing and is dropped: a canned reply, an id or a key that somebody
// else's text or record holds.
class ErasureTraces {
 public:
  static constexpr size_t kShortKey = 6, kPiece = 24, kMaxPiecesPerText = 256;

  explicit ErasureTraces(const ErasureRequest& request);
  ~ErasureTraces();
  ErasureTraces(ErasureTraces&&) noexcept;

  void add(const Conversation& erased);
  bool keep(const Conversation& kept);  // after all add(); whether a customer's key or a value stands in it
  void add_bytes(TraceKind kind, std::string bytes);  // at least 4

  size_t documents() const;
  // Erased documents of whose texts no piece is left that only they have: their text is not proved gone by
  // text.
  size_t documents_without_piece() const;
  size_t size() const;  // byte strings that are looked for

 private:
  friend class TraceScanner;
  struct State;
  std::unique_ptr<State> state_;
};

struct Leftover {
  std::string file;
  uint64_t offset = 0;
  TraceKind kind = TraceKind::kCustomer;
  int64_t document = -1;  // which add() it is of; -1: of the request or add_bytes()
};

struct ErasureReport {
  uint64_t files = 0, bytes = 0;
  uint64_t found = 0;               // all of them
  std::vector<Leftover> leftovers;  // by file and offset, at most kMaxLeftoversPerFile of each
  std::vector<std::string>
      unsearchable;  // compressed files that were not opened, and files that could not be read
  static constexpr size_t kMaxLeftoversPerFile = 100;

  // Nothing found, and everything was looked at (at least one file).
  bool clean() const { return files > 0 && found == 0 && unsearchable.empty(); }
};

// Finds traces in one stream of bytes that comes in pieces, in bounded memory.
class TraceScanner {
 public:
  TraceScanner(const ErasureTraces& traces, std::string file, ErasureReport& report);
  void feed(std::string_view bytes);
  void finish();

 private:
  void scan(size_t end, bool last);
  const ErasureTraces& traces_;
  std::string file_;
  ErasureReport& report_;
  std::string buffer_;
  uint64_t buffer_offset_ = 0;  // of the buffer in the stream
  size_t scanned_ = 0;          // of the buffer
  size_t found_ = 0;
};

// Feeds the plain bytes of a compressed file; false when it cannot.
using OpenCompressed =
    std::function<bool(const std::filesystem::path&, const std::function<void(std::string_view)>& feed)>;

// Every regular file of the paths (folders with all below, in order of name; links are not followed).
// Files that begin as gzip or zstd do are opened by `open`, else they are unsearchable. Error when a
// path is not there.
ErasureReport scan_for_traces(const ErasureTraces& traces, const std::vector<std::filesystem::path>& paths,
                              const OpenCompressed& open = {});

}  // namespace decant
