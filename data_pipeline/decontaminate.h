// Decontamination: what is asked in an evaluation must not have been learned from.
//
// Questions and answers of evaluation sets are cut into n-grams of matching tokens (matching_tokens.h: Han by
// characters, Latin by words), and a document is contaminated when it holds one. n is `words` for an item
// written in words, `characters` for one written in Han, and between by the share of each in a mixed one. A
// question with fewer tokens than its n matches when the document holds all of it; one with fewer than
// `min_question_tokens` is too short to prove anything, and is counted only. An n-gram of a set that more
// than `max_documents` documents hold is a phrase of the trade and not a leak.
//
//   const DecontaminationIndex index(config, items);
//   scan every document (any order, any thread); add the scans to NgramCounts; then judge() each scan.
//
// Matches are found by 64-bit hashes and each is compared token by token: a hash collision never flags. A
// tenant's documents are compared with the general sets and its own, never with another tenant's. The index
// holds about 60 bytes for an n-gram; the sets together may have `max_set_bytes`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "data_pipeline/matching_tokens.h"

namespace decant {

struct EvaluationSetConfig {
  std::string name, path, tenant, question, answer;

  static void visit(auto& c, auto&& field) {
    field("name", c.name, "of the set, for reports");
    field("path", c.path, "JSON lines, a JSON list, or text with a question a line (answer after a tab)");
    field("tenant", c.tenant, "whose own set it is; empty: for all");
    field(
        "question", c.question,
        "key of the question; empty: question, prompt, instruction, problem, query, input, text or messages");
    field("answer", c.answer,
          "key of the answer; empty: answer, completion, output, response, solution or messages");
  }
  bool operator==(const EvaluationSetConfig&) const = default;
};

enum class CommonNgrams { kIgnore, kFlag };
template <>
struct EnumNames<CommonNgrams> {
  static constexpr std::pair<CommonNgrams, const char*> values[] = {{CommonNgrams::kIgnore, "ignore"},
                                                                    {CommonNgrams::kFlag, "flag"}};
};

struct DecontaminateConfig {
  std::vector<EvaluationSetConfig> sets;
  int64_t words = 13;
  int64_t characters = 13;
  int64_t min_ngram_bytes = 30;
  int64_t min_question_tokens = 6;
  int64_t max_documents = 10;
  CommonNgrams common = CommonNgrams::kIgnore;
  bool answers = true;
  int64_t max_set_bytes = int64_t{256} << 20;

  static void visit(auto& c, auto&& field) {
    field("sets", c.sets, "evaluation sets that must not be learned");
    field("words", c.words, "tokens of an n-gram where words have spaces");
    field("characters", c.characters, "tokens of an n-gram in Han and other scripts without spaces");
    field("min_ngram_bytes", c.min_ngram_bytes, "n-grams with less text than this are not looked for");
    field("min_question_tokens", c.min_question_tokens,
          "a shorter question is not looked for; one between this and an n-gram matches as a whole");
    field("max_documents", c.max_documents, "an n-gram in more documents than this is common");
    field("common", c.common, "common n-grams: ignore (reported only), or flag");
    field("answers", c.answers, "look for the answers' n-grams too");
    field("max_set_bytes", c.max_set_bytes, "of all evaluation sets together");
  }
  void validate(const Place& place) const;
  bool operator==(const DecontaminateConfig&) const = default;
};

struct EvaluationItem {
  std::string set, tenant;  // tenant empty: for all
  std::string id;           // its own, else "line 12" or "item 12"
  std::string question, answer;
};

// The items of a set's file. Error, with the place, for what cannot be read, and when there is none.
std::vector<EvaluationItem> read_evaluation_set(const EvaluationSetConfig& config,
                                                const std::filesystem::path& base_folder);
std::vector<EvaluationItem> parse_evaluation_set(std::string_view bytes, const EvaluationSetConfig& config,
                                                 const std::string& where);

// An n-gram at its first place in a document. Its number is that of the first item that has it, in the order
// of the items.
struct NgramHit {
  uint32_t ngram;
  uint32_t text;        // which of the document's texts
  uint32_t begin, end;  // bytes of it
  bool operator==(const NgramHit&) const = default;
};
using DocumentScan = std::vector<NgramHit>;  // by n-gram

// How many documents hold each n-gram. Order does not matter.
class NgramCounts {
 public:
  void add(const DocumentScan& scan);
  void add(const NgramCounts& other);
  int64_t documents(uint32_t ngram) const;
  const std::map<uint32_t, int64_t>& all() const { return counts_; }

 private:
  std::map<uint32_t, int64_t> counts_;
};

// N-grams in a row of one item, in one text.
struct ContaminationMatch {
  std::string set, item;
  bool in_answer = false;
  size_t first_token = 0, tokens = 0;   // of the question or answer
  size_t text = 0, begin = 0, end = 0;  // of the document: text and bytes
  int64_t documents = 0;                // that hold the commonest of the n-grams
};

struct Contamination {
  bool contaminated = false;
  std::vector<ContaminationMatch> matches;  // that count
  std::vector<ContaminationMatch> common;   // that are ignored as common
};

class DecontaminationIndex {
 public:
  DecontaminationIndex(const DecontaminateConfig& config, const std::vector<EvaluationItem>& items);
  ~DecontaminationIndex();
  DecontaminationIndex(DecontaminationIndex&&) noexcept;

  size_t ngrams() const;     // distinct within a tenant's sets, whole short questions among them
  size_t too_short() const;  // questions that are not looked for
  size_t memory_bytes() const;

  // Holds what a scan works with, for one thread.
  class Scratch {
    friend class DecontaminationIndex;
    MatchingTokens tokens_;
    std::vector<NgramHit> hits_;
  };
  void scan(std::string_view tenant, const std::vector<std::string_view>& texts, Scratch& scratch,
            DocumentScan& out) const;

  Contamination judge(const DocumentScan& scan, const NgramCounts& counts) const;

  // The folded tokens of an n-gram, with spaces between, for reports on evaluation sets that may be shown.
  std::string ngram_text(uint32_t ngram) const;
  // A match without what was found: set, item and place of the n-gram.
  ContaminationMatch ngram_place(uint32_t ngram) const;

  // For tests: hashes cut to this many bits, so that they collide.
  DecontaminationIndex(const DecontaminateConfig& config, const std::vector<EvaluationItem>& items,
                       int hash_bits);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace decant
