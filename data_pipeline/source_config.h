// Where a corpus comes from: one entry of `corpus.sources`, with everything that a reader may be told.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"

namespace decant {

// What a file is, before a record's own form is looked at. kAuto: by the name without .gz or .zst (jsonl,
// ndjson, json, csv, tsv, txt, md, parquet), else by the first byte that is not white space ('[': json, '{':
// jsonl).
enum class FileKind { kAuto, kJsonl, kJson, kCsv, kText, kParquet };
template <>
struct EnumNames<FileKind> {
  static constexpr std::pair<FileKind, const char*> values[] = {
      {FileKind::kAuto, "auto"}, {FileKind::kJsonl, "jsonl"}, {FileKind::kJson, "json"},
      {FileKind::kCsv, "csv"},   {FileKind::kText, "text"},   {FileKind::kParquet, "parquet"}};
};

// The form of a record; record_format.h says what each takes.
enum class RecordFormat {
  kAuto,
  kMessages,
  kShareGpt,
  kAlpaca,
  kPromptCompletion,
  kPreference,
  kFields,
  kText
};
template <>
struct EnumNames<RecordFormat> {
  static constexpr std::pair<RecordFormat, const char*> values[] = {
      {RecordFormat::kAuto, "auto"},
      {RecordFormat::kMessages, "messages"},
      {RecordFormat::kShareGpt, "sharegpt"},
      {RecordFormat::kAlpaca, "alpaca"},
      {RecordFormat::kPromptCompletion, "prompt_completion"},
      {RecordFormat::kPreference, "preference"},
      {RecordFormat::kFields, "fields"},
      {RecordFormat::kText, "text"}};
};

// kAuto: a byte-order mark decides; without one UTF-8, unless text_encoding.h finds GB18030.
enum class TextEncoding { kAuto, kUtf8, kUtf16Le, kUtf16Be, kGb18030 };
template <>
struct EnumNames<TextEncoding> {
  static constexpr std::pair<TextEncoding, const char*> values[] = {{TextEncoding::kAuto, "auto"},
                                                                    {TextEncoding::kUtf8, "utf-8"},
                                                                    {TextEncoding::kUtf16Le, "utf-16le"},
                                                                    {TextEncoding::kUtf16Be, "utf-16be"},
                                                                    {TextEncoding::kGb18030, "gb18030"}};
};

enum class TextUnit { kFile, kBlock, kLine };
template <>
struct EnumNames<TextUnit> {
  static constexpr std::pair<TextUnit, const char*> values[] = {
      {TextUnit::kFile, "file"}, {TextUnit::kBlock, "block"}, {TextUnit::kLine, "line"}};
};

// Where in a record of one's own what stands. A place is a column, or a path such as `scenario.order.id` or
// `instances.0.output` (a whole name with dots in it is looked for first). Empty: the record has none.
struct FieldMap {
  std::string id, tenant, period, customer, tools;
  // A question and its answer.
  std::string system, user, input, assistant, reasoning;
  // Or a preference pair; with `user`, `system` or `messages` before it.
  std::string chosen, rejected;
  // Or feedback: whether the answer before is wanted.
  std::string label;
  // Or one text with a speaker's label at the start of a line, as in "user: hello".
  std::string transcript;
  // Or lists of turns, one after the other (an object counts as a list of one), and what a turn's parts are
  // called. Of several `content` names the first that a turn has is taken; a value that is not text is
  // written as JSON.
  std::vector<std::string> messages;
  std::string role = "role";
  std::vector<std::string> content = {"content"};
  // What a record calls its speakers, and the role it means: system, user, assistant, tool, or skip.
  std::map<std::string, std::string> roles;

  static void visit(auto& c, auto&& field) {
    field("id", c.id, "column or path (a.b.0) of the record's id");
    field("tenant", c.tenant, "of the tenant");
    field("period", c.period, "of the period: YYYY-MM, or a date or time that begins so");
    field("customer", c.customer, "of the customer's key");
    field("tools", c.tools, "of the tool definitions, a list or a list as JSON text");
    field("system", c.system, "of the system message");
    field("user", c.user, "of the question");
    field("input", c.input, "of more of the question, set below it");
    field("assistant", c.assistant, "of the answer");
    field("reasoning", c.reasoning, "of the reasoning before the answer");
    field("chosen", c.chosen, "of the better answer of a preference pair");
    field("rejected", c.rejected, "of the worse answer");
    field("label", c.label, "of whether the answer is wanted: true or false, 1 or 0");
    field("transcript", c.transcript, "of a text whose lines begin with 'user: ' and the like");
    field("messages", c.messages, "of one or more lists of turns");
    field("role", c.role, "in a turn: the speaker");
    field("content", c.content, "in a turn: the text; the first of these that is there");
    field("roles", c.roles, "a speaker as the records call it: system, user, assistant, tool or skip");
  }
  bool operator==(const FieldMap&) const = default;
  // Names where the turns are (and not only an id or a tenant).
  bool names_turns() const;
};

// What a source without a name is called in reports and weights: the recipe's `inputs`.
inline constexpr const char* kUnnamedSource = "inputs";

struct SourceConfig {
  std::string name;
  std::vector<std::string> paths;
  FileKind kind = FileKind::kAuto;
  RecordFormat format = RecordFormat::kAuto;
  TextEncoding encoding = TextEncoding::kAuto;
  FieldMap fields;
  std::string records;
  std::string delimiter;
  std::vector<std::string> columns;
  TextUnit text_unit = TextUnit::kBlock;
  std::string null_text;
  std::string tenant, period, license;
  int64_t max_record_bytes = int64_t{16} << 20;
  int64_t max_expansion = 200;
  int64_t max_decoded_bytes = int64_t{1} << 40;

  static void visit(auto& c, auto&& field) {
    field("name", c.name, "what reports call this source");
    field("paths", c.paths, "files, folders, globs or '-' (standard input), relative to the recipe");
    field("kind", c.kind, "auto (by name), jsonl, json, csv, text or parquet; each also as .gz or .zst");
    field("format", c.format,
          "auto (by a file's first record), messages, sharegpt, alpaca, prompt_completion, preference, "
          "fields or text");
    field("encoding", c.encoding, "auto, utf-8, utf-16le, utf-16be or gb18030");
    field("fields", c.fields, "where in records of your own the id, the question and so on stand");
    field("records", c.records, "of a JSON file that is an object: the key of its list of records");
    field("delimiter", c.delimiter, "of a CSV file: one character, '' for a comma (a tab in a .tsv)");
    field("columns", c.columns, "of a CSV file without a header row: what its columns are called");
    field("text_unit", c.text_unit,
          "of a text file, a record is: the file, a block (up to an empty line) or a line");
    field("null_text", c.null_text, "a value that means there is none, such as NULL");
    field("tenant", c.tenant, "of records that name none");
    field("period", c.period, "of records that name none, YYYY-MM");
    field("license", c.license, "goes into the manifest");
    field("max_record_bytes", c.max_record_bytes, "a longer record is quarantined as too_large");
    field("max_expansion", c.max_expansion,
          "a compressed file that grows by more than this, beyond 64 MiB, is refused");
    field("max_decoded_bytes", c.max_decoded_bytes, "a file with more bytes than this is refused");
  }
  void validate(const Place& place) const;
  // In reports, and under `corpus.mix.sources`: the name, or "inputs" where there is none.
  std::string shown_name() const { return name.empty() ? kUnnamedSource : name; }
  bool operator==(const SourceConfig&) const = default;
};

}  // namespace decant
