// Everything that is known about a document (a conversation), as numbers beside it that never change it: the
// filter of a later pass reads them (filter_rules.h), `decant annotate` writes them as JSON, and the sidecar
// of a corpus holds them as rows of fixed width, so that a changed threshold reruns without the text.
//
// The text that quality and repetition are measured on is that of the user's and the assistant's messages,
// one after the other with a line feed between; the language is that of the same messages, turn by turn.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "data_pipeline/conversation.h"
#include "data_pipeline/conversation_quality.h"
#include "data_pipeline/quality.h"
#include "data_pipeline/repetition.h"

namespace decant {

inline constexpr uint64_t kNoRoot = UINT64_MAX;
inline constexpr size_t kMostPiiKinds = 32;

struct Attributes {
  std::string language = "und", script;  // language.h
  float language_score = 0;
  float bytes = 0, characters = 0;  // of the text
  ConversationQuality conversation;
  Quality quality;
  Repetition repetition;
  float pii_spans = 0;                        // all kinds
  std::array<uint16_t, kMostPiiKinds> pii{};  // spans by kind: the caller's numbering
  std::array<uint64_t, 2> exact_key{};        // the first 128 bits of duplicate_key (dedup.h)
  uint64_t near_duplicate_root = kNoRoot;     // the caller's numbering of documents

  // Numbers: what a rule can name.
  static void visit_numbers(auto& a, auto&& field) {
    field("language_score", a.language_score, "how sure the language is, 0 to 1");
    field("bytes", a.bytes, "bytes of the messages of user and assistant");
    field("characters", a.characters, "characters of those");
    std::remove_reference_t<decltype(a.conversation)>::visit(a.conversation, field);
    std::remove_reference_t<decltype(a.quality)>::visit(a.quality, field);
    std::remove_reference_t<decltype(a.repetition)>::visit(a.repetition, field);
    field("pii_spans", a.pii_spans, "people's data found, all kinds");
  }
  // All, in the order of JSON and rows.
  static void visit(auto& a, auto&& field) {
    field("language", a.language, "ISO 639-1, or und");
    field("script", a.script, "of Chinese: Hans or Hant");
    visit_numbers(a, field);
    field("pii", a.pii, "people's data found, by kind");
    field("exact_key", a.exact_key, "equal for exact duplicates");
    field("near_duplicate_root", a.near_duplicate_root, "the document that stands for its near-duplicates");
  }
};

// The text that is measured.
std::string document_text(const Conversation& conversation);

// All but pii, pii_spans and near_duplicate_root, which the caller knows. Keeps its memory from one
// conversation to the next; one for each thread. Texts are well-formed UTF-8 (normalize.h).
class AttributeMeter {
 public:
  // `key` is the conversation's duplicate_key where it is known already.
  Attributes measure(const Conversation& conversation, std::string_view key = {});

 private:
  TextScan scan_;
  RepetitionMeter repetition_;
};

// {"language": ..., "dup_line_fraction": ..., "pii": {"email": 1}, "exact_key": "<32 hex>",
// "near_duplicate_root": null}. Kinds of PII without a span are left out; `pii_names` names them, kind 0
// first.
Json attributes_json(const Attributes& attributes, std::span<const char* const> pii_names = {});

// Rows: little-endian; texts 4 bytes each, filled up with NUL; numbers f32; pii u16; keys and root u64.
size_t attributes_row_bytes();
void append_attributes_row(const Attributes& attributes, std::string& out);
Attributes read_attributes_row(std::string_view row);  // Error unless it has attributes_row_bytes()
// [{"name", "type", "offset", "help"}, ...]: what a row holds, for the sidecar's header.
Json attributes_schema();

}  // namespace decant
